"""The machine code beside the sources in C of this directory: an object without dependencies for each of them.

There are some for x86_64 only. Where one cannot be loaded (another machine, a file system mounted noexec), its caller
does without. `python scripts/build_machine_code.py` makes them.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
from errno import ENOEXEC

from rprun.linux import syscalls


def path_of(source: str) -> str:
    """Return where the machine code of a source, named without its `.c`, is for this machine, if there is any."""
    return os.path.join(os.path.dirname(__file__), f"{source}_{os.uname().machine}.so")


def load(path: str, *, waits: bool) -> ctypes.CDLL:
    """Load machine code.

    Args:
        path: as `path_of` gives it.
        waits: whether something in it may wait, so that other threads of the interpreter are let in meanwhile.

    Raises:
        OSError: there is none for this machine, or it cannot be loaded here.
    """
    if syscalls.native() != syscalls.X86_64:
        raise OSError(ENOEXEC, os.strerror(ENOEXEC), path)
    return ctypes.CDLL(path) if waits else ctypes.PyDLL(path)

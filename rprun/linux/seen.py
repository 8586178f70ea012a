"""Children that are there to be seen, by machine code: `seen.c`.

Where it cannot be loaded (see `machine_code`), its caller forks.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
from _signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, valid_signals

from rprun.linux import machine_code

OBJECT = machine_code.path_of("seen")
"""Where the machine code for this machine is, if there is any."""


def start(secret: int) -> int | None:
    """Have a child open /dev/null, connect to it, have a child of its own that ends with status 42, and end with 0.

    Args:
        secret: of `rprun.linux.token`, which the child tells first.

    Returns:
        Its pid, once all that is left for it is to end; the caller reaps it. None where there is no machine code.

    Raises:
        OSError: no more processes or memory.
    """
    # long have_seen(word secret);
    return _start("have_seen", secret)


def start_renamed() -> int | None:
    """Have a child take another name, "rprun-probe", and end with status 42.

    Returns:
        As `start`.

    Raises:
        OSError: as `start`.
    """
    # long have_renamed(void);
    return _start("have_renamed")


def _start(function: str, *arguments: int) -> int | None:
    try:
        have = getattr(machine_code.load(OBJECT, waits=True), function)
    except OSError:
        return None
    have.argtypes = (ctypes.c_ulong,) * len(arguments)
    have.restype = ctypes.c_long
    # A handler would run in the child, and in this process's memory.
    before = pthread_sigmask(SIG_BLOCK, valid_signals())
    try:
        result: int = have(*arguments)
    finally:
        pthread_sigmask(SIG_SETMASK, before)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result

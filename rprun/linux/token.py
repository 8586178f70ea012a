"""A word to the eBPF programs that only they understand: getpid(2) with a secret in a register that it does not read.

It works in any namespace, needs no descriptor, and whoever does not know the secret sees a call that does nothing.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os

from rprun.linux import libc, syscalls

# getpid: syscall_64.tbl, syscall_32.tbl, asm-generic/unistd.h
NUMBERS = {syscalls.X86_64: 39, syscalls.I386: 20, syscalls.AARCH64: 172}


def make() -> int:
    """Return a new secret: 63 random bits, as the argument is a signed long; never 0."""
    return int.from_bytes(os.urandom(8), sys.byteorder) >> 1 or 1


def tell(secret: int) -> None:
    """Make the call. Whoever knows the secret knows this process from now on.

    Raises:
        OSError: ENOSYS on a machine whose call numbers are not known here.
    """
    libc.syscall(NUMBERS.get(syscalls.native() or "", -1), secret)

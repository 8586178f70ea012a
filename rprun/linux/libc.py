"""The C library, and syscall(2) for what it has no function for.

ctypes passes an undeclared Python int as a C int, which cuts pointers and leaves half of a register undefined. So every
argument of syscall(2) is declared a long, and a structure is given by its address.
"""

from __future__ import annotations

import ctypes
import os

handle = ctypes.CDLL(None, use_errno=True)

# long syscall(long number, ...);
handle.syscall.argtypes = (ctypes.c_long,) * 7
handle.syscall.restype = ctypes.c_long


def last_error() -> OSError:
    """Return errno of the last call of this thread, as the exception to raise."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def syscall(number: int, *arguments: int) -> int:
    """The result of a system call (syscall(2)).

    Args:
        number: the call's number in the table of this process's own ABI.
        arguments: up to six; a pointer is given as its address.

    Returns:
        What the kernel returned, never -1.

    Raises:
        OSError: the call failed.
    """
    result: int = handle.syscall(number, *arguments, *(0,) * (6 - len(arguments)))
    if result == -1:
        raise last_error()
    return result

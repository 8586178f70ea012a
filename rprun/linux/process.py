"""prctl(2): what a process may ask for itself that Python has no call for."""

from __future__ import annotations

import ctypes

from rprun.linux import libc

# include/uapi/linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

# int prctl(int option, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5);
libc.handle.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
libc.handle.prctl.restype = ctypes.c_int


def set_child_subreaper() -> None:
    """Make this process the parent of every orphaned descendant (prctl(2), Linux 3.4).

    Raises:
        OSError: the kernel refused.
    """
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_no_new_privs() -> None:
    """Give up, for good and for all that this process starts, what set-user-ID programs would gain (Linux 3.5).

    Raises:
        OSError: the kernel refused.
    """
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    if libc.handle.prctl(option, value, 0, 0, 0) != 0:
        raise libc.last_error()

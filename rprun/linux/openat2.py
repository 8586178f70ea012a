"""openat2(2), to look at paths without following what must not be followed, or without waiting."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
import struct
from functools import cache

from rprun.linux import libc, syscalls

# include/uapi/linux/openat2.h: on the way nothing may be crossed to another mount; no link of /proc that is no path;
# no link at all; and nothing that is not known already (Linux 5.12).
NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, CACHED = 0x01, 0x02, 0x04, 0x20
AT_FDCWD = -100

# struct open_how { u64 flags, mode, resolve; }
_OPEN_HOW = struct.Struct("=QQQ")
_NUMBER = syscalls.NUMBERS.get(syscalls.native() or "", {}).get("openat2", -1)
_syscall = libc.handle.syscall


def look_at(path: bytes, resolve: int, *, follows: bool = True, directory: int = AT_FDCWD) -> int:
    """Open a path as a place (O_PATH), which needs no leave but that to come there, and wakes nobody up.

    Args:
        path: without a NUL.
        resolve: what is not to be done on the way.
        follows: whether a link at its end is followed; else it is what is opened.
        directory: what the path is relative to, if it is.

    Returns:
        A descriptor, close-on-exec.

    Raises:
        OSError: ELOOP or EXDEV for what is not to be done; EAGAIN for what is not known; EINVAL for a restriction that
            this kernel does not know; ENOSYS before Linux 5.6, EPERM where a container's filter forbids the call.
    """
    descriptor = _open(path, resolve, follows=follows, directory=directory)
    if descriptor < 0:
        raise libc.last_error()
    return descriptor


def failure(path: bytes, resolve: int) -> int:
    """Return the errno with which `look_at` fails, 0 if it does not."""
    descriptor = _open(path, resolve, follows=True, directory=AT_FDCWD)
    if descriptor < 0:
        return ctypes.get_errno()
    os.close(descriptor)
    return 0


def _open(path: bytes, resolve: int, *, follows: bool, directory: int) -> int:
    text, how = ctypes.create_string_buffer(path), _how(resolve, follows)
    descriptor: int = _syscall(_NUMBER, directory, ctypes.addressof(text), ctypes.addressof(how), _OPEN_HOW.size, 0, 0)
    return descriptor


@cache
def _how(resolve: int, follows: bool) -> ctypes.Array[ctypes.c_char]:  # noqa: FBT001 - a key of the cache
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follows else os.O_NOFOLLOW)
    return ctypes.create_string_buffer(_OPEN_HOW.pack(flags, 0, resolve), _OPEN_HOW.size)

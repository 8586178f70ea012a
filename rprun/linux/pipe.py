"""tee(2): looking at what is in a pipe without taking it out."""

from __future__ import annotations

import ctypes
import os

from rprun.linux import libc

# include/linux/splice.h
SPLICE_F_NONBLOCK = 2

# ssize_t tee(int fd_in, int fd_out, size_t len, unsigned int flags);
libc.handle.tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
libc.handle.tee.restype = ctypes.c_ssize_t


def peek(source: int, size: int) -> bytes:
    """Return up to `size` bytes (at most a pipe's 64 KiB) from the front of a pipe; b"" at its end.

    Raises:
        BlockingIOError: the pipe is empty and somebody can still write to it.
        OSError: `source` is not a pipe (EINVAL).
    """
    read, write = os.pipe()
    try:
        count: int = libc.handle.tee(source, write, size, SPLICE_F_NONBLOCK)
        if count < 0:
            raise libc.last_error()
        return os.read(read, count) if count else b""
    finally:
        os.close(read)
        os.close(write)

"""close_range(2), which musl has no function for: os.closerange closes one number after the other there."""

from __future__ import annotations

import os

from rprun.linux import libc

# The same on every architecture (include/uapi/asm-generic/unistd.h).
_SYS_CLOSE_RANGE = 436
# Where the kernel does not know the call: beyond what any limit allows by default.
_MANY = 1 << 20


def close_range(first: int, end: int) -> None:
    """Close every descriptor from `first` on that is below `end`; those that are not open do not matter."""
    if first >= end:
        return
    try:
        libc.syscall(_SYS_CLOSE_RANGE, first, end - 1, 0)
    except OSError:
        # Before Linux 5.9, or where a container's filter does not know it.
        os.closerange(first, min(end, _MANY))

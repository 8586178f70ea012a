"""Clocks: one that can be waited for beside other descriptors, and what lies between two of the kernel's.

timerfd_create(2) is in Python from 3.13 on only.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
import struct
import time
from functools import cache

from rprun.linux import libc

# include/linux/timerfd.h: these are O_NONBLOCK and O_CLOEXEC.
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


# Looks at both clocks, one of which is not interrupted in between.
_LOOKS = 3


def since_epoch() -> int:
    """Return what a time of the kernel's own CLOCK_MONOTONIC lacks of the time since the Unix epoch, in nanoseconds."""
    # A look that is interrupted in the middle finds too little.
    return max(time.time_ns() - time.monotonic_ns() for _ in range(_LOOKS)) + _added_here()


@cache
def _added_here() -> int:
    """Return what a time namespace adds to CLOCK_MONOTONIC as this process sees it (time_namespaces(7))."""
    try:
        # As bytes: a codec would have to be imported.
        with open("/proc/self/timens_offsets", "rb") as stream:
            for name, seconds, nanoseconds in map(bytes.split, stream):
                if name in (b"monotonic", b"1"):
                    return int(seconds) * 1_000_000_000 + int(nanoseconds)
    except (OSError, ValueError):
        pass
    return 0


# struct itimerspec of timerfd_settime(2): seconds and nanoseconds of the interval, and of the time until it goes off.
_TIMER_SPEC = struct.Struct("@4l")

libc.handle.timerfd_create.argtypes = (ctypes.c_int, ctypes.c_int)
libc.handle.timerfd_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Timer:
    """A timer that goes off once.

    Attributes:
        fd: readable once it has gone off, until it is set again or cleared.
    """

    def __init__(self) -> None:
        """Make a timer that is not set.

        Raises:
            OSError: no descriptor left.
        """
        self.fd: int = libc.handle.timerfd_create(time.CLOCK_MONOTONIC, _FLAGS)
        if self.fd < 0:
            raise libc.last_error()

    def set(self, seconds: float) -> None:
        """Have it go off so many seconds from now, more than 0; an earlier setting is forgotten."""
        whole = int(seconds)
        spec = _TIMER_SPEC.pack(0, 0, whole, int((seconds - whole) * 1e9))
        if libc.handle.timerfd_settime(self.fd, 0, spec, None) != 0:
            raise libc.last_error()

    def clear(self) -> None:
        """Take note that it has gone off."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.fd)

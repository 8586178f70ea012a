"""Process descriptors: a process named so that its number cannot pass to another one meanwhile.

Some facts about them (pidfd_open(2), ioctl_pidfd(2), include/uapi/linux/pidfd.h):

- One becomes readable when the process ends, and hangs up (POLLHUP) when it has been reaped. Linux 6.15 keeps the wait
  status for those who hold one from before, also if they are no parents, and gives it out once it has hung up.
- PIDFD_GET_INFO has the size of the structure in its number, and the kernel fills what both know: 64 bytes since Linux
  6.13, with the wait status in the last four since 6.15; 72, 80 and 88 with what came later.
- os.pidfd_open is missing from interpreters that were built with older kernel headers, so the call is made by number.
  These numbers are the same for every ABI.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import select
import struct
from errno import EINVAL, ENOTTY, ESRCH
from fcntl import ioctl

from rprun.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_SYS_PIDFD_OPEN, _SYS_PIDFD_GETFD = 434, 438
PIDFD_THREAD = os.O_EXCL  # Linux 6.9

# struct pidfd_info: mask, cgroupid; pid, tgid, ppid, eight ids of users and groups; exit_code.
INFO = struct.Struct("=QQ11Ii")
GET_INFO = 3 << 30 | INFO.size << 16 | 0xFF << 8 | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)
INFO_PID, INFO_EXIT = 1 << 0, 1 << 3

# What GET_INFO fails with where it cannot tell: no such ioctl (before 6.11, 6.13), or the process has been reaped.
_CANNOT_TELL = frozenset((EINVAL, ENOTTY, ESRCH))


class Info(tuple[int, int, int]):
    """Numbers of a process or a thread, in the pid namespace of who asked."""

    __slots__ = ()

    def __new__(cls, pid: int, tgid: int, ppid: int) -> Self:
        """Put them together."""
        return super().__new__(cls, (pid, tgid, ppid))

    @property
    def pid(self) -> int:
        """That of the thread, if the descriptor is one's."""
        return self[0]

    @property
    def tgid(self) -> int:
        """That of the process."""
        return self[1]

    @property
    def ppid(self) -> int:
        """That of its parent now, which for an orphan is who took it in."""
        return self[2]


def open_process(pid: int, *, thread: bool = False) -> int:
    """Return a close-on-exec descriptor of a process, or of any of its threads.

    Args:
        pid: of the process.
        thread: whether `pid` is a thread's (Linux 6.9), and the descriptor to be about this thread.

    Raises:
        OSError: ESRCH for no such process; ENOENT, or EINVAL on older kernels, for a thread that does not lead its
            process if `thread` is not set; EINVAL if the kernel does not know `thread`; ENOSYS before Linux 5.3.
    """
    return libc.syscall(_SYS_PIDFD_OPEN, pid, PIDFD_THREAD if thread else 0)


def get_descriptor(pidfd: int, descriptor: int) -> int:
    """Return a close-on-exec duplicate of another process's file descriptor (pidfd_getfd(2), Linux 5.6).

    Raises:
        OSError: EPERM for a process that this one may not trace, or a container's filter; EBADF for no such
            descriptor; ESRCH for a process that has ended.
    """
    return libc.syscall(_SYS_PIDFD_GETFD, pidfd, descriptor, 0)


def info(pidfd: int) -> Info | None:
    """Return the numbers of a process that has not been reaped; None if it has been, or before Linux 6.13.

    Raises:
        OSError: `pidfd` is no descriptor.
    """
    fields = _get_info(pidfd, INFO_PID)
    return Info(*fields[2:5]) if fields is not None and fields[0] & INFO_PID else None


def has_ended(pidfd: int) -> bool:
    """Tell whether all threads of a process have ended, whether or not it has been reaped."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def exit_status(pidfd: int) -> int | None:
    """Return the wait status (wait(2)) of a process that has been reaped; None if it has not been, or before 6.15.

    Wait for POLLHUP before. A process need not be this one's child.

    Raises:
        OSError: `pidfd` is no descriptor.
    """
    fields = _get_info(pidfd, INFO_EXIT)
    return fields[-1] if fields is not None and fields[0] & INFO_EXIT else None


def _get_info(pidfd: int, mask: int) -> tuple[int, ...] | None:
    buffer = bytearray(INFO.size)
    INFO.pack_into(buffer, 0, mask, *[0] * 13)
    try:
        ioctl(pidfd, GET_INFO, buffer)
    except OSError as error:
        if error.errno in _CANNOT_TELL:
            return None
        raise
    return INFO.unpack(buffer)

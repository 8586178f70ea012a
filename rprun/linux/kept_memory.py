"""Memory of processes whose /proc/PID/mem is kept open: half the time of process_vm_readv(2) through ctypes.

The descriptor names the memory that the process had when it was opened, and goes on doing so when the process executes
another program. While nobody else shares that memory it is gone then, and reading gives nothing. But a child of
vfork(2), or of clone(2) with CLONE_VM, shares its parent's: there, the old memory would be read, and believed. So the
owner says when a process is about to execute a program, and a descriptor is opened after that only:

- by a call of the process's first thread, while it has no other: then no exec of another thread can be on its way, and
  the one that was announced is over, or has failed;
- and never before the first exec: until then a child may share its parent's memory.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os

# Descriptors are scarce, and few processes make nearly all calls.
_MOST = 64
# Links of a directory in /proc/PID/task: its own two, and one of its only thread's.
_ONE_THREAD = 3
_CLOSED = -1


class KeptMemory:
    """The descriptors, by process.

    Attributes:
        descriptors: the open ones. Reading at an address gives less than was asked for where the memory ends, and
            nothing, or an error, where it is not to be read.
    """

    def __init__(self) -> None:
        self.descriptors: dict[int, int] = {}
        self._fresh: set[int] = set()

    def expect_exec(self, process: int) -> None:
        """Take note that a process is about to execute a program. To be called after the last reading before that."""
        self.forget(process)
        self._fresh.add(process)

    def open(self, tid: int, process: int) -> None:
        """Open the memory of a process, one thread of which stands still in a call, if that may be kept."""
        if process not in self._fresh or tid != process:
            return
        self._fresh.discard(process)
        try:
            if os.stat(f"/proc/{process}/task").st_nlink != _ONE_THREAD:
                return
            descriptor = os.open(f"/proc/{process}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        if len(self.descriptors) >= _MOST:
            # The oldest one.
            self.forget(next(iter(self.descriptors)))
        self.descriptors[process] = descriptor

    def forget(self, process: int) -> None:
        """Close what is kept of a process."""
        self._fresh.discard(process)
        descriptor = self.descriptors.pop(process, _CLOSED)
        if descriptor != _CLOSED:
            os.close(descriptor)

    def __del__(self) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)

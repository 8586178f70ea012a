"""The processes of the tree as the supervisor knows them: by the threads that make calls.

A number of a thread or process may come back for another one. What is known of a process is forgotten when its pidfd
says that it has ended. That is looked at sooner than a process can end, be waited for, and leave its number to another
one that makes a call.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import select
import socket
import struct
from errno import EMFILE
from time import time_ns

from rprun.linux import pidfd, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.backends.seccomp.ring import Ring

# A message to rprun that carries the pidfd of a process: its number, and the time of its record, which tell it from
# another one that gets the same number.
PROCESS = struct.Struct("=iq")
# A record in the ring: a process, its parent (-1: not known), and the time in nanoseconds since the Unix epoch.
PROCESS_STARTED = struct.Struct("=iiq")

# Pidfds that may wait in the socket, which has room for some 270, before rprun is woken to take them.
_TOLD_AT_MOST = 64


class Processes:
    """Finds the process of a thread, and tells rprun of each new one."""

    def __init__(self, ring: Ring, control: socket.socket, forget: Callable[[int], None]) -> None:
        """Know nobody yet.

        Args:
            ring: for the records.
            control: non-blocking, to rprun; for the pidfds.
            forget: called with the number of a process that has ended.
        """
        self._ring = ring
        self._control = control
        self._on_forgotten = forget
        # Descriptor of a process's pidfd by its number, and the other way round.
        self._pidfds: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._ended = select.epoll()
        self._unwatched: set[int] = set()
        self._told = 0
        self._filters = -1  # how many filters the first process of the tree is under

    def fileno(self) -> int:
        """Return a descriptor that is readable when `forget_ended` would forget somebody."""
        return self._ended.fileno()

    def wake_for(self, descriptor: int) -> None:
        """Have `fileno` be readable for a moment when another descriptor has something urgent (EPOLLPRI)."""
        if descriptor >= 0:
            self._ended.register(descriptor, select.EPOLLPRI)

    def has(self, process: int) -> bool:
        """Tell whether a process is known, and its end will be heard of."""
        return process in self._pidfds

    def of(self, tid: int) -> int:
        """Return the process that a thread belongs to; a process that is new is told of first."""
        if tid in self._pidfds:
            return tid
        self.forget_ended()
        return self._identify(tid)

    def forget_ended(self) -> None:
        """Forget those that have ended. To be called before their numbers can come back."""
        for descriptor, _ in self._ended.poll(0):
            if descriptor in self._numbers:
                self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        self._ended.unregister(descriptor)
        os.close(descriptor)
        process = self._numbers.pop(descriptor)
        del self._pidfds[process]
        self._on_forgotten(process)

    def _identify(self, tid: int) -> int:
        """Find out about a number that is no known process: a new one, or a thread that is not its first."""
        try:
            descriptor = pidfd.open_process(tid)
        except OSError as error:
            if error.errno == EMFILE:
                self._tell_without_pidfd(tid)
                return tid
            process = _leader_of(tid)
            if process not in self._pidfds and process != tid:
                self._identify(process)
            return process
        information = pidfd.info(descriptor)
        parent = information.ppid if information is not None else procfs.status(tid, "PPid")
        self.watch(descriptor, tid)
        now = time_ns()
        if self._ring.put(PROCESS_STARTED.pack(tid, self._true_parent(parent), now)):
            # Before it is published: should this process be killed in between, the next one tells of it again.
            try:
                socket.send_fds(self._control, [PROCESS.pack(tid, now)], [descriptor])
            except OSError:
                # rprun is gone or far behind: nobody will learn how this process ends.
                self._ring.lose_end()
            self._ring.publish()
            self._told += 1
            if self._told % _TOLD_AT_MOST == 0:
                self._ring.wake()
        else:
            # Nor will its end be told.
            self._ring.lose()
        return tid

    def _tell_without_pidfd(self, process: int) -> None:
        """Tell of a process for which no descriptor is left here (see ulimit -n): how it ends is lost."""
        if process not in self._unwatched:
            self._unwatched.add(process)
            self._ring.lose()
            if self._ring.put(PROCESS_STARTED.pack(process, -1, time_ns())):
                self._ring.publish()

    def watch(self, descriptor: int, process: int) -> None:
        """Know a process by its pidfd, which is closed here once it has ended."""
        self._pidfds[process] = descriptor
        self._numbers[descriptor] = process
        self._ended.register(descriptor, select.EPOLLIN)

    def _true_parent(self, parent: int) -> int:
        """Return the parent, or -1 where that has ended already and somebody else has taken its place.

        Only what the filter was installed in, and what came of that, is under a filter of its depth.
        """
        if parent in self._pidfds:
            return parent
        return parent if parent > 1 and procfs.status(parent, "Seccomp_filters") >= self._depth() else -1

    def _depth(self) -> int:
        if self._filters < 0:
            self._filters = min((procfs.status(process, "Seccomp_filters") for process in self._pidfds), default=0)
        return self._filters


def _leader_of(tid: int) -> int:
    """Return the process of a thread; the thread itself where that cannot be found out."""
    try:
        descriptor = pidfd.open_process(tid, thread=True)
    except OSError:
        leader = procfs.status(tid, "Tgid")
        return leader if leader > 0 else tid
    try:
        information = pidfd.info(descriptor)
    finally:
        os.close(descriptor)
    return information.tgid if information is not None else tid

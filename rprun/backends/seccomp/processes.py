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
import struct
from errno import EMFILE, ESRCH
from time import CLOCK_BOOTTIME, clock_gettime, time_ns

from rprun.backends.seccomp.outbox import Outbox
from rprun.linux import pidfd, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.backends.seccomp.ring import Ring
    from rprun.linux.seqpacket import Socket

# A message to rprun that carries the pidfd of a process: its number, and the time of its record, which tell it from
# another one that gets the same number.
PROCESS = struct.Struct("=iq")
# A record in the ring: a process, its parent (-1: not known), and the time in nanoseconds since the Unix epoch.
PROCESS_STARTED = struct.Struct("=iiq")
# Another one: a process that has ended, and when that was heard of here. How it ended is told by its pidfd alone.
PROCESS_ENDED = struct.Struct("=iq")

# Pidfds that may wait in the socket before rprun is woken to take them.
_TOLD_AT_MOST = 64
# Index in `procfs.stat`: when a process was started, in ticks since the system was (proc_pid_stat(5), field 22).
_START_TIME = 19


class Processes:
    """Finds the process of a thread, and tells rprun of each new one.

    Attributes:
        unwatched: the processes that were told of without a pidfd, and the time of the record.
    """

    def __init__(self, ring: Ring, control: Socket, forget: Callable[[int], None]) -> None:
        """Know nobody yet.

        Args:
            ring: for the records.
            control: non-blocking, to rprun; for the pidfds.
            forget: called with the number of a process that has ended.
        """
        self._ring = ring
        self._tells = ring.tells_lives()
        self._outbox = Outbox(ring, control)
        self._on_forgotten = forget
        # Descriptor of a process's pidfd by its number, and the other way round.
        self._pidfds: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._ended = select.epoll()
        self.unwatched: dict[int, int] = {}
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

    def of(self, tid: int, now: int) -> int:
        """Return the process that a thread belongs to; a process that is new is told of first.

        Args:
            tid: the thread, which stands still in a call.
            now: when that call was received, in nanoseconds since the Unix epoch.

        Raises:
            OSError: that cannot be found out, as where no descriptor is left here (see ulimit -n).
        """
        if tid in self._pidfds:
            return tid
        self.forget_ended(now)
        return self._identify(tid, now)

    def forget_ended(self, now: int) -> None:
        """Forget those that have ended. To be called before their numbers can come back.

        Args:
            now: when the call in hand was received. This is what is told as the time of the end: it is behind whatever
                the process has done, and not behind what is done by who made this call and may have waited for the end.
        """
        for descriptor, _ in self._ended.poll(0):
            if descriptor not in self._numbers:
                continue  # It is no process: see `fileno`.
            process = self._forget(descriptor)
            if self._tells and not self._ring.is_closed():
                place = self._ring.put(PROCESS_ENDED.pack(process, now), is_dispensable=True)
                if place >= 0:
                    self._ring.publish(place)

    def are_owed(self) -> bool:
        """Tell whether another thread is about to tell of some, and needs its turn for that."""
        return self._outbox.is_busy

    def tell_all(self) -> None:
        """Wait until rprun has all that it was to be told, or is gone."""
        self._outbox.empty()

    def _forget(self, descriptor: int) -> int:
        self._ended.unregister(descriptor)
        os.close(descriptor)
        process = self._numbers.pop(descriptor)
        del self._pidfds[process]
        self._on_forgotten(process)
        return process

    def _identify(self, tid: int, now: int) -> int:
        """Find out about a number that is no known process: a new one, or a thread that is not its first."""
        try:
            descriptor = pidfd.open_process(tid)
        except OSError as error:
            if error.errno == EMFILE:
                # The kernel looks first whether it is the first thread of a process.
                self._tell_without_pidfd(tid, now)
                return tid
            process = _leader_of(tid)
            if process not in self._pidfds and process != tid:
                self._identify(process, now)
            return process
        if pidfd.has_ended(descriptor):
            # It was killed in its call, which nobody will answer. It may have been known, and forgotten just now.
            os.close(descriptor)
            return tid
        if self.unwatched and self._is_told_already(tid):
            self.watch(descriptor, tid)
            return tid
        self.watch(descriptor, tid)
        if self._tells:
            self._tell(tid, descriptor, now)
        return tid

    def _tell(self, process: int, descriptor: int, now: int) -> None:
        information = pidfd.info(descriptor)
        parent = information.ppid if information is not None else procfs.status(process, "PPid")
        place = self._ring.put(PROCESS_STARTED.pack(process, self._true_parent(parent), now))
        if place < 0:
            # Nor will its end be told.
            self._ring.lose_end()
            return
        # Before it is published: should this supervisor be killed in between, the next one tells of it again.
        if not self._outbox.send(PROCESS.pack(process, now), descriptor):
            self._ring.lose_end()
        self._ring.publish(place)
        self._told += 1
        if self._told % _TOLD_AT_MOST == 0:
            self._ring.wake()

    def _tell_without_pidfd(self, process: int, now: int) -> None:
        """Tell of a process for which no descriptor is left here (see ulimit -n): how it ends is lost."""
        if self._tells and process not in self.unwatched:
            self.unwatched[process] = now
            self._ring.lose_end()
            place = self._ring.put(PROCESS_STARTED.pack(process, -1, now))
            if place >= 0:
                self._ring.publish(place)

    def _is_told_already(self, process: int) -> bool:
        """Tell whether it was told of when no descriptor was left: it, and not another one of its number."""
        told = self.unwatched.pop(process, 0)
        return bool(told) and has_lived_since(process, told) is not False

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
    """Return the process of a thread that is not its first one; the thread itself where that has ended meanwhile.

    Raises:
        OSError: it cannot be found out. A thread must not be told of as a process.
    """
    leader = -1
    try:
        descriptor = pidfd.open_process(tid, thread=True)
    except OSError as error:
        # Before Linux 6.9 there is none of a thread.
        why = error
    else:
        try:
            information = pidfd.info(descriptor)
        finally:
            os.close(descriptor)
        if information is not None:
            return information.tgid
        # Before Linux 6.13 it tells nothing.
        why = OSError(ESRCH, os.strerror(ESRCH))
    leader = procfs.status(tid, "Tgid")
    if leader <= 0 and _exists(tid):
        raise why
    return leader if leader > 0 else tid


def has_lived_since(process: int, time: int) -> bool | None:
    """Tell whether a process was there already at a time in nanoseconds since the Unix epoch; None if unknown."""
    fields = procfs.stat(process)
    if len(fields) <= _START_TIME:
        return None
    started = int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
    return clock_gettime(CLOCK_BOOTTIME) - started >= (time_ns() - time) / 1e9


def _exists(tid: int) -> bool:
    """Tell whether there is a thread of this number; it takes no descriptor."""
    try:
        os.kill(tid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

"""The starts and ends of a tree's processes: what the supervisor tells of a start, and what a pidfd tells of the end.

Some facts that decide how the two are joined:

- The status of a process that is not our child can be read once its parent has reaped it, which a pidfd tells by
  POLLHUP (PIDFD_GET_INFO, Linux 6.15).
- A start comes through the ring and its pidfd through a socket, so either can be first; and a number can be another
  process's by the time its end is heard of. So a process is known by its number and the time of its record.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import select
from time import time_ns as now_ns

from rprun.backends.seccomp.processes import PROCESS_STARTED
from rprun.linux import pidfd
from rprun.observe.categories import EventCategory
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rprun.observe.emitter import Emitter

    # A process: its number, and the time of the record that tells of it, in nanoseconds since the Unix epoch.
    Process = tuple[int, int]

_K = ObserverEventKind
_EDGE = select.EPOLLIN | select.EPOLLET


class Lives:
    """Emits the starts and ends of descendants.

    Attributes:
        command: the command's own process, whose start and end are not emitted here.
    """

    def __init__(self, emitter: Emitter, categories: Sequence[EventCategory], epoll: select.epoll) -> None:
        """Keep the pidfds of processes on `epoll`, edge-triggered."""
        self.command = 0
        self._emitter = emitter
        self._is_asked = EventCategory.PROCESS in categories
        self._epoll = epoll
        self._by_pidfd: dict[int, Process] = {}
        self._started: dict[int, int] = {}  # told of, and not yet ended
        self._ended_early: dict[Process, int | None] = {}  # not yet told of, and what they ended with

    def known(self) -> dict[int, int]:
        """Return the pidfds, with the number of each one's process."""
        return {descriptor: pid for descriptor, (pid, _) in self._by_pidfd.items()}

    def add_pidfd(self, descriptor: int, process: Process) -> None:
        """Take a process's pidfd, which is closed here."""
        self._by_pidfd[descriptor] = process
        self._epoll.register(descriptor, _EDGE)

    def find(self, descriptor: int) -> Process | None:
        """Return the process of a pidfd; None if it is none, or none any more."""
        return self._by_pidfd.get(descriptor)

    def start(self, record: bytes, take_pidfds: Callable[[], None]) -> None:
        """Take a record of the supervisor's that tells of a process.

        Args:
            record: a PROCESS_STARTED.
            take_pidfds: called where the number was another process's, so that its pidfd is surely here.
        """
        pid, parent, time_ns = PROCESS_STARTED.unpack(record)
        if pid in self._started:
            # The number is another process's now, so the one before has been reaped.
            take_pidfds()
            before = pid, self._started.pop(pid)
            for descriptor in [each for each, process in self._by_pidfd.items() if process == before]:
                self._started[pid] = before[1]
                self.end(descriptor, was_reaped=True)
        self._started[pid] = time_ns
        if self._is_told_of(pid):
            ppid = parent if parent > 0 else None
            self._emitter.emit_all([(_K.DESCENDANT_STARTED, pid, time_ns, {"ppid": ppid})])
        if (pid, time_ns) in self._ended_early:
            self._tell_end(pid, self._ended_early.pop((pid, time_ns)))

    def end(self, descriptor: int, *, was_reaped: bool) -> None:
        """A pidfd says that its process has ended; nothing is done before its status can be read or never will be."""
        status = pidfd.exit_status(descriptor)
        if status is None and not was_reaped:
            return
        pid, time_ns = self._drop(descriptor)
        code = None if status is None else os.waitstatus_to_exitcode(status)
        if self._started.get(pid) == time_ns:
            self._tell_end(pid, code)
        else:
            self._ended_early[pid, time_ns] = code

    def forget_untold(self, records: Iterable[bytes]) -> None:
        """Forget the processes of which neither an event nor one of these records tells."""
        told = set(self._started.items())
        for record in records:
            if len(record) == PROCESS_STARTED.size:
                pid, _, time_ns = PROCESS_STARTED.unpack(record)
                told.add((pid, time_ns))
        for descriptor in [each for each, process in self._by_pidfd.items() if process not in told]:
            self._drop(descriptor)

    def end_those_that_have(self) -> None:
        """Tell of the ends that nobody has reaped yet: they have ended all the same."""
        poller = select.poll()
        for descriptor in self._by_pidfd:
            poller.register(descriptor, select.POLLIN)
        for descriptor, _ in poller.poll(0):
            self.end(descriptor, was_reaped=True)

    def close(self) -> None:
        """Close every pidfd."""
        for descriptor in self._by_pidfd:
            os.close(descriptor)
        self._by_pidfd.clear()

    def _drop(self, descriptor: int) -> Process:
        self._epoll.unregister(descriptor)
        os.close(descriptor)
        return self._by_pidfd.pop(descriptor)

    def _is_told_of(self, pid: int) -> bool:
        return self._is_asked and pid != self.command

    def _tell_end(self, pid: int, code: int | None) -> None:
        del self._started[pid]
        if self._is_told_of(pid):
            self._emitter.emit_all([(_K.DESCENDANT_EXITED, pid, now_ns(), {"exit_code": code})])

"""The starts and ends of a tree's processes: what the supervisor tells of a start, and what a pidfd tells of the end.

Some facts that decide how the two are joined:

- The status of a process that is not our child can be read once its parent has reaped it, which a pidfd tells by
  POLLHUP (PIDFD_GET_INFO, Linux 6.15).
- A start comes through the ring and its pidfd through a socket, so either can be first; and a number can be another
  process's by the time its end is heard of. So a process is known by its number and the time of its record.
- A pidfd is closed here as soon as the status has been read, whenever that may be told: many may end at once, and a
  descriptor that is closed later could be another one's by the time something is said of it.
- The kernel keeps no time of an end. What is told is when it was heard of first, by the supervisor at somebody's next
  call, or here; but nothing before the last that the process is known to have done.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import resource
import select
from time import time_ns as now_ns

from rprun.backends.seccomp.processes import PROCESS_ENDED, PROCESS_STARTED, has_lived_since
from rprun.linux import pidfd, procfs
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rprun.backends.seccomp.decode import Event
    from rprun.backends.usual import UsualBatch
    from rprun.observe.emitter import Emitter

    # A process: its number, and the time of the record that tells of it, in nanoseconds since the Unix epoch.
    Process = tuple[int, int]

_K = ObserverEventKind
_EDGE = select.EPOLLIN | select.EPOLLET
# Descriptors that are left for everything else, if that is less than half of all.
_DESCRIPTORS_KEPT = 96


class Lives:
    """Emits the starts and ends of descendants.

    Attributes:
        command: the command's own process, whose start and end are not emitted here.
        unheard: how many processes there are more of which nobody will hear how they ended; set back by who tells that.
    """

    def __init__(self, emitter: Emitter, epoll: select.epoll) -> None:
        """Keep the pidfds of processes on `epoll`, edge-triggered."""
        self.command = 0
        self.unheard = 0
        self._emitter = emitter
        self._epoll = epoll
        self._by_pidfd: dict[int, Process] = {}
        self._started: dict[int, int] = {}  # told of, and not yet ended
        self._last: dict[int, int] = {}  # the time of what each did last
        self._heard: dict[Process, int] = {}  # when it was first heard that one has ended
        self._codes: dict[Process, int | None] = {}  # of those whose end is heard of and not told: what they ended with
        self._early: set[Process] = set()  # of these: their start has not been told
        self._given_up: set[Process] = set()  # living, without a pidfd here, and counted for that
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(soft - _DESCRIPTORS_KEPT, soft // 2)

    def has_room(self) -> bool:
        """Tell whether one more pidfd leaves enough descriptors for everything else, as for another supervisor."""
        return len(self._by_pidfd) < self._most

    def known(self) -> dict[int, int]:
        """Return the pidfds, with the number of each one's process."""
        return {descriptor: pid for descriptor, (pid, _) in self._by_pidfd.items()}

    def given_up(self) -> dict[int, int]:
        """Return the numbers of those without a pidfd, and the time of the record that tells of each."""
        return dict(sorted(self._given_up))

    def add_pidfd(self, descriptor: int, process: Process) -> None:
        """Take a process's pidfd, which is closed here; if there is no room for it, its end will not be heard of."""
        if self._started.get(process[0], 0) > process[1]:
            # It comes so late that the number is another one's.
            os.close(descriptor)
            self.unheard += 1
            return
        if not self.has_room():
            os.close(descriptor)
            self.give_up(process)
            return
        self._by_pidfd[descriptor] = process
        self._epoll.register(descriptor, _EDGE)

    def give_up(self, process: Process) -> None:
        """Count a living process whose end will not be heard of."""
        if process not in self._given_up:
            self._given_up.add(process)
            self.unheard += 1

    def start(self, record: bytes, take_pidfds: Callable[[], None]) -> None:
        """Take a record of the supervisor's that tells of a process.

        Args:
            record: a PROCESS_STARTED.
            take_pidfds: called where the number was another process's, whose pidfd may be on its way.
        """
        pid, parent, at_ns = PROCESS_STARTED.unpack(record)
        if pid in self._started:
            # The number is another process's now, so the one before has been reaped.
            before = pid, self._started[pid]
            if before not in self._codes:
                take_pidfds()
                for descriptor in [each for each, process in self._by_pidfd.items() if process == before]:
                    self.hear(descriptor, now_ns(), was_reaped=True)
            if before in self._codes:
                self.tell(before)
            self._forget(before)
        self._started[pid] = at_ns
        if pid != self.command:
            ppid = parent if parent > 0 else None
            self._emitter.emit_all([(_K.DESCENDANT_STARTED, pid, at_ns, {"ppid": ppid})])
        if (pid, at_ns) in self._early:
            self.tell((pid, at_ns))

    def note_times(self, events: Iterable[Event | UsualBatch]) -> None:
        """Take note of when processes have done something."""
        times: dict[int, int] = {}
        for event in events:
            if isinstance(event, tuple):
                times[event[1]] = event[2]
            else:
                times |= event.times()
        self._last.update({pid: at_ns for pid, at_ns in times.items() if pid in self._started})

    def note_end(self, record: bytes) -> None:
        """Take a PROCESS_ENDED of the supervisor's. How it ended is yet to be heard of."""
        pid, at_ns = PROCESS_ENDED.unpack(record)
        if pid in self._started:
            process = pid, self._started[pid]
            self._heard[process] = min(at_ns, self._heard.get(process, at_ns))

    def hear(self, descriptor: int, at_ns: int, *, was_reaped: bool, otherwise: int | None = None) -> Process | None:
        """A pidfd says that its process has ended: read how.

        Args:
            descriptor: the pidfd, which is closed if that could be read or never will be.
            at_ns: when it said so, in nanoseconds since the Unix epoch.
            was_reaped: nobody will wait for the process any more.
            otherwise: its wait status, should the pidfd not know it.

        Returns:
            The process, if its end can now be told; else None.
        """
        process = self._by_pidfd[descriptor]
        self._heard.setdefault(process, at_ns)
        status = pidfd.exit_status(descriptor)
        if status is None:
            status = otherwise
        if status is None and not was_reaped:
            return None
        self._drop(descriptor)
        self._codes[process] = None if status is None else os.waitstatus_to_exitcode(status)
        return process

    def tell(self, process: Process) -> None:
        """Emit the end of a process of which `hear` has returned it; nothing if it has been told by now."""
        pid, started = process
        if process not in self._codes:
            return
        if self._started.get(pid) != started:
            self._early.add(process)
            return
        code, at_ns = self._codes.pop(process), max(self._heard[process], self._last.get(pid, 0))
        self._forget(process)
        if pid != self.command:
            self._emitter.emit_all([(_K.DESCENDANT_EXITED, pid, at_ns, {"exit_code": code})])

    def adopt(self, records: Iterable[bytes]) -> None:
        """Make up for a supervisor that was killed, and could not send every pidfd, nor publish every record.

        Processes of which neither an event nor one of these records tells are forgotten: the next one tells of them.
        Of those that are told, and whose pidfd has not come, it is taken from the system, if they still live.
        """
        told = set(self._started.items())
        for record in records:
            if len(record) == PROCESS_STARTED.size:
                pid, _, at_ns = PROCESS_STARTED.unpack(record)
                told.add((pid, at_ns))
        for descriptor in [each for each, process in self._by_pidfd.items() if process not in told]:
            self._drop(descriptor)
        for process in [each for each in self._codes if each not in told]:
            self._forget(process)
        for process in told.difference(self._by_pidfd.values(), self._codes, self._given_up):
            self._adopt(process)

    def _adopt(self, process: Process) -> None:
        try:
            descriptor = pidfd.open_process(process[0])
        except OSError:
            descriptor = -1
        if descriptor >= 0 and has_lived_since(*process):
            self.add_pidfd(descriptor, process)
            return
        if descriptor >= 0:
            os.close(descriptor)
        self.give_up(process)

    def end_those_that_have(self, *, by_proc: bool) -> None:
        """Tell of the ends that nobody has reaped yet: they have ended all the same.

        Args:
            by_proc: /proc tells how: of a process with threads the kernel has not always said so there, but does where
                a pidfd tells it too.
        """
        poller = select.poll()
        for descriptor in self._by_pidfd:
            poller.register(descriptor, select.POLLIN)
        now = now_ns()
        for descriptor, events in poller.poll(0):
            # If it is reaped in between, what is read may be another one's; then the pidfd knows.
            pid, _ = self._by_pidfd[descriptor]
            status = procfs.exit_status(pid) if by_proc and not events & select.POLLHUP else None
            self.hear(descriptor, now, was_reaped=True, otherwise=status)
        for process in list(self._codes):
            self.tell(process)

    def close(self) -> None:
        """Close every pidfd."""
        for descriptor in self._by_pidfd:
            os.close(descriptor)
        self._by_pidfd.clear()

    def _drop(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        os.close(descriptor)
        del self._by_pidfd[descriptor]

    def _forget(self, process: Process) -> None:
        pid, started = process
        if self._started.get(pid) == started:
            del self._started[pid]
            self._last.pop(pid, None)
        self._heard.pop(process, None)
        self._codes.pop(process, None)
        self._early.discard(process)
        self._given_up.discard(process)

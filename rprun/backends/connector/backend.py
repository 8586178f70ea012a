"""proc-connector: starts, execs and ends of processes as the kernel tells them, joined with a seccomp filter's sight.

The filter knows what a program was started with and not whether it was; the connector knows the latter and no more. A
command can have one such filter only, so where file or network are observed through it too, they are served from here.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import select
from collections import Counter, deque
from time import monotonic, monotonic_ns

from rprun.backends.connector import probing
from rprun.backends.connector.attempts import Attempts
from rprun.backends.connector.tree import Tree
from rprun.backends.interface import Backend, Probe
from rprun.backends.seccomp.backend import SeccompUserNotify
from rprun.errors import RprunError
from rprun.linux import procfs
from rprun.linux.connector import EXEC, EXIT, FORK, Connector, Message
from rprun.linux.timer import Timer, since_epoch
from rprun.observe.categories import EventCategory
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from rprun.backends.interface import Launching
    from rprun.backends.seccomp.decode import Event, Fields
    from rprun.backends.usual import UsualBatch
    from rprun.observe.emitter import Emitter

# What the filter's attempt may take to arrive after the connector's message, which can overtake it: nanoseconds.
_LAG = 20_000_000
# Seconds for which messages may gather before they are read: to be woken for each would cost more than to read it.
# Less while so many come that the socket, which an ordinary user cannot make larger, might fill up meanwhile.
_GATHER, _GATHER_MANY, _MANY = 0.02, 0.005, 100
# Seconds until what has not come is looked for again, at the end.
_GLANCE = 0.002
# Events that wait for being emitted; beyond, the socket fills up, and then the kernel drops.
_BOUND = 65536
_ONCE = select.EPOLLIN | select.EPOLLONESHOT
_K = ObserverEventKind


class ProcConnector(Backend):
    """Follows the command's tree by the messages of the proc connector."""

    name = "proc-connector"
    categories = (EventCategory.PROCESS,)

    def __init__(self) -> None:
        self._connector: Connector | None = None
        self._filter: SeccompUserNotify | None = None
        self._sight: _Sight | None = None
        self._tree: Tree | None = None
        self._emitter: Emitter | None = None
        self._epoll: select.epoll | None = None
        self._timer: Timer | None = None
        # Time by CLOCK_MONOTONIC in nanoseconds, kind, process, and: its parent, the exec's fields, or its wait status.
        self._waiting: deque[tuple[int, ObserverEventKind, int, Any]] = deque()
        self._has_gap = False  # messages were dropped
        self._execs: Counter[int] = Counter()  # those among them, by process

    def probe(self, category: EventCategory) -> Probe:
        """Starts a child and listens for its start and its end."""
        support, reason = probing.answer()
        return Probe(self.name, support, reason)

    def prepare(self, launch: Launching, emitter: Emitter, categories: Sequence[EventCategory]) -> None:
        """Opens the socket, and has the filter put to work where there can be one.

        Args:
            launch: how the command will be started.
            emitter: where events go.
            categories: `process`, and those that the filter is to observe besides.

        Raises:
            RprunError: no more processes, descriptors or memory for it.
        """
        self._emitter = emitter
        try:
            self._connector = Connector(FORK | EXEC | EXIT)
            self._epoll = select.epoll()
            self._timer = Timer()
        except OSError as error:
            raise RprunError(f"cannot observe process: {error.strerror} (see ulimit -n)") from error
        self._epoll.register(self._connector, _ONCE)
        self._epoll.register(self._timer.fd, select.EPOLLIN)
        if probing.seccomp_filter().works or len(categories) > 1:
            self._sight = _Sight(emitter)
            self._filter = SeccompUserNotify(tells_lives=False)
            self._filter.prepare(launch, self._sight, categories)  # type: ignore[arg-type] # it only emits

    def while_starting(self) -> tuple[int, Callable[[], None]] | None:
        """Gives what the filter's supervisor needs."""
        return self._filter.while_starting() if self._filter is not None else None

    def attach(self, pid: int) -> None:
        """Begins with the command; its own start, and what it has done since, waits in the socket."""
        self._tree = Tree(pid)
        if self._filter is not None and self._epoll is not None:
            self._filter.attach(pid)
            descriptor = self._filter.fileno()
            if descriptor is not None:
                self._epoll.register(descriptor, select.EPOLLIN)

    def fileno(self) -> int | None:
        """Gives one descriptor for the socket, the filter and the clock."""
        return self._epoll.fileno() if self._epoll is not None else None

    def deliver(self, limit: int) -> bool:
        """Emits what is old enough for the filter's part of it to have come."""
        if self._timer is None or self._epoll is None or self._connector is None:
            return False
        # What is to be heard of once is so only when it has been asked for here.
        self._epoll.poll(0)
        self._timer.clear()
        has_read, joined = self._read(), self._is_joined()
        until = monotonic_ns() - (_LAG if joined else 0)
        if self._deliver(limit, until):
            return True
        pause = max((self._waiting[0][0] - until) / 1e9, _GATHER) if self._waiting else 0.0
        if self._sight is not None and self._sight.holds():
            pause = min(pause or _GATHER, _GATHER)
        if has_read and joined:
            gather = _GATHER_MANY if has_read > _MANY else _GATHER
            pause = min(pause or gather, gather)
        else:
            self._epoll.modify(self._connector, _ONCE)
        if pause > 0:
            self._timer.set(pause)
        return False

    def _is_joined(self) -> bool:
        return self._sight is not None and self._sight.works

    def _deliver(self, limit: int, until_ns: int) -> bool:
        """Emit at most about so many of what happened until then, in order of time; True when there is more."""
        sight = self._sight
        if self._filter is not None and self._filter.deliver(limit):
            # What the filter saw of an exec must be known before the exec is emitted.
            return True
        waiting, offset = self._waiting, since_epoch()
        events: list[Event | UsualBatch] = []
        left = limit
        while waiting and waiting[0][0] <= until_ns and left > 0:
            at_ns, kind, pid, known = waiting.popleft()
            if sight is not None:
                left -= sight.pass_on(at_ns + offset, events)
            fields = self._fields(at_ns + offset, kind, pid, known)
            if fields is not None:
                events.append((kind, pid, at_ns + offset, fields))
                left -= 1
        has_more = bool(waiting) and waiting[0][0] <= until_ns
        if sight is not None and not has_more:
            sight.pass_on(until_ns + offset, events)
        if events and self._emitter is not None:
            self._emitter.emit_all(events)
        return has_more

    def _fields(self, time: int, kind: ObserverEventKind, pid: int, known: Any) -> Fields | None:
        """Return what is told of one that happened at a time in nanoseconds since the Unix epoch; None if it is not."""
        if kind is _K.DESCENDANT_STARTED:
            return {"ppid": known}
        if kind is _K.EXEC:
            self._execs[pid] -= 1
            seen = self._sight.attempts.confirm(pid, time, self._execs[pid]) if self._sight is not None else None
            return {**(seen or known or _read_program(pid)), "result": "ok"}
        if kind is _K.LOST:
            return {"category": EventCategory.PROCESS, "count": known}
        del self._execs[pid]
        if self._sight is not None:
            self._sight.attempts.forget(pid)
        if self._tree is not None and pid == self._tree.root:
            return None
        return {"exit_code": None if known is None else os.waitstatus_to_exitcode(known)}

    # -- messages

    def _read(self) -> int:
        """Take what the socket has, and note what is about the tree; returns how much there was."""
        connector, waiting = self._connector, self._waiting
        count = 0
        while connector is not None and len(waiting) < _BOUND:
            try:
                message = connector.read()
            except OverflowError:
                # This is heard before what was there already.
                self._has_gap = True
                count += 1
                continue
            if message is None:
                if self._has_gap:
                    self._has_gap = False
                    self._on_dropped()
                break
            count += 1
            self._note(message)
        return count

    def _note(self, message: Message) -> None:
        kind, at_ns, thread, process, parent, status = message
        tree, waiting = self._tree, self._waiting
        if tree is None:
            return
        if kind == FORK:
            if tree.on_fork(thread, process, parent):
                waiting.append((at_ns, _K.DESCENDANT_STARTED, process, parent))
        elif kind == EXEC:
            if tree.on_exec(process):
                self._execs[process] += 1
                # Without a filter this is the moment to look; with one it is the last resort, and later will do.
                waiting.append((at_ns, _K.EXEC, process, None if self._is_joined() else _read_program(process)))
        elif kind == EXIT:
            ended = tree.on_exit(thread, process, status)
            if ended is not None:
                waiting.append((at_ns, _K.DESCENDANT_EXITED, process, ended))

    def _on_dropped(self) -> None:
        """Say that messages are missing, and set the tree right by /proc.

        The kernel does not count them, and they may have been about other processes than these: the count is 1.
        """
        tree = self._tree
        if tree is None:
            return
        now = monotonic_ns()
        self._waiting.append((now, _K.LOST, tree.root, 1))
        # Parents before their children, as far as those that are found still live.
        for process, parent in tree.adopt():
            self._waiting.append((now, _K.DESCENDANT_STARTED, process, parent))
        for process in tree.ended():
            tree.forget(process)
            self._waiting.append((now, _K.DESCENDANT_EXITED, process, None))

    # -- the end

    def finish(self, seconds: float) -> None:
        """Emits all that has happened; waits for messages of what has ended, which may come after it was reaped."""
        tree, connector = self._tree, self._connector
        if tree is None or connector is None:
            return
        deadline = monotonic() + seconds
        poller = select.poll()
        poller.register(connector.fileno(), select.POLLIN)
        self._read()
        while not tree.is_settled() and monotonic() < deadline:
            poller.poll(_GLANCE * 1000)
            self._read()
        if self._filter is not None:
            self._filter.finish(max(0.0, deadline - monotonic()))
        now = monotonic_ns()
        while self._deliver(_BOUND, now):
            pass

    def stop(self) -> None:
        """Lets go; the filter's supervisor goes on answering for as long as a process of the tree lives."""
        if self._epoll is not None:
            self._epoll.close()
        if self._filter is not None:
            self._filter.stop()
        if self._connector is not None:
            self._connector.close()
        if self._timer is not None:
            self._timer.close()
        self._epoll = self._filter = self._connector = self._timer = self._tree = self._sight = None
        self._waiting.clear()


class _Sight:
    """Stands in for the emitter towards the filter: keeps what it saw of execs, holds the rest back for a moment.

    Attributes:
        attempts: at execs.
        works: the kernel has not refused the filter.
    """

    def __init__(self, emitter: Emitter) -> None:
        self.attempts = Attempts()
        self.works = True
        self._emitter = emitter
        self._held: deque[Event | UsualBatch] = deque()  # until the connector's messages of the same time have come

    def holds(self) -> bool:
        """Tell whether something waits to be passed on."""
        return bool(self._held)

    def pass_on(self, until_ns: int, due: list[Event | UsualBatch]) -> int:
        """Add what the filter saw up to that time to what is due; return how many events that was."""
        held = self._held
        count, left = 0, None
        while held and left is None:
            first = held.popleft()
            done, left = (first, None) if isinstance(first, tuple) else first.split(until_ns)
            if isinstance(done, tuple) and done[2] > until_ns:
                done, left = None, done
            if done is not None:
                due.append(done)
                count += 1 if isinstance(done, tuple) else len(done)
        if left is not None:
            held.appendleft(left)
        return count

    def warn(self, message: str) -> None:
        """Pass a warning on."""
        self._emitter.warn(message)

    def emit_all(self, events: Iterable[Event | UsualBatch]) -> None:
        """Take events of the filter's as `Emitter.emit_all` does."""
        for event in events:
            if not isinstance(event, tuple):
                self._held.append(event)
                continue
            kind, pid, at_ns, fields = event
            if kind is _K.EXEC:
                fields.pop("attempt", None)
                self.attempts.add(pid, at_ns, fields)
            elif kind is _K.UNOBSERVED and fields["category"] == EventCategory.PROCESS:
                # Processes are observed all the same.
                self.works = False
            elif kind in (_K.LOST, _K.UNOBSERVED):
                # Its time is that of telling; what is behind it must not wait for that.
                self._emitter.emit_all([event])
            else:
                self._held.append(event)


def _read_program(process: int) -> dict[str, Any]:
    """Return path, argv and directory of what a process runs now; None for what cannot be read any more."""
    return {
        "path": procfs.link(process, "exe"),
        "argv": procfs.command_line(process),
        "cwd": procfs.link(process, "cwd"),
    }

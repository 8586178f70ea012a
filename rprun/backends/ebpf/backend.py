"""ebpf: what a tree does, seen in the kernel, with outcomes and without stopping anybody; for privileged users."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import select
from time import monotonic, time_ns

from rprun.backends.ebpf import probing
from rprun.backends.interface import Backend, Probe
from rprun.errors import RprunError
from rprun.linux.timer import Timer
from rprun.observe.categories import EventCategory
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rprun.backends.ebpf.session import Session
    from rprun.backends.interface import Launching
    from rprun.observe.emitter import Emitter

# Seconds for which records may gather before they are read: to be woken for each would cost more than to read it.
_GATHER = 0.05
_MANY = 1024
_ONCE = select.EPOLLIN | select.EPOLLONESHOT


class Ebpf(Backend):
    """Has programs in the kernel follow the command's tree."""

    name = "ebpf"
    categories = (EventCategory.FILE, EventCategory.NETWORK, EventCategory.PROCESS)

    def __init__(self) -> None:
        self._session: Session | None = None
        self._epoll: select.epoll | None = None
        self._timer: Timer | None = None
        self._emitter: Emitter | None = None
        self._command = 0

    def probe(self, category: EventCategory) -> Probe:
        """Loads the programs, and has a child of its own make calls that they must see."""
        support, reason = probing.answer(category)
        return Probe(self.name, support, reason)

    def prepare(self, launch: Launching, emitter: Emitter, categories: Sequence[EventCategory]) -> None:
        """Loads the programs, and gives the child the token by which they know it.

        Raises:
            RprunError: no more descriptors or memory, or no privilege any more.
        """
        self._emitter = emitter
        try:
            self._session = probing.session_for(categories)
            self._epoll = select.epoll()
            self._timer = Timer()
            self._epoll.register(self._session.fileno(), _ONCE)
            self._epoll.register(self._timer.fd, select.EPOLLIN)
        except (OSError, LookupError, ValueError) as error:
            self.stop()
            what = " and ".join(categories)
            raise RprunError(f"cannot observe {what}: {probing.refusal(error)}") from error
        launch.token = self._session.token

    def attach(self, pid: int) -> None:
        """Begins with the command, which has told the token before its first instruction."""
        self._command = pid
        if self._session is not None:
            self._session.stop_listening()

    def fileno(self) -> int | None:
        """Gives one descriptor for the records and the clock."""
        return self._epoll.fileno() if self._epoll is not None else None

    def deliver(self, limit: int) -> bool:
        """Emits what the programs have seen."""
        session, emitter, timer, epoll = self._session, self._emitter, self._timer, self._epoll
        if session is None or emitter is None or timer is None or epoll is None:
            return False
        # What is to be heard of once is so only when it has been asked for here.
        epoll.poll(0)
        timer.clear()
        events, taken = session.take(limit)
        if events:
            emitter.emit_all(events)
        self._tell_lost(session, emitter)
        if taken == limit:
            return True
        if taken:
            timer.set(_GATHER)
        else:
            epoll.modify(session.fileno(), _ONCE)
        return False

    def _tell_lost(self, session: Session, emitter: Emitter) -> None:
        for category, count in session.newly_lost().items():
            lost = {"category": category, "count": count}
            emitter.emit_all([(ObserverEventKind.LOST, self._command, time_ns(), lost)])

    def finish(self, seconds: float) -> None:
        """Emits what is in the ring. What descendants do from now on is not observed any more."""
        session, emitter, deadline = self._session, self._emitter, monotonic() + seconds
        if session is None or emitter is None:
            return
        session.detach()
        while self.deliver(_MANY) and monotonic() < deadline:
            pass
        emitter.emit_all(session.take_left())

    def stop(self) -> None:
        """Lets go; the kernel forgets the programs with their descriptors."""
        if self._session is not None:
            self._session.close()
        if self._epoll is not None:
            self._epoll.close()
        if self._timer is not None:
            self._timer.close()
        self._session = self._epoll = self._timer = self._emitter = None

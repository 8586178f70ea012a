"""One loop: descriptors in, handlers out, and a few deadlines on the monotonic clock.

On Linux it waits in epoll(7), elsewhere in poll(2), or in select(2) in its place. For the few descriptors of a run that
is no matter of their number: poll(2) puts a waiter on each terminal and takes it off again in every turn, and asks each
line discipline anew; an edge-triggered epoll does neither, and an echo is back sooner.

This module is on the start-up path, and `turn` is on the path of every byte.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import select
from fcntl import F_DUPFD_CLOEXEC, fcntl
from time import monotonic

from rprun.transport import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = streams.READABLE
WRITE = streams.WRITABLE

if sys.platform == "linux":
    # Only what is new is told: for a handler that reads until less comes than it has room for.
    EDGE = select.EPOLLET
    _UNITS_PER_SECOND = 1

    def _poller() -> select.epoll:
        poller = select.epoll()
        if poller.fileno() > 2:
            return poller
        # 0, 1 and 2 are the command's, even where they are closed.
        with poller:
            return select.epoll.fromfd(fcntl(poller.fileno(), F_DUPFD_CLOEXEC, 3))

else:
    EDGE = 0
    _UNITS_PER_SECOND = 1000

    def _poller() -> streams.Poll:
        return streams.Poll()


class Loop:
    """Descriptors with their handlers, and timers. A handler takes poll(2)'s event bits.

    Attributes:
        wait: returns (descriptor, event bits) of what is ready, as soon as something is.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._interest: dict[int, int] = {}
        # Regular files, which poll(2) finds ready at any time and epoll(7) does not take.
        self._files: set[int] = set()
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self._is_open = self._is_closed = False

    def watch(self, descriptor: int, interest: int, handler: Callable[[int], None]) -> None:
        """Call `handler` when the descriptor is ready for `interest`, or broken; 0 stops that."""
        before = self._interest.get(descriptor, 0)
        if interest == before and self._handlers.get(descriptor) == handler:
            return
        if not interest:
            self.forget(descriptor)
            return
        if self._is_closed:
            return
        if not self._is_open:
            # Not earlier: a run that never begins holds no descriptor.
            self._poller = _poller()
            self.wait = self._poller.poll
            self._is_open = True
        self._handlers[descriptor] = handler
        self._interest[descriptor] = interest
        try:
            if before:
                self._poller.modify(descriptor, interest)
            else:
                self._poller.register(descriptor, interest)
        except PermissionError:
            self._files.add(descriptor)

    def again(self, descriptor: int) -> None:
        """Have a handler called once more that was told of an `EDGE` and has not taken all there was."""
        interest = self._interest.get(descriptor, 0)
        if interest & EDGE:
            self._poller.modify(descriptor, interest)

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor; must come before it is closed."""
        if self._interest.pop(descriptor, 0):
            del self._handlers[descriptor]
            if descriptor in self._files:
                self._files.discard(descriptor)
            else:
                self._poller.unregister(descriptor)

    def set_timer(self, name: str, seconds: float, handler: Callable[[], None]) -> None:
        """Call `handler` once, `seconds` from now; replaces the timer of that name."""
        self._timers[name] = (monotonic() + seconds, handler)

    def cancel_timer(self, name: str) -> None:
        """Forget the timer of that name, if there is one."""
        self._timers.pop(name, None)

    def has_timer(self, name: str) -> bool:
        """Tell whether the timer of that name runs."""
        return name in self._timers

    def turn(self) -> None:
        """Wait for the next thing to happen and handle what has happened."""
        if not self._timers and not self._files:
            self.handle(self.wait())
            return
        ready = self.wait(self._patience() * _UNITS_PER_SECOND)
        self.handle(ready + [(descriptor, self._interest[descriptor]) for descriptor in self._files])
        now = monotonic()
        for name, (deadline, handler) in list(self._timers.items()):
            if deadline <= now and self._timers.get(name, (0.0, None))[0] == deadline:
                del self._timers[name]
                handler()

    def can_wait(self) -> bool:
        """Tell whether there is nothing to do until `wait` returns: no timer runs."""
        return not self._timers and not self._files

    def handle(self, ready: list[tuple[int, int]]) -> None:
        """Call the handlers of what `wait` has returned."""
        for descriptor, event in ready if len(ready) < 2 else self._in_order(ready):
            handler = self._handlers.get(descriptor)
            # An earlier handler of this turn may have forgotten the descriptor.
            if handler is not None:
                handler(event)

    def _in_order(self, ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return what is ready in the order in which it was first watched: signals come before keys."""
        events = dict(ready)
        return [(descriptor, events[descriptor]) for descriptor in self._interest if descriptor in events]

    def _patience(self) -> float:
        """Return the seconds until the first deadline: at least 0, at most what a poller takes."""
        if self._files:
            return 0.0
        earliest = min(self._timers.values(), key=_deadline)[0]
        # The pollers round up to milliseconds: to return before the deadline would turn the loop once more for nothing.
        return min(max(0.0, earliest - monotonic()), float(1 << 20))

    def close(self) -> None:
        """Forget everything, let go of the poller, and watch nothing from now on."""
        self._is_closed = True
        self._handlers.clear()
        self._interest.clear()
        self._files.clear()
        self._timers.clear()
        if self._is_open and sys.platform == "linux":
            self._poller.close()


def _deadline(timer: tuple[float, object]) -> float:
    return timer[0]

"""One poll(2) loop: descriptors in, handlers out, and a few deadlines on the monotonic clock.

This module is on the start-up path, and `turn` is on the path of every byte.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.POLLIN
WRITE = select.POLLOUT


class Loop:
    """Descriptors with their handlers, and timers. A handler takes poll(2)'s event bits."""

    def __init__(self) -> None:
        self._poller = select.poll()
        self._poll = self._poller.poll
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._interest: dict[int, int] = {}
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}

    def watch(self, descriptor: int, interest: int, handler: Callable[[int], None]) -> None:
        """Call `handler` when the descriptor is ready for `interest`, or broken; 0 stops that."""
        if interest == self._interest.get(descriptor, 0) and self._handlers.get(descriptor) == handler:
            return
        if interest:
            self._handlers[descriptor] = handler
            self._interest[descriptor] = interest
            self._poller.register(descriptor, interest)
        else:
            self.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor; must come before it is closed."""
        if self._interest.pop(descriptor, 0):
            del self._handlers[descriptor]
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
        if self._timers:
            earliest = min(self._timers.values(), key=_deadline)[0]
            # Rounded up: a poll that returns before the deadline would turn the loop once more for nothing.
            ready = self._poll(min(max(0, int((earliest - monotonic()) * 1000) + 1), 1 << 30))
        else:
            ready = self._poll()
        for descriptor, event in ready:
            handler = self._handlers.get(descriptor)
            # An earlier handler of this turn may have forgotten the descriptor.
            if handler is not None:
                handler(event)
        if self._timers:
            now = monotonic()
            for name, (deadline, handler_of_timer) in list(self._timers.items()):
                if deadline <= now and self._timers.get(name, (0.0, None))[0] == deadline:
                    del self._timers[name]
                    handler_of_timer()


def _deadline(timer: tuple[float, object]) -> float:
    return timer[0]

"""One thread carries out what the others post, and a few deadlines on the monotonic clock."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import threading
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

READ = 1
# Seconds between two looks at what is watched: a queue cannot be waited for together with a descriptor.
INTERVAL = 0.05
_LONGEST = float(1 << 20)


class Loop:
    """Orders from any thread, carried out by the one that calls `turn`, and timers."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self._calls: set[threading.Event] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def post(self, order: Callable[[], object]) -> bool:
        """Have `order` carried out; False when nothing is any more. From any thread."""
        with self._lock:
            if not self._is_closed:
                self._orders.put(order)
            return not self._is_closed

    def call(self, order: Callable[[], None]) -> bool:
        """Have `order` carried out, and wait until it has been; False if it never will. Not from the loop's thread."""
        done = threading.Event()
        outcome: list[bool] = []

        def carry_out() -> None:
            order()
            outcome.append(True)
            done.set()

        with self._lock:
            if self._is_closed:
                return False
            self._calls.add(done)
            self._orders.put(carry_out)
        done.wait()
        self._calls.discard(done)
        return bool(outcome)

    def set_timer(self, name: str, seconds: float, handler: Callable[[], None]) -> None:
        """Call `handler` once, `seconds` from now; replaces the timer of that name."""
        self._timers[name] = (monotonic() + seconds, handler)

    def cancel_timer(self, name: str) -> None:
        """Forget the timer of that name, if there is one."""
        self._timers.pop(name, None)

    def has_timer(self, name: str) -> bool:
        """Tell whether the timer of that name runs."""
        return name in self._timers

    def watch(self, descriptor: int, interest: int, handler: Callable[[int], None]) -> None:
        """Call `handler` again and again, whether or not the descriptor is readable: it must not wait."""
        self.set_timer(f"watch {descriptor}", INTERVAL, partial(self._look, descriptor, interest, handler))

    def _look(self, descriptor: int, interest: int, handler: Callable[[int], None]) -> None:
        self.watch(descriptor, interest, handler)
        handler(interest)

    def forget(self, descriptor: int) -> None:
        """Stop that."""
        self.cancel_timer(f"watch {descriptor}")

    def turn(self) -> None:
        """Wait for the next thing to happen and deal with it."""
        with suppress(Empty):
            self._orders.get(timeout=self._patience())()
        now = monotonic()
        for name, (deadline, handler) in list(self._timers.items()):
            if deadline <= now and self._timers.get(name, (0.0, None))[0] == deadline:
                del self._timers[name]
                handler()

    def _patience(self) -> float:
        if not self._timers:
            return _LONGEST
        return min(max(0.0, min(deadline for deadline, _ in self._timers.values()) - monotonic()), _LONGEST)

    def close(self) -> None:
        """Carry out nothing any more, and let go of those who wait for it."""
        with self._lock:
            self._is_closed = True
            calls = list(self._calls)
        self._timers.clear()
        for done in calls:
            done.set()

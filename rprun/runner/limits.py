"""Limits on a run, and the ladder that ends its whole tree: a signal, a grace, then SIGKILL until nobody is left."""

from __future__ import annotations

import sys
from time import monotonic

if sys.platform == "win32":
    # No signals there, but steps: the run knows what is meant by them.
    SIGCONT, SIGKILL = 0, 9
else:
    from _signal import SIGCONT, SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    if sys.platform == "win32":
        from rprun.runner.windows.loop import Loop
    else:
        from rprun.runner.loop import Loop

# Between one SIGKILL of the tree and the look at whether somebody was forked in between, in seconds.
KILL_AGAIN = 0.05
# How often that is done. What is left then is in the kernel (state D) or another user's.
KILL_TIMES = 40


class Ladder:
    """Ends a tree by steps.

    Attributes:
        exhausted: SIGKILL has been sent as often as makes sense.
    """

    def __init__(self, loop: Loop, send: Callable[[tuple[int, ...]], None], *, first: int, grace: float) -> None:
        """Prepare the steps.

        Args:
            loop: where the grace is waited for.
            send: sends signals to every process of the tree.
            first: number of the first signal.
            grace: seconds between it and SIGKILL; infinite for never.
        """
        self.loop = loop
        self.send = send
        self.first = first
        self.grace = grace
        self.exhausted = False
        self._kills = 0

    def start(self) -> None:
        """Take the first step."""
        if self.first == SIGKILL or self.grace <= 0:
            self._kill()
            return
        # A stopped process gets the signal only when it runs again.
        self.send((self.first, SIGCONT))
        if self.grace != float("inf"):
            self.loop.set_timer("ladder", self.grace, self._kill)

    def _kill(self) -> None:
        if self._kills >= KILL_TIMES:
            self.exhausted = True
            return
        self._kills += 1
        self.send((SIGKILL,))
        self.loop.set_timer("ladder", KILL_AGAIN, self._kill)

    def stop(self) -> None:
        """Nobody is left to end."""
        self.loop.cancel_timer("ladder")


class Limits:
    """The time that a run may take, and the time it may be silent.

    Attributes:
        hit: `timeout` or `idle-timeout` once one has run out, else empty.
    """

    def __init__(
        self, loop: Loop, on_hit: Callable[[], None], *, timeout: float | None, idle_timeout: float | None
    ) -> None:
        self.loop = loop
        self.on_hit = on_hit
        self.timeout = timeout
        self.idle_timeout = idle_timeout
        self.hit = ""
        self._last = 0.0

    def start(self) -> None:
        """Begin to count."""
        if self.timeout is not None:
            self.loop.set_timer("timeout", self.timeout, self._timed_out)
        if self.idle_timeout is not None:
            self._last = monotonic()
            self.loop.set_timer("idle-timeout", self.idle_timeout, self._maybe_idle)

    def on_activity(self) -> None:
        """Bytes have moved."""
        self._last = monotonic()

    def _timed_out(self) -> None:
        self._hit("timeout")

    def _maybe_idle(self) -> None:
        left = self._last + (self.idle_timeout or 0.0) - monotonic()
        if left <= 0:
            self._hit("idle-timeout")
        else:
            self.loop.set_timer("idle-timeout", left, self._maybe_idle)

    def _hit(self, name: str) -> None:
        if not self.hit:
            self.hit = name
            self.on_hit()

    def stop(self) -> None:
        """The command has ended: no limit is left to run out."""
        self.loop.cancel_timer("timeout")
        self.loop.cancel_timer("idle-timeout")

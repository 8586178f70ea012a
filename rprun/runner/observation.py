"""The backends of one run on its loop: got ready before the command, listened to while it runs, heard out at its end.

Imported only when more than the command's own start and end is observed.
"""

from __future__ import annotations

import sys
from functools import partial
from time import monotonic

from rprun.backends.registry import for_run

TYPE_CHECKING = False
if sys.platform == "win32":
    from rprun.runner.windows.loop import READ

    if TYPE_CHECKING:
        from rprun.runner.windows.loop import Loop
        from rprun.transport.windows.launch import Launch
else:
    from rprun.runner.loop import READ

    if TYPE_CHECKING:
        from rprun.runner.loop import Loop
        from rprun.transport.command import Launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rprun.backends.interface import Backend
    from rprun.observe.capabilities import CategoryCapability
    from rprun.observe.categories import EventCategory
    from rprun.observe.emitter import Emitter

# Events in a row before the loop looks at the command's bytes again.
_BURST = 512
# Seconds that what has been seen may take to arrive, once the command has ended.
_PATIENCE = 2.0


class Observation:
    """Drives the backends; see `rprun.backends.interface` for the order of calls."""

    def __init__(self, loop: Loop, emitter: Emitter, rows: Iterable[CategoryCapability]) -> None:
        self._loop = loop
        self._emitter = emitter
        self._backends: list[tuple[Backend, tuple[EventCategory, ...]]] = for_run(rows, sys.platform)
        self._watched: list[int] = []

    def prepare(self, launch: Launch) -> None:
        """Get ready, so that the command is observed from its first instruction on.

        Raises:
            RprunError: it cannot be observed after all.
        """
        for backend, categories in self._backends:
            backend.prepare(launch, self._emitter, categories)

    def while_starting(self) -> list[tuple[int, Callable[[], None]]]:
        """Return descriptors, and what to call when one is readable, until the command's process has been attached."""
        found = [backend.while_starting() for backend, _ in self._backends]
        return [each for each in found if each is not None]

    def attach(self, pid: int) -> None:
        """Listen from now on to what is seen of the command."""
        for number, (backend, _) in enumerate(self._backends):
            backend.attach(pid)
            descriptor = backend.fileno()
            if descriptor is not None:
                self._watched.append(descriptor)
                self._loop.watch(descriptor, READ, partial(self._deliver, number))

    def _deliver(self, number: int, _event: int = 0) -> None:
        if self._backends[number][0].deliver(_BURST):
            self._loop.set_timer(f"observe {number}", 0.0, partial(self._deliver, number))

    def finish(self, settle: Callable[[], None] | None) -> None:
        """Hear out what is still on its way; the command has ended.

        Args:
            settle: called after each burst, so that a consumer on this thread can keep up.
        """
        for backend, _ in self._backends:
            deadline = monotonic() + _PATIENCE
            # Descendants may go on, and faster than they can be told of.
            while backend.deliver(_BURST) and monotonic() < deadline:
                if settle is not None:
                    settle()
            backend.finish(_PATIENCE)

    def stop(self) -> None:
        """Let go of everything."""
        for descriptor in self._watched:
            self._loop.forget(descriptor)
        self._watched.clear()
        for backend, _ in self._backends:
            backend.stop()

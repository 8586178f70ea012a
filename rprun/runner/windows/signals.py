"""What the console tells this process while it runs a command: ^C, ^Break, and that it is being closed.

A command that shares the console hears of them itself, and decides; rprun is there to report what comes of it, and must
not die first. One in a console or a process group of its own does not hear them, so they are passed on.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import threading

from rprun.windows.console import BREAK_EVENT, C_EVENT, ConsoleEvents

if TYPE_CHECKING:
    from rprun.runner.windows.run import Run


class Signals:
    """Stands between the console's events and this process, for the time of one run."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._over = threading.Event()
        self._events = ConsoleEvents(self._on_event)

    def attach(self, run: Run) -> None:
        """From now on they are the command's."""
        self._run = run

    def _on_event(self, event: int) -> bool:
        """Deal with one, on a thread of the system's; False if it is to do what it does to any process."""
        run = self._run
        if run is None:
            return False
        if event == C_EVENT:
            run.loop.post(run.pass_on_interrupt)
        elif event == BREAK_EVENT:
            run.loop.post(run.pass_on_break)
        else:
            # The console is closed, or the user leaves. When this returns the process ends; the system waits for some
            # seconds, which are the command's to end in.
            run.loop.post(run.pass_on_break)
            self._over.wait()
        return True

    def restore(self) -> None:
        """Give them back: the run is over."""
        self._over.set()
        self._events.stop()

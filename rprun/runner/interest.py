"""Whether the command wants keys of a terminal that is not its stdin (`list | rprun less`, `... | rprun xargs -p rm`).

Other programs of the pipeline may be reading the user's terminal, so that its keys are not ours to take unasked. There
are two signs that the command asks:

- It changes how its own terminal is read (ICANON, ECHO), as pagers, editors and password prompts do first of all. The
  kernel makes no event of that, so it is looked for with each output, and a few times soon after: a prompt is often
  written first.
- A line has been typed at the user's terminal, and a process of the command's session sleeps in a read of its own.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os

from rprun.runner.loop import READ

if sys.platform == "linux":
    from rprun.linux.readers import somebody_reads
else:

    def somebody_reads(_session: int, _terminal: str) -> bool:
        """Tell that it cannot be known who sleeps in a read: no other system says so."""
        return False


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.loop import Loop
    from rprun.runner.terminal import Terminal
    from rprun.runner.terminal_pump import TerminalPump

FIRST_LOOK = 0.001
LAST_LOOK = 0.25
_LOOK, _TYPED = "look", "typed"


class KeyInterest:
    """Watches for the signs; `on_wanted` is called once, `on_shown` when the command changes its output modes."""

    def __init__(
        self,
        loop: Loop,
        terminal: Terminal,
        pump: TerminalPump,
        session: int,
        on_wanted: Callable[[], None],
        on_shown: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._terminal = terminal
        self._pump = pump
        self._session = session
        self._on_wanted = on_wanted
        self._on_shown = on_shown
        self._name = os.ttyname(pump.pty.held)
        self._pause = FIRST_LOOK
        self._typed_pause = FIRST_LOOK
        pump.on_chunk = self._on_output
        loop.watch(terminal.fd, READ, self._on_typed)

    def _on_output(self) -> None:
        self._pause = FIRST_LOOK
        self._look()

    def _look(self) -> None:
        if self._pump.asks_for_keys() and self._terminal.in_foreground():
            self._on_wanted()
            return
        self.follow_output()
        if self._pause <= LAST_LOOK:
            self._loop.set_timer(_LOOK, self._pause, self._look)
            self._pause *= 2

    def follow_output(self) -> None:
        """See whether the command has changed its output modes, and no more."""
        if self._pump.shows_otherwise():
            self._on_shown()

    def _on_typed(self, _event: int) -> None:
        if self._terminal.in_foreground() and (self._pump.asks_for_keys() or somebody_reads(self._session, self._name)):
            self._on_wanted()
            return
        # For somebody else, or for later: looked at again after a pause that grows while it lies there.
        self._loop.forget(self._terminal.fd)
        self._loop.set_timer(_TYPED, self._typed_pause, self._watch_again)
        self._typed_pause = min(self._typed_pause * 2, LAST_LOOK)

    def _watch_again(self) -> None:
        self._loop.watch(self._terminal.fd, READ, self._on_typed)

    def stop(self) -> None:
        """Watch no more."""
        self._pump.on_chunk = None
        self._loop.cancel_timer(_LOOK)
        self._loop.cancel_timer(_TYPED)
        self._loop.forget(self._terminal.fd)

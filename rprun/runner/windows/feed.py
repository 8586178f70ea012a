"""This process's own stdin on its way into the command's console: keys from a console, or what a file or pipe holds.

Each has a thread, as a read waits. It is nobody's to wait for: the console may never give another key.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import os
import threading

from rprun.transport import streams
from rprun.transport.windows.keys import Keys
from rprun.windows import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.transport.streams import Stream
    from rprun.transport.windows.terminal import Terminal

SIZE = 4096


class Feed:
    """Types what comes from a stream."""

    def __init__(self, terminal: Terminal, source: Stream, note: Callable[[], None] | None) -> None:
        """Prepare.

        Args:
            terminal: where it is typed.
            source: where it comes from.
            note: called whenever something has come.
        """
        self._terminal = terminal
        self._source = source
        self._note = note
        self._modes: list[tuple[int, int]] = []

    def start(self) -> None:
        """Begin."""
        if self._source.kind == streams.CLOSED:
            return
        if self._source.kind == streams.TTY:
            self._modes = console.modes()
            console.hand_over_keys()
        threading.Thread(target=self._carry, name="rprun-stdin", daemon=True).start()

    def stop(self) -> None:
        """Give the console back as it was."""
        modes, self._modes = self._modes, []
        console.set_modes(modes)

    def _carry(self) -> None:
        try:
            if self._source.kind == streams.TTY:
                while text := console.read_keys():
                    self._type(text)
                return
            keys = Keys()
            while data := os.read(self._source.fd, SIZE):
                self._type(keys.feed(data))
            self._type(keys.end())
        except OSError:
            # Nobody reads keys any more, or none can come.
            pass

    def _type(self, text: str) -> None:
        if self._note is not None:
            self._note()
        self._terminal.write(text)

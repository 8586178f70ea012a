"""rprun's own stdin, which is no terminal, on the loop that carries it into the PTY.

The command's reading makes no event on our side of a terminal. Where it matters (see `Feed.wants_check`) it is looked
for at intervals that double from a millisecond to a quarter of a second while nothing happens.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

from rprun.runner.loop import READ, WRITE
from rprun.transport.feed import Feed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.loop import Loop
    from rprun.transport.pty import Pty
    from rprun.transport.streams import Stream

FIRST_CHECK = 0.001
LAST_CHECK = 0.25
_TIMER = "feed"


class StdinFeed:
    """Runs a `Feed` on a loop; `note` is called when data has moved."""

    def __init__(self, loop: Loop, pty: Pty, source: Stream, note: Callable[[], None] | None) -> None:
        self._loop = loop
        self._pty = pty
        self._note = note
        self._feed = Feed(pty, source.fd if source.kind != "closed" else -1, source.kind)
        self._pause = 0.0
        self._watches_room = False
        self._watch()

    def _watch(self) -> None:
        feed, loop = self._feed, self._loop
        if feed.source >= 0:
            loop.watch(feed.source, READ if feed.wants_read() else 0, self._on_readable)
        if bool(feed.pending) != self._watches_room:
            self._watches_room = bool(feed.pending)
            loop.watch(self._pty.write_end(), WRITE if self._watches_room else 0, self._on_room)
        if feed.wants_check() and not loop.has_timer(_TIMER):
            self._pause = min(max(self._pause * 2, FIRST_CHECK), LAST_CHECK)
            loop.set_timer(_TIMER, self._pause, self._check)

    def _on_readable(self, _event: int) -> None:
        if self._feed.on_readable():
            self._hurry()
            if self._note is not None:
                self._note()
        self._watch()

    def _on_room(self, _event: int) -> None:
        self._feed.flush()
        self._watch()

    def _check(self) -> None:
        if self._feed.check():
            self._hurry()
        self._watch()

    def _hurry(self) -> None:
        self._pause = 0.0
        self._loop.cancel_timer(_TIMER)

    def give_back(self) -> None:
        """Return what the command has not read to where it came from, as far as that can take it."""
        self._feed.give_back()

    def stop(self) -> None:
        """Carry no more."""
        self._loop.cancel_timer(_TIMER)
        if self._feed.source >= 0:
            self._loop.forget(self._feed.source)
        if self._watches_room:
            self._loop.forget(self._pty.write_end())
            self._watches_room = False

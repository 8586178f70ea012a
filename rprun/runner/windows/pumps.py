"""What carries the command's output: a thread for each console and pipe, which reads, writes, and reads on.

A write may wait for a slow reader, and nothing on Windows says beforehand whether it will. So each pump writes itself,
and has one chunk in hand: while that waits the pipe fills up, and the command waits, as it would without a pump.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import os
import threading
from errno import EINVAL, EPIPE
from functools import partial

from rprun.transport import streams
from rprun.transport.windows.queries import Queries
from rprun.transport.windows.terminal import text_to_bytes
from rprun.windows import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.windows.loop import Loop
    from rprun.transport.streams import Stream
    from rprun.transport.windows.terminal import Terminal

SIZE = 1 << 16


class Place:
    """Where output goes, and perhaps events too, which must not cut each other's lines.

    Attributes:
        lock: held by who writes.
        at_line_start: the last byte that was written ended a line, or there was none yet.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at_line_start = True


class Output:
    """A stream of this process's own, to write to."""

    def __init__(self, stream: Stream, place: Place) -> None:
        self.stream = stream
        self.place = place

    def put(self, data: bytes, text: str | None = None) -> None:
        """Write all of it, however long that takes.

        Args:
            data: the bytes.
            text: what they say, if they come from a console and so have only whole characters.

        Raises:
            OSError: the stream is broken, full or gone.
        """
        descriptor = self.stream.fd
        with self.place.lock:
            if text is not None and self.stream.kind == streams.TTY:
                console.write_text(descriptor, text)
            else:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            self.place.at_line_start = data.endswith(b"\n")


class Pump:
    """Carries bytes from one source to where they belong, in a thread of its own, until the end.

    Attributes:
        name: `stdout` or `stderr`.
        ended: there is nothing more to come, or nobody waits for it.
        busy: it has bytes in hand that have not been taken yet.
        note: called whenever bytes have moved.
    """

    def __init__(
        self,
        loop: Loop,
        name: str,
        output: Output | None,
        deliver: Callable[[str, bytes], None] | None,
        on_broken: Callable[[Pump, OSError], None],
    ) -> None:
        """Prepare.

        Args:
            loop: told of the end, and where `deliver` is called.
            name: of the stream.
            output: where bytes go; None for nowhere.
            deliver: takes (stream name, bytes) instead.
            on_broken: called on the loop when the output takes no more.
        """
        self.name = name
        self.ended = False
        self.busy = False
        self.note: Callable[[], None] | None = None
        self._loop = loop
        self._output = output
        self._deliver = deliver
        self._on_broken = on_broken

    def start(self) -> None:
        """Begin. The thread is nobody's to wait for: a read of what a descendant holds may never return."""
        threading.Thread(target=self._carry, name=f"rprun-{self.name}", daemon=True).start()

    def _carry(self) -> None:
        try:
            self._carry_all()
        finally:
            self._loop.post(self.end)

    def _carry_all(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """Carry nothing more. On the loop."""
        self.ended = True

    def _put(self, data: bytes, text: str | None = None) -> bool:
        """Send on; False when nobody takes it."""
        if self.note is not None:
            self.note()
        if not data:
            return True
        if self.ended:
            return False
        self.busy = True
        try:
            return self._send(data, text)
        finally:
            self.busy = False

    def _send(self, data: bytes, text: str | None) -> bool:
        if self._deliver is not None:
            return self._loop.call(partial(self._deliver, self.name, data))
        if self._output is None:
            return True
        try:
            self._output.put(data, text)
        except OSError as error:
            self._loop.post(partial(self._on_broken, self, error))
            return False
        return True


class PipePump(Pump):
    """Carries what comes out of a pipe, byte for byte."""

    def __init__(
        self,
        loop: Loop,
        source: int,
        name: str,
        output: Output | None,
        deliver: Callable[[str, bytes], None] | None,
        on_broken: Callable[[Pump, OSError], None],
    ) -> None:
        """Prepare; `source` is closed at the end, and then the command's next write finds the pipe broken."""
        super().__init__(loop, name, output, deliver, on_broken)
        self._source = source

    def _carry_all(self) -> None:
        try:
            while True:
                try:
                    data = os.read(self._source, SIZE)
                except OSError:
                    # ERROR_BROKEN_PIPE is the end; the C runtime says so in more than one way.
                    break
                if not data or not self._put(data):
                    break
        finally:
            os.close(self._source)


class TerminalPump(Pump):
    """Carries what a console shows, and answers its questions where nobody else does."""

    def __init__(
        self,
        loop: Loop,
        terminal: Terminal,
        output: Output | None,
        deliver: Callable[[str, bytes], None] | None,
        on_broken: Callable[[Pump, OSError], None],
        *,
        answers: bool,
    ) -> None:
        super().__init__(loop, "stdout", output, deliver, on_broken)
        self._terminal = terminal
        self._queries = Queries() if answers else None

    def _carry_all(self) -> None:
        while (text := self._terminal.read()) is not None:
            if self._queries is not None:
                text, answer = self._queries.feed(text)
                self._answer(answer)
            if not self._put(text_to_bytes(text), text):
                # A terminal knows no broken pipe: it is hung up, by whoever reads it, and that is here.
                self._terminal.close()
                return
        if self._queries is not None:
            rest = self._queries.rest()
            self._put(rest.encode(), rest)

    def _answer(self, answer: str) -> None:
        if answer:
            try:
                self._terminal.write(answer)
            except BrokenPipeError:
                pass


def reader_is_gone(error: OSError) -> bool:
    """Tell whether a failed write says no more than that nobody reads."""
    # The C runtime makes EINVAL of a pipe that is being closed (ERROR_NO_DATA).
    return error.errno in (EPIPE, EINVAL)

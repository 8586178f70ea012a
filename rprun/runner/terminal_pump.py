"""What a PTY shows, carried to where it goes, with each line ended once.

The PTY has turned each newline into CR LF. Where the user's terminal is not in raw mode, because it is not rprun's to
change (in the background, or with stdout going elsewhere), it would add a second CR: so exactly the one that the PTY
added is taken off again.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import termios
from os import read, write

from rprun.runner.loop import EDGE, READ
from rprun.runner.pumps import BURST, BUSY, Pump
from rprun.transport.pty import LFLAG, OFLAG, READ_SIZE, is_end
from rprun.transport.streams import TTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.loop import Loop
    from rprun.transport.output import Output
    from rprun.transport.pty import Pty

_ONLCR = termios.OPOST | termios.ONLCR
_BURST = range(BURST)


class TerminalPump(Pump):
    """Carries what a PTY shows.

    Attributes:
        on_chunk: called when the command has written, before that is shown.
        cooked: descriptor of the user's terminal while that may be ending lines itself, else -1.
    """

    def __init__(
        self,
        loop: Loop,
        pty: Pty,
        name: str,
        output: Output | None,
        deliver: Callable[[str, bytes], None] | None,
        on_broken: Callable[[Pump, OSError], None],
    ) -> None:
        self.pty = pty
        self.cooked = -1
        self._to_terminal = output is not None and output.stream.kind == TTY
        self.on_chunk: Callable[[], None] | None = None
        attributes = pty.attributes()
        self._local_at_start = attributes[LFLAG]
        self._output_at_start = attributes[OFLAG]
        super().__init__(loop, pty.master, name, output, deliver, on_broken)

    def watch(self) -> None:
        """Have `on_readable` called when there is something new to read.

        A read of a terminal stops short only where nothing more is there (n_tty_read), so that the edge is enough.
        """
        self.loop.watch(self.source, READ | EDGE, self.on_readable)

    def plain_fd(self) -> int:
        """Return the descriptor that takes what is read here just as it is, -1 if there is more to do about it."""
        output = self.output
        if output is None or self.cooked >= 0 or self.careful or self.on_chunk is not None or not output.whole:
            return -1
        return output.fd

    def on_readable(self, event: int) -> None:
        """Carry what waits, up to a burst."""
        output = self.output
        if output is None or self.plain_fd() < 0:
            super().on_readable(event)
            return
        # The same in a few steps, for what matters most: a build's log.
        for _ in _BURST:
            try:
                data = read(self.source, READ_SIZE)
            except BlockingIOError:
                return
            except OSError:
                # The end, most likely: looked at with care.
                super().on_readable(event)
                return
            try:
                written = write(output.fd, data)
            except BlockingIOError:
                written = 0
            except OSError as error:
                self.broken(error)
                return
            self.moved += written
            if written != len(data):
                output.pending = data[written:]
                self.wait_for_output(output)
                return
            if written < BUSY:
                if not data:
                    self.end()
                if not data or event == READ:
                    return
        self.loop.again(self.source)

    def read(self) -> bytes | None:
        """Read a chunk: b"" at the end, None when nothing waits."""
        try:
            data = read(self.source, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError as error:
            if is_end(error):
                return b""
            raise
        if self.on_chunk is not None:
            self.on_chunk()
        return data if self.cooked < 0 or not data else self._without_added_returns(data)

    def _without_added_returns(self, data: bytes) -> bytes:
        try:
            theirs, ours = termios.tcgetattr(self.cooked)[OFLAG], self.pty.attributes()[OFLAG]
        except termios.error:
            return data
        if theirs & _ONLCR != _ONLCR or ours & _ONLCR != _ONLCR:
            if ours & _ONLCR != self._output_at_start & _ONLCR and self.on_chunk is not None:
                # Not yet so when that was asked for a moment ago. The user's terminal is to show it in the same way.
                self.on_chunk()
            return data
        if data.endswith(b"\r"):
            # The line discipline writes the pair at once, so a newline of its own is there already.
            try:
                data += read(self.source, READ_SIZE)
            except OSError:
                pass
        return data.replace(b"\r\n", b"\n")

    def goes_to_terminal(self) -> bool:
        """Tell whether this is a terminal's output on its way to a terminal."""
        return self._to_terminal

    def asks_for_keys(self) -> bool:
        """Tell whether the command has changed how it reads the terminal, as for a password or an editor."""
        if self.ended:
            return False
        changed: int = self.pty.attributes()[LFLAG] ^ self._local_at_start
        return bool(changed & (termios.ICANON | termios.ECHO))

    def shows_otherwise(self) -> bool:
        """Tell whether the command has changed how its terminal ends lines, so that the user's must do as much."""
        if self.ended:
            return False
        return bool((self.pty.attributes()[OFLAG] ^ self._output_at_start) & _ONLCR)

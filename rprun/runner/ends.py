"""The ends of a command's streams that are rprun's: PTYs, pipes, and the pumps that carry their bytes.

This module is on the start-up path; what only a PTY needs is imported when there is one.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from errno import EMFILE

from rprun.errors import RprunError
from rprun.runner.pumps import Pump
from rprun.transport import streams
from rprun.transport.output import CAN_SPLICE, Output, enlarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rprun.runner.loop import Loop
    from rprun.runner.terminal_pump import TerminalPump
    from rprun.transport.pty import Pty
    from rprun.transport.streams import Stream

_NAMES = ("stdin", "stdout", "stderr")


class Ends:
    """What stands between the command's streams and our own.

    Attributes:
        pty: the command's terminal, None where it has none.
        error_pty: its stderr's own terminal.
        pumps: one for each PTY and pipe.
        terminals: those of the pumps that carry a PTY's output.
        stdio: for 0, 1 and 2 the command's descriptor, -1 for what is there already.
        stdin_pipe: write end of the command's stdin, -1 where that is no pipe of ours.
    """

    def __init__(
        self,
        loop: Loop,
        rows: tuple[Stream, Stream, Stream],
        deliver: Callable[[str, bytes], None] | None,
        on_broken: Callable[[Pump, OSError], None],
    ) -> None:
        """Prepare to open.

        Args:
            loop: what the pumps run on.
            rows: rprun's own streams.
            deliver: takes (stream name, bytes) in place of rprun's own streams.
            on_broken: called when a destination takes no more.
        """
        self.loop = loop
        self.rows = rows
        self.deliver = deliver
        self.on_broken = on_broken
        self.pty: Pty | None = None
        self.error_pty: Pty | None = None
        self.pumps: list[Pump] = []
        self.terminals: list[TerminalPump] = []
        self.stdio = (-1, -1, -1)
        self.stdin_pipe = -1
        self._theirs: list[int] = []  # the command's ends of pipes
        self._pipes: list[int] = []  # our read ends

    def open(
        self,
        kinds: tuple[str, str, str],
        *,
        size: tuple[int, int],
        attributes: list[Any] | None,
        keys: bool,
        utf8: bool,
    ) -> None:
        """Open what the command's streams need, and what carries their bytes.

        Args:
            kinds: what each stream becomes, as of `streams.choose_ends`.
            size: columns and rows.
            attributes: of the user's terminal where one stands behind the PTY, else None.
            keys: the terminal's input will be keys, from a terminal or a program, and not data to be quoted.
            utf8: the locale's encoding is UTF-8.

        Raises:
            RprunError: no PTY or pipe is to be had.
        """
        stdio = [-1, -1, -1]
        pipes: dict[str, tuple[int, int]] = {}
        data = kinds[0] == streams.PTY and attributes is None and not keys
        try:
            for number, kind in enumerate(kinds):
                if kind == streams.PTY:
                    self.pty = self.pty or _open_pty(size, attributes, data=data, utf8=utf8)
                    stdio[number] = self.pty.slave
                elif kind == streams.ERROR_PTY:
                    self.error_pty = _open_pty(size, attributes, data=False, utf8=utf8)
                    stdio[number] = self.error_pty.slave
                elif kind in (streams.OUT_PIPE, streams.ERROR_PIPE):
                    if kind not in pipes:
                        pipes[kind] = os.pipe()
                        os.set_blocking(pipes[kind][0], False)
                        enlarge(pipes[kind][0])
                        self._pipes.append(pipes[kind][0])
                        self._theirs.append(pipes[kind][1])
                    stdio[number] = pipes[kind][1]
            if kinds[0] == streams.FEED_PIPE:
                stdio[0], self.stdin_pipe = os.pipe()
                os.set_blocking(self.stdin_pipe, False)
                self._theirs.append(stdio[0])
        except OSError as error:
            raise RprunError(f"cannot open a pipe for the command: {error.strerror} (see ulimit -n)") from error
        self.stdio = (stdio[0], stdio[1], stdio[2])
        self._pump_terminals(kinds)
        for kind, (read, _) in pipes.items():
            self._pump_pipe(kinds.index(kind), read)

    def _pump_terminals(self, kinds: tuple[str, str, str]) -> None:
        if self.pty is not None:
            # What a terminal shows goes to stdout if that is one of its streams, else to stderr; a terminal that is
            # only the stdin still shows its echo, and what is written to /dev/tty, where the keys come from.
            number = next(n for n in (1, 2, 0) if kinds[n] == streams.PTY)
            self._pump_terminal(self.pty, number)
        if self.error_pty is not None:
            self._pump_terminal(self.error_pty, 2)

    def _pump_terminal(self, pty: Pty, number: int) -> None:
        from rprun.runner.terminal_pump import TerminalPump

        name = "stderr" if number == 2 else "stdout"
        pump = TerminalPump(self.loop, pty, name, self._output(number), self.deliver, self.on_broken)
        self.terminals.append(pump)
        self.pumps.append(pump)

    def _pump_pipe(self, number: int, read: int) -> None:
        output = self._output(number)
        pump = Pump(self.loop, read, _NAMES[number], output, self.deliver, self.on_broken)
        pump.splices = CAN_SPLICE and output is not None and output.stream.kind in (streams.PIPE, streams.FILE)
        self.pumps.append(pump)

    def _output(self, number: int) -> Output | None:
        if self.deliver is not None or self.rows[number].kind == streams.CLOSED:
            return None
        return Output(self.rows[number])

    @property
    def controlling(self) -> int:
        """The command's end of the PTY that is to be its controlling terminal, -1 without a PTY.

        Without one the command stays in the session it would be in, with the terminal it would have.
        """
        pty = self.pty or self.error_pty
        return pty.slave if pty is not None else -1

    @property
    def ptys(self) -> list[Pty]:
        """The PTYs that there are."""
        return [pty for pty in (self.pty, self.error_pty) if pty is not None]

    def release_theirs(self) -> None:
        """Close the command's ends here, once it has them."""
        for descriptor in self._theirs:
            os.close(descriptor)
        self._theirs.clear()
        for pty in self.ptys:
            pty.release_slave()

    def pty_of(self, pump: Pump) -> Pty | None:
        """Return the PTY whose output a pump carries."""
        return next((terminal.pty for terminal in self.terminals if terminal is pump), None)

    def drop_pty(self, pty: Pty) -> None:
        """Hang up one of the terminals."""
        if pty is self.pty:
            self.pty = None
        elif pty is self.error_pty:
            self.error_pty = None
        pty.close()

    def drop_pipe(self, pump: Pump) -> None:
        """Close the read end of a pipe: the next write into it gets SIGPIPE or EPIPE from the kernel."""
        self._pipes.remove(pump.source)
        os.close(pump.source)

    def close_stdin(self) -> None:
        """End the input of a command whose stdin is a pipe of ours."""
        if self.stdin_pipe >= 0:
            self.loop.forget(self.stdin_pipe)
            os.close(self.stdin_pipe)
            self.stdin_pipe = -1

    def close(self) -> None:
        """Close everything."""
        for pump in self.pumps:
            pump.end()
            if pump.output is not None:
                self.loop.forget(pump.output.fd)
                pump.output.close()
        for pty in self.ptys:
            pty.close()
        self.pty = self.error_pty = None
        for descriptor in (*self._theirs, *self._pipes):
            os.close(descriptor)
        self._theirs.clear()
        self._pipes.clear()
        self.close_stdin()


def _open_pty(size: tuple[int, int], attributes: list[Any] | None, *, data: bool, utf8: bool) -> Pty:
    from rprun.transport.pty import Pty, data_attributes, plain_attributes

    try:
        pty = Pty(size, attributes)
        if attributes is None:
            pty.set_attributes((data_attributes if data else plain_attributes)(pty.attributes(), utf8=utf8))
    except OSError as error:
        advice = "see ulimit -n" if error.errno == EMFILE else "see /dev/pts and kernel.pty.max, or use --pipe"
        raise RprunError(f"cannot open a terminal for the command: {error.strerror} ({advice})") from error
    return pty

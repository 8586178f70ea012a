"""What the command writes, carried to where it goes: one pump for each PTY or pipe, each with one chunk in hand.

A pump stops reading while its destination has not taken the last chunk. The kernel's own buffers then fill up and
stop the command, as they would have without rprun; memory stays bounded.

This module is on the start-up path and on the path of every byte.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from errno import EINVAL

from rprun.runner.loop import READ, WRITE
from rprun.transport.output import splice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.loop import Loop
    from rprun.transport.output import Output

READ_SIZE = 65536
# A read of at least this much says that more is on the way: try again before asking poll(2).
BUSY = 2048
# Reads in a row before the loop looks at anything else.
BURST = 16
# More than the kernel holds for a PTY (64 KiB) or a pipe (1 MiB at most without privilege).
DRAIN_LIMIT = 1 << 21


class Pump:
    """Carries bytes from a descriptor to an `Output` or a function.

    Attributes:
        source: the descriptor that is read; non-blocking, closed by its owner.
        name: `stdout` or `stderr`.
        ended: the end of file has been reached, or nobody takes the bytes any more.
        moved: bytes carried so far.
        splices: bytes go from pipe to destination without being read here.
        careful: somebody must know of each chunk: `note`, or the events that share the destination.
        note: called when bytes have moved.
        on_end: called when there is nothing more to read.
    """

    def __init__(
        self,
        loop: Loop,
        source: int,
        name: str,
        output: Output | None,
        deliver: Callable[[str, bytes], None] | None,
        on_broken: Callable[[Pump, OSError], None],
    ) -> None:
        self.loop = loop
        self.source = source
        self.name = name
        self.output = output
        self.deliver = deliver
        self.on_broken = on_broken
        self.ended = False
        self.moved = 0
        self.splices = False
        self.careful = False
        self.on_end: Callable[[Pump], None] | None = None
        self.note: Callable[[], None] | None = None
        self.watch()

    def watch(self) -> None:
        """Have `on_readable` called when there is something to read."""
        self.loop.watch(self.source, READ, self.on_readable)

    def read(self) -> bytes | None:
        """Read a chunk: b"" at the end, None when nothing waits."""
        try:
            return os.read(self.source, READ_SIZE)
        except BlockingIOError:
            return None

    def on_readable(self, event: int) -> None:
        """Carry what waits, up to a burst."""
        if self.splices:
            self._splice()
            return
        for _ in range(BURST):
            data = self.read()
            if data is None:
                return
            if not data:
                self.end()
                return
            self.moved += len(data)
            if self.note is not None:
                self.note()
            if not self.carry(data) or (len(data) < BUSY and event == READ):
                return
        self.loop.again(self.source)

    def carry(self, data: bytes) -> bool:
        """Hand a chunk on; False when it must be waited for."""
        if self.deliver is not None:
            self.deliver(self.name, data)
            return True
        output = self.output
        if output is None:
            return True
        try:
            output.put(data)
        except OSError as error:
            self.broken(error)
            return False
        if output.pending:
            self.wait_for_output(output)
            return False
        return True

    def wait_for_output(self, output: Output) -> None:
        """Read no more until the destination has taken the chunk in hand."""
        self.loop.forget(self.source)
        self.loop.watch(output.fd, WRITE, self.on_writable)

    def on_writable(self, _event: int) -> None:
        """The destination takes more: finish the chunk in hand, then read again."""
        output = self.output
        if output is not None:
            try:
                output.flush()
            except OSError as error:
                self.broken(error)
                return
            if output.pending:
                return
            self.loop.forget(output.fd)
        if not self.ended:
            self.watch()

    def _splice(self) -> None:
        """Move bytes from pipe to destination without reading them (splice(2))."""
        output = self.output
        if output is None:
            return
        try:
            count = splice(self.source, output.fd)
        except BlockingIOError:
            # There is something to read, so it is the destination that has no room.
            self.wait_for_output(output)
            return
        except OSError as error:
            if error.errno == EINVAL:
                # A destination that cannot be spliced to: opened with O_APPEND, or of an odd file system.
                self.splices = False
            else:
                self.broken(error)
            return
        if count == 0:
            self.end()
        elif self.note is not None:
            self.note()
        self.moved += count

    def broken(self, error: OSError) -> None:
        """The destination is gone or full: drop what is in hand, and say so to the run."""
        if self.output is not None:
            self.loop.forget(self.output.fd)
            self.output.pending = b""
            self.output = None
        self.end()
        self.on_broken(self, error)

    def end(self) -> None:
        """Read no more."""
        self.ended = True
        self.loop.forget(self.source)
        if self.on_end is not None:
            self.on_end(self)

    def waits(self) -> bool:
        """Tell whether the destination has not taken the chunk in hand."""
        return self.output is not None and bool(self.output.pending)

    def goes_to_terminal(self) -> bool:
        """Tell whether this is a terminal's output on its way to a terminal."""
        return False

    def drain_now(self) -> None:
        """Carry what can be read without waiting for more; bounded, as a descendant may be writing without end."""
        limit = self.moved + DRAIN_LIMIT
        while not self.ended and not self.waits() and self.moved < limit:
            before = self.moved
            self.on_readable(0)
            if self.moved == before:
                return

"""Data from a pipe or file crosses a canonical terminal unharmed: quoting, and giving back what was not read.

Some facts about it (Linux, drivers/tty/n_tty.c; macOS and BSD, ttyinput and ttread in tty.c):

- A canonical terminal holds at most 4,095 bytes of a line (1,023 on macOS and the BSDs); what follows is dropped. VEOF
  ends a piece of a line without adding a byte. Linux swallows it even where the reader's buffer ends exactly at it;
  elsewhere it stays, and the next read takes it for the end.
- VLNEXT makes the next character literal, whatever it is, as long as ICANON and IEXTEN are set.
- VEOF on an empty line is an end of file, once: who reads again waits again, where a pipe would say the end again.
- Bytes that the command has not read can be read back from its end of the terminal.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import termios

from rprun.transport.pty import CC, DISABLED, IFLAG, LFLAG, Pty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

if sys.platform == "linux":
    # A piece of a line that is followed by VEOF, in bytes before quoting. Well below the line discipline's 4,095.
    PIECE = 1024
    KEEPS_END = False
else:
    # With its VEOF just below where the master takes no more (TTYHOG - 2, of 1,024).
    PIECE = 1021
    KEEPS_END = True
# What is read ahead of the command before it has been seen to read at all.
FIRST_BLOCK = 4096


class Quoter:
    """Encodes bytes so that a terminal with certain attributes hands exactly them to its reader."""

    def __init__(self, attributes: list[Any]) -> None:
        local, control = attributes[LFLAG], attributes[CC]
        self.canonical = bool(local & termios.ICANON)
        self.signals = bool(local & termios.ISIG)
        self.end_of_file: bytes = control[termios.VEOF] if self.canonical else b""
        self.literal_next: bytes = b""
        self.specials: list[bytes] = []
        if self.canonical and local & termios.IEXTEN and control[termios.VLNEXT] != DISABLED:
            self.literal_next = control[termios.VLNEXT]
            self.specials = _special_characters(attributes)

    def encode(self, data: bytes) -> bytes:
        """Return `data` quoted, every piece of it ended by its own newline or by VEOF.

        In a mode that is not canonical bytes go through as they are.
        """
        if not self.canonical:
            return data
        encoded = []
        start, end = 0, len(data)
        while start < end:
            stop = min(start + PIECE, end)
            if stop < end or data[stop - 1] != 0x0A:
                # Cut after a newline where there is one: whoever reads line by line gets whole lines.
                newline = data.rfind(b"\n", start, stop)
                if newline >= 0:
                    stop = newline + 1
                elif KEEPS_END and end > PIECE and (stop - start) % 2 == 0:
                    # Buffers have even sizes: of an odd piece the end never comes to lie where one ends. What is short
                    # is not cut, as it may be keys for a program that becomes raw, where VEOF is a key.
                    stop -= 1
            piece = data[start:stop]
            ended = piece.endswith(b"\n")
            for special in self.specials:
                piece = piece.replace(special, self.literal_next + special)
            encoded.append(piece)
            if not ended:
                encoded.append(self.end_of_file)
            start = stop
        return b"".join(encoded)


def _special_characters(attributes: list[Any]) -> list[bytes]:
    """Return what needs quoting, VLNEXT first: quoting the others adds more of it."""
    first: bytes = attributes[CC][termios.VLNEXT]
    specials = [first]
    for index, character in enumerate(attributes[CC]):
        if index in (termios.VMIN, termios.VTIME) or character in (DISABLED, b"\n") or character in specials:
            continue
        specials.append(character)
    if attributes[IFLAG] & (termios.ICRNL | termios.IGNCR) and b"\r" not in specials:
        specials.append(b"\r")
    return specials


class Feed:
    """Carries rprun's own non-terminal stdin into the PTY, and knows at the end what the command left of it.

    Attributes:
        source: descriptor of the data; -1 once its end has been reached.
        pending: encoded bytes that the terminal has not taken yet.
        finished: the source's end has been reached.
    """

    def __init__(self, pty: Pty, source: int, kind: str) -> None:
        self.pty = pty
        self.source = source
        self.kind = kind
        self.pending = b""
        self.finished = source < 0
        self._peek = _peeker() if kind == "pipe" else None
        self._ahead = 0  # bytes that were peeked at and fed, but are still in the pipe
        self._attributes: list[Any] = []
        self._quoter = Quoter(pty.attributes())
        self._end_was_sent = False

    def wants_read(self) -> bool:
        """Tell whether the source should be polled."""
        return not self.finished and not self.pending and not self._ahead

    def wants_check(self) -> bool:
        """Tell whether `check` should be called now and then: the command's reading gives no event of its own."""
        return bool(self._ahead) or (self.finished and not self.pending)

    def on_readable(self) -> int:
        """Move data from the source to the terminal; return how many bytes of it."""
        data = self._read()
        if data is None:
            return 0
        if not data:
            self.finished = True
            self.check()
            return 0
        self._renew_quoter()
        self.pending = self._quoter.encode(data)
        self.flush()
        return len(data)

    def _read(self) -> bytes | None:
        try:
            if self._peek is not None:
                data = self._peek(self.source, FIRST_BLOCK)
                self._ahead = len(data)
                return data
            return os.read(self.source, 1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            # A stream that cannot be read (write-only, a directory, EIO of a vanished terminal) has no data.
            return b""

    def flush(self) -> None:
        """Write what is pending, as far as the terminal takes it now."""
        while self.pending:
            try:
                written = os.write(self.pty.master, self.pending)
            except OSError:
                # Full (EAGAIN), or hung up: then there is no one to read it.
                return
            self.pending = self.pending[written:]

    def check(self) -> bool:
        """See what the command has read: take it out of the pipe, or renew the end of file. True if so."""
        if self._ahead:
            if self.pending or self.pty.unread() or self.pty.has_input():
                return False
            # The command reads: from here on rprun runs ahead of it as any relay does.
            self._discard(self._ahead)
            self._ahead = 0
            self._peek = None
            return True
        if not self.finished or self.pending:
            return False
        if self._renew_quoter():
            self._end_was_sent = False
        if self.pty.has_input():
            return False
        if self._quoter.canonical:
            # Nothing is left to read and the last line is complete: this is an end of file, again and again.
            self.pending = self._quoter.end_of_file
        elif self._quoter.signals and not self._end_was_sent:
            # A line editor (readline) takes the character for the end of file. A program that has also turned
            # ISIG off wants bytes, and gets none that nobody sent.
            self._end_was_sent = True
            self.pending = self.pty.end_of_file()
        else:
            return False
        self.flush()
        return True

    def _renew_quoter(self) -> bool:
        attributes = self.pty.attributes()
        if attributes == self._attributes:
            return False
        self._attributes = attributes
        self._quoter = Quoter(attributes)
        return True

    def give_back(self) -> None:
        """Return what the ended command did not read to the source, as far as that kind of source can take it back."""
        if self.kind not in ("file", "pipe") or (self.kind == "pipe" and not self._ahead):
            return
        left = self._read_back()
        if self._ahead:
            self._discard(max(0, self._ahead - left))
            self._ahead = 0
        elif left and self.source >= 0:
            try:
                os.lseek(self.source, -left, os.SEEK_CUR)
            except OSError:
                # A file that cannot seek (some of /proc): what was read stays read.
                pass

    def _read_back(self) -> int:
        """Return how many bytes of the source the command has left.

        What the terminal had no room for is pushed through it as well: only so are its quotes told from data.
        """
        left = len(self.pty.take_unread(whole=False))
        while self.pending:
            before = len(self.pending)
            self.flush()
            left += len(self.pty.take_unread(whole=False))
            if len(self.pending) == before:
                break
        return left

    def _discard(self, count: int) -> None:
        while count > 0:
            try:
                count -= len(os.read(self.source, count)) or count
            except OSError:
                return


def _peeker() -> Callable[[int, int], bytes] | None:
    """Return a function that looks into a pipe without taking anything out, None where there is no tee(2)."""
    if sys.platform != "linux":
        return None
    try:
        from rprun.linux.pipe import peek
    except (ImportError, OSError, AttributeError):
        return None
    return peek

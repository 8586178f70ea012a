"""The descriptor that events are written to on Windows.

A write may wait there, and nothing says beforehand whether it will: no poll knows files and pipes. So whoever writes
does it in a thread that may wait, and is told that there is always room.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

from rprun.errors import RprunError
from rprun.windows import console

STDERR = 2
FIRST_FREE = 3
# Python's own calls make what is opened not inheritable; the text mode of the C runtime would change line ends.
OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_BINARY", 0)
MODE = 0o666


class Destination:
    """An owned or borrowed descriptor that can be written to; the names are those of the POSIX one.

    Attributes:
        fd: the descriptor written to; -1 once closed.
        name: what the user called it.
        unread_fifo: always False: a pipe that nobody reads is another thing here.
        writable: always True; see above.
    """

    def __init__(self, destination: str) -> None:
        """Opens `-` (stderr), `fd:N` or a file.

        Raises:
            RprunError: it cannot be opened or is not open.
        """
        self.name = destination
        self.unread_fifo = False
        self.writable = True
        self._borrowed = -1
        if destination == "-":
            self.name = "standard error"
            self.fd = self._borrowed = _check(STDERR, "--events -: standard error")
        elif destination.startswith("fd:"):
            self.fd = self._borrowed = _check(_number(destination), f"--events {destination}: the descriptor")
            if self.fd >= FIRST_FREE:
                os.set_inheritable(self.fd, False)
        else:
            try:
                self.fd = os.open(destination, OPEN_FLAGS, MODE)
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                raise RprunError(
                    f"--events {destination}: {why} (give a file that can be written, - or fd:N)"
                ) from error

    @property
    def raw_terminal(self) -> bool:
        """Says whether this is a console in which a line feed does not return the cursor now."""
        return console.is_raw(self.fd)

    def write(self, data: bytes) -> int:
        """Writes, however long that takes, and gives the number of bytes.

        Raises:
            OSError: it cannot be written to any more.
        """
        return os.write(self.fd, data)

    def wait(self, seconds: float) -> bool:
        """Says at once that a write would not wait."""
        return True

    def close(self) -> None:
        """Closes what was opened here, never what was borrowed. A second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd not in (-1, self._borrowed):
            os.close(fd)


def complain(message: str) -> None:
    """Writes one line to standard error, if it can be written."""
    try:
        os.write(STDERR, message.encode(errors="backslashreplace") + b"\n")
    except OSError:
        pass


def _check(fd: int, what: str) -> int:
    try:
        os.fstat(fd)
    except (OSError, OverflowError) as error:
        raise RprunError(f"{what} is not open (open it, or give a file)") from error
    return fd


def _number(destination: str) -> int:
    digits = destination.removeprefix("fd:")
    if not (digits.isascii() and digits.isdigit()):
        raise RprunError(f"--events {destination}: {digits!r} is no descriptor's number (give fd:N, - or a file)")
    return int(digits)

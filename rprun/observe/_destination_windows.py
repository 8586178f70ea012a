"""Where events go on Windows: nowhere yet, and this says so."""

from __future__ import annotations

from rprun.errors import RprunError


class Destination:
    """Cannot be opened here; the names are those of the POSIX one."""

    fd: int
    name: str
    writable: bool
    raw_terminal: bool
    unread_fifo: bool

    def __init__(self, destination: str) -> None:
        """Raises RprunError."""
        raise RprunError(
            f"--events {destination}: this version of rprun cannot write events on Windows "
            "(receive them with the Python API, from Process.with_observer)"
        )

    def write(self, data: bytes) -> int:
        """Cannot be reached."""
        raise NotImplementedError

    def wait(self, seconds: float) -> bool:
        """Cannot be reached."""
        raise NotImplementedError

    def close(self) -> None:
        """Does nothing."""


def complain(message: str) -> None:
    """Does nothing: what could not be opened cannot fail."""

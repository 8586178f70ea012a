"""The descriptor that events are written to: opened before the command starts, and never waited for.

Some facts about writing without waiting:

- O_NONBLOCK belongs to the open file description, which an inherited descriptor shares with the shell, the command and
  whoever else: setting it would make *their* writes fail. Linux lets us open the same pipe or terminal a second time
  through /proc/self/fd, other systems a terminal by its name, and that description is ours alone. A socket cannot be
  opened, but send(2) takes MSG_DONTWAIT.
- Where that is not to be had (no /proc, another user's pipe), poll(2) says when a pipe has room for PIPE_BUF bytes,
  so no more than that is written at once. Another writer may take that room between poll and write; then the write
  waits for the reader.
- Opening a FIFO that nobody reads waits for a reader, or fails without O_NONBLOCK's patience. Opened for both reading
  and writing it does neither, and holds open while the end that only writes is opened. Until a reader comes, poll
  reports POLLERR on that end, as it does when the reader has gone: the difference is whether there ever was one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import termios
import time

from rprun.errors import RprunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

assert not TYPE_CHECKING or sys.platform != "win32"

if sys.platform == "darwin":
    from rprun.bsd import polling
    from rprun.bsd.polling import PIPE_BUF
else:
    import select as polling
    from select import PIPE_BUF

STDERR = 2
FIRST_FREE = 3
OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
MODE = 0o666
READER_WAIT = 0.02


class Destination:
    """An owned or borrowed descriptor that can be asked for room and written to.

    Attributes:
        fd: the descriptor written to and polled; -1 once closed.
        name: what the user called it.
        unread_fifo: it is a FIFO, and no reader has been seen yet.
    """

    def __init__(self, destination: str) -> None:
        """Opens `-` (stderr), `fd:N` or a file.

        `fd:N` was handed to rprun and not to the command: from 3 on it is made close-on-exec, and the command does not
        inherit it.

        Raises:
            RprunError: it cannot be opened or is not open for writing.
        """
        self.name = destination
        self._borrowed = -1
        self.unread_fifo = False
        self._socket: socket.socket | None = None
        if destination == "-":
            self.name = "standard error"
            self.fd = self._borrowed = _check(STDERR, "--events -: standard error")
        elif destination.startswith("fd:"):
            self.fd = self._borrowed = _check(_number(destination), f"--events {destination}: the descriptor")
            if self.fd >= FIRST_FREE:
                os.set_inheritable(self.fd, False)
        else:
            self.fd = self._open(destination)
        self._status = os.fstat(self.fd)
        self._is_terminal = os.isatty(self.fd)
        self._write = self._choose_write()

    @property
    def raw_terminal(self) -> bool:
        """Says whether this is a terminal that does not turn a newline into CR LF now."""
        if not self._is_terminal:
            return False
        try:
            return not termios.tcgetattr(self.fd)[1] & termios.OPOST
        except termios.error:
            return False

    @property
    def writable(self) -> bool:
        """Says whether a write would not wait, or would fail, now."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Waits until a write would not wait, for this long at most, and says whether it would not."""
        if stat.S_ISREG(self._status.st_mode):
            return True
        deadline = time.monotonic() + seconds
        poll = polling.poll()
        poll.register(self.fd, polling.POLLOUT)
        while True:
            left = max(0.0, deadline - time.monotonic())
            events = poll.poll(left * 1000)
            ready = bool(events)
            if self.unread_fifo:
                ready = ready and self._has_reader(events[0][1])
                self.unread_fifo = not ready
                if not ready and left > 0:
                    # Nothing but time tells that a FIFO got its first reader: poll reports the lack of one at once.
                    time.sleep(min(READER_WAIT, left))
                    continue
            return ready

    def _has_reader(self, event: int) -> bool:
        if sys.platform != "darwin":
            return not event & polling.POLLERR
        # select(2) does not tell; but nobody can open a FIFO without waiting that nobody reads.
        try:
            os.close(os.open(self.name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            return error.errno != errno.ENXIO
        return True

    def write(self, data: bytes) -> int:
        """Writes what there is room for and gives the number of bytes; to be called while `writable`.

        Raises:
            BlockingIOError: there was no room after all.
            OSError: it cannot be written to any more.
        """
        return self._write(data)

    def close(self) -> None:
        """Closes what was opened here, never what was borrowed. A second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd not in (-1, self._borrowed):
            os.close(fd)
        if self._socket is not None:
            self._socket.close()

    def _open(self, path: str) -> int:
        try:
            if _is_fifo(path):
                fd = _open_fifo(path)
                self.unread_fifo = True
            else:
                fd = os.open(path, OPEN_FLAGS, MODE)
        except (OSError, ValueError) as error:
            why = _why(error)
            raise RprunError(f"--events {path}: {why} (give a file that can be written, - or fd:N)") from error
        return _above_standard(fd)

    def _choose_write(self) -> Callable[[bytes], int]:
        mode = self._status.st_mode
        if stat.S_ISSOCK(mode):
            import socket  # Costs milliseconds, and events go to a socket in one run of a thousand.

            self._socket = sender = socket.socket(fileno=os.dup(self.fd))
            return lambda data: sender.send(data, socket.MSG_DONTWAIT)
        if stat.S_ISREG(mode) or not (stat.S_ISFIFO(mode) or self._is_terminal):
            return lambda data: os.write(self.fd, data)
        if self.fd == self._borrowed:
            self._reopen()
        else:
            # Ours alone: opened here.
            os.set_blocking(self.fd, False)
        if not os.get_blocking(self.fd):
            return lambda data: os.write(self.fd, data)
        return lambda data: os.write(self.fd, data[:PIPE_BUF])

    def _reopen(self) -> None:
        """Gets a description of our own of the same pipe or terminal, if the system gives one."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            # Elsewhere /dev/fd/N is no more than a dup(2); but a terminal has a name of its own.
            name = os.ttyname(self.fd) if self._is_terminal and sys.platform != "linux" else f"/proc/self/fd/{self.fd}"
            fd = os.open(name, flags)
        except OSError:
            return
        if os.path.samestat(os.fstat(fd), self._status):
            self.fd = _above_standard(fd)
        else:
            os.close(fd)


def complain(message: str) -> None:
    """Writes one line to standard error if that can be done without waiting; else it is not written."""
    try:
        destination = Destination("-")
        if destination.writable:
            destination.write(
                message.encode(errors="backslashreplace") + (b"\r\n" if destination.raw_terminal else b"\n")
            )
        destination.close()
    except (OSError, RprunError):
        pass


def _check(fd: int, what: str) -> int:
    try:
        writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except (OSError, OverflowError) as error:
        raise RprunError(f"{what} is not open (open it, or give a file)") from error
    if not writable:
        raise RprunError(f"{what} is open for reading only (open it for writing, or give a file)")
    return fd


def _number(destination: str) -> int:
    digits = destination.removeprefix("fd:")
    if not (digits.isascii() and digits.isdigit()):
        raise RprunError(f"--events {destination}: {digits!r} is no descriptor's number (give fd:N, - or a file)")
    return int(digits)


def _why(error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return "nobody reads it" if error.errno == errno.ENXIO else str(error.strerror)


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _open_fifo(path: str) -> int:
    """Opens a FIFO for writing, whether or not anybody reads it.

    Raises:
        OSError: it cannot be opened; ENXIO where nobody reads it and it may be written to only.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        both = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        return os.open(path, flags)
    try:
        return os.open(path, flags)
    finally:
        os.close(both)


def _above_standard(fd: int) -> int:
    """Moves a descriptor out of the way of the standard ones, one of which was closed if it got its number."""
    if fd >= FIRST_FREE:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    finally:
        os.close(fd)

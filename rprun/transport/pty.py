"""One pseudo-terminal: the master that rprun relays, and the end that the command gets.

Some facts about PTYs that decide the shape of this class:

- Reading the master gives EIO once no process has the other end open, and again data if somebody reopens it. So
  rprun holds an end of its own open until the command has been reaped; only then does EIO mean the end.
- On macOS and the BSDs the end is an empty read, and the last close of the other end, if it is of a non-blocking
  descriptor, throws away what has not been read (ttylclose). So that end is held until all has been read.
- `tcgetattr` and the window size ioctls on the master are those of the other end (tty_mode_ioctl in tty_ioctl.c).
- A new PTY has size 0x0 and IUTF8 off. Both are set before the command exists.
- O_NONBLOCK belongs to the open file description: the end held here is opened anew, never dup'ed from the command's.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import fcntl
import os
import termios
from errno import EIO, EPERM

from rprun.transport import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# include/uapi/asm-generic/ioctls.h; not in Python's termios.
TIOCGPTPEER = 0x5441
# include/uapi/asm-generic/termbits-common.h; the same value on macOS and the BSDs, where nothing else has it.
IUTF8 = 0x4000
# What a special character is where there is none (_POSIX_VDISABLE): 0 is a character like any other on macOS and BSD.
DISABLED = b"\0" if sys.platform in ("linux", "sunos5") else b"\xff"
READ_SIZE = 65536
# Indexes of tcgetattr's list.
IFLAG, OFLAG, CFLAG, LFLAG, ISPEED, OSPEED, CC = range(7)


class Pty:
    """A master, the command's end, and the end that is held open here. Each closes once.

    Attributes:
        master: non-blocking descriptor of rprun's side.
        slave: descriptor for the command; `release_slave` closes it here after the fork.
        held: this process's own non-blocking descriptor of the command's side, -1 when released.
    """

    def __init__(self, size: tuple[int, int], attributes: list[Any] | None = None) -> None:
        """Open a PTY of `size` (columns, rows) with these terminal attributes (as of `termios.tcgetattr`).

        Raises:
            OSError: no PTY is to be had (pty(7): the limit is kernel.pty.max, or there is no /dev/pts).
        """
        self.master, self.slave = (_above_standard(descriptor) for descriptor in os.openpty())
        self.held = -1
        self._write_end = -1
        try:
            os.set_blocking(self.master, False)
            self.held = self._open_held()
            if attributes is not None:
                self.set_attributes(attributes)
            self.resize(*size)
        except BaseException:
            self.close()
            raise

    def _open_held(self) -> int:
        flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        if sys.platform == "linux":
            try:
                return _above_standard(fcntl.ioctl(self.master, TIOCGPTPEER, flags))
            except OSError:
                # Before Linux 4.13.
                pass
        # By name, which fails only where /dev/pts is another mount's.
        return _above_standard(os.open(os.ttyname(self.slave), flags))

    def resize(self, columns: int, rows: int) -> None:
        """Set the window size; the kernel tells the foreground group by SIGWINCH when it changes."""
        try:
            termios.tcsetwinsize(self.master, (rows, columns))
        except termios.error:
            # Elsewhere than on Linux a terminal that nobody has open any more has no size either.
            if self.held >= 0:
                raise

    def write_end(self) -> int:
        """Return a second descriptor of the master, to be polled for room apart from the one polled for output."""
        if self._write_end < 0:
            self._write_end = fcntl.fcntl(self.master, fcntl.F_DUPFD_CLOEXEC, 3)
        return self._write_end

    def attributes(self) -> list[Any]:
        """Return the terminal attributes as the command has them now."""
        return termios.tcgetattr(self.master)

    def end_of_file(self) -> bytes:
        """Return the character that means end of file on this terminal."""
        character: bytes = self.attributes()[CC][termios.VEOF]
        return character

    def set_attributes(self, attributes: list[Any]) -> None:
        """Set the terminal attributes as the command will find them."""
        termios.tcsetattr(self.master, termios.TCSANOW, attributes)

    def foreground_group(self) -> int:
        """Return the terminal's foreground process group, 0 where there is none."""
        try:
            return os.tcgetpgrp(self.master)
        except OSError:
            return 0

    def unread(self) -> int:
        """Return the number of input bytes that the command could read now (FIONREAD, tty_ioctl(4))."""
        return int.from_bytes(fcntl.ioctl(self.held, termios.FIONREAD, bytes(4)), sys.byteorder)

    def has_input(self) -> bool:
        """Tell whether the command would find anything: data, or an end of file that it has not read yet.

        Asking makes the kernel work off what has been written to the master (n_tty_poll).
        """
        poller = streams.Poll()
        poller.register(self.held, streams.READABLE)
        return bool(poller.poll(0))

    def take_unread(self, *, whole: bool) -> bytes:
        """Read back the input that the command has left; with `whole` also a line that was not ended."""
        left = self._read_held()
        if whole:
            attributes = termios.tcgetattr(self.held)
            if attributes[LFLAG] & termios.ICANON:
                raw = [*attributes[:LFLAG], attributes[LFLAG] & ~termios.ICANON, *attributes[LFLAG + 1 :]]
                termios.tcsetattr(self.held, termios.TCSANOW, raw)
                left += self._read_held()
                termios.tcsetattr(self.held, termios.TCSANOW, attributes)
        return left

    def _read_held(self) -> bytes:
        left = b""
        # In canonical mode an empty read is only a typed end of file, so that the end of the loop is EAGAIN;
        # the bound is for a line discipline that says otherwise.
        for _ in range(1 << 16):
            try:
                left += os.read(self.held, READ_SIZE)
            except OSError:
                break
        return left

    def release_slave(self) -> None:
        """Close the command's end here, once the command has it."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def release_held(self) -> None:
        """Close the held end: from now on EIO on the master says that nobody has the terminal."""
        if self.held >= 0:
            os.close(self.held)
            self.held = -1

    def close(self) -> None:
        """Hang up: the terminal ends for whoever still has it."""
        self.release_slave()
        self.release_held()
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


def carries_data(attributes: list[Any]) -> bool:
    """Tell whether a terminal has been set up by `data_attributes`: its input is data, and ends."""
    local, control = attributes[LFLAG], attributes[CC]
    return bool(
        local & (termios.ICANON | termios.ISIG | termios.ECHO) == termios.ICANON
        and control[termios.VLNEXT] == b"\x16"
        and control[termios.VINTR] == control[termios.VERASE] == control[termios.VKILL] == DISABLED
    )


def is_end(error: OSError) -> bool:
    """Tell whether a failed read of the master says that the terminal has ended.

    Linux says EIO, macOS has been seen to say EPERM; BSD and macOS mostly give an empty read instead.
    """
    return error.errno in (EIO, EPERM)


def plain_attributes(attributes: list[Any], *, utf8: bool) -> list[Any]:
    """Return a fresh PTY's attributes with IUTF8 as the locale has it: nobody's terminal stands behind this one."""
    changed = list(attributes)
    changed[IFLAG] = changed[IFLAG] | IUTF8 if utf8 else changed[IFLAG] & ~IUTF8
    return changed


def data_attributes(attributes: list[Any], *, utf8: bool) -> list[Any]:
    """Return attributes for a PTY whose input is data from a pipe or file, to be quoted by `feed.Quoter`.

    Canonical, so that an end of file can be expressed; no echo, no signals, no flow control, no translation; every
    special character off but the two that quoting needs. Output is processed as on any terminal.
    """
    changed = list(attributes)
    changed[IFLAG] = IUTF8 if utf8 else 0
    changed[LFLAG] = termios.ICANON | termios.IEXTEN
    control = [DISABLED] * len(changed[CC])
    control[termios.VEOF] = b"\x04"
    control[termios.VLNEXT] = b"\x16"
    control[termios.VMIN] = b"\x01"
    control[termios.VTIME] = b"\0"
    changed[CC] = control
    return changed


def _above_standard(descriptor: int) -> int:
    """Move a descriptor off 0, 1 and 2, where the command's own streams will be."""
    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved

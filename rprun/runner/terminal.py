"""The user's terminal: taken while rprun is in its foreground, and given back as it was.

Some facts about that:

- Only a process in the foreground group may change a terminal; for any other tcsetattr(3) stops its whole group by
  SIGTTOU, unless the signal is blocked. Giving back is done with it blocked, taking never.
- Input and output modes are two matters: a program at the other end of our stdout may be writing to the same
  terminal, and then its newlines still need the terminal's own processing. So OPOST is only taken away where our
  stdout is that terminal.
- TCSADRAIN waits for a terminal that ^S has stopped, for ever. TCSANOW does not.
- Others may change the terminal while we have it: only the bits that were set here are put back.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import termios
from _signal import SIG_BLOCK, SIG_SETMASK, SIGTTOU, pthread_sigmask

from rprun.transport.pty import CC, IFLAG, LFLAG, OFLAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# cfmakeraw(3), in its two halves.
_RAW_INPUT = (
    termios.IGNBRK
    | termios.BRKINT
    | termios.PARMRK
    | termios.ISTRIP
    | termios.INLCR
    | termios.IGNCR
    | termios.ICRNL
    | termios.IXON
)
_RAW_LOCAL = termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN


class Terminal:
    """A terminal among rprun's own standard streams.

    Attributes:
        fd: descriptor of it, not owned.
        is_output: rprun's stdout is this terminal.
    """

    def __init__(self, fd: int, *, is_output: bool) -> None:
        self.fd = fd
        self.is_output = is_output
        self._before: list[Any] | None = None
        self._local = self._input = self._output = 0  # the bits that were switched off here

    @property
    def taken(self) -> bool:
        """Tell whether the terminal's keys are raw, by our doing."""
        return self._local != 0

    @property
    def shows_raw(self) -> bool:
        """Tell whether the terminal shows bytes as they are, by our doing."""
        return self._output != 0

    def in_foreground(self) -> bool:
        """Tell whether this process may use the terminal.

        A terminal that is not our controlling terminal knows no foreground for us: it may be used as it is.
        """
        try:
            return os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError:
            return True

    def is_canonical(self) -> bool:
        """Tell whether the terminal hands out lines."""
        try:
            return bool(termios.tcgetattr(self.fd)[LFLAG] & termios.ICANON)
        except termios.error:
            return False

    def attributes(self) -> list[Any]:
        """Return the attributes that the command would find without rprun."""
        return [*self._before] if self._before is not None else termios.tcgetattr(self.fd)

    def size(self) -> tuple[int, int]:
        """Return columns and rows; (0, 0) where the terminal does not know, or is gone."""
        try:
            rows, columns = termios.tcgetwinsize(self.fd)
        except termios.error:
            return 0, 0
        return columns, rows

    def take(self, *, keys: bool = True) -> bool:
        """Put the terminal into raw mode; False when it is not ours to take (background, gone).

        Args:
            keys: its input too, and not only what it shows.
        """
        if not self.in_foreground():
            return False
        try:
            now = termios.tcgetattr(self.fd)
            # Raw already by our doing, or never seen, or set anew by a shell while we were stopped.
            before = self._before if self._before is not None and not now[LFLAG] & _RAW_LOCAL else now
            raw = [*now]
            if keys:
                raw[IFLAG] &= ~_RAW_INPUT
                raw[LFLAG] &= ~_RAW_LOCAL
                raw[CC] = [*now[CC]]
                raw[CC][termios.VMIN] = b"\x01"
                raw[CC][termios.VTIME] = b"\x00"
            if self.is_output:
                raw[OFLAG] &= ~termios.OPOST
            termios.tcsetattr(self.fd, termios.TCSANOW, raw)
        except termios.error:
            return False
        self._before = before
        if keys:
            self._input, self._local = _RAW_INPUT, _RAW_LOCAL
        self._output = termios.OPOST if self.is_output else 0
        return True

    def give_back(self) -> None:
        """Put back what `take` changed. In the background there is nothing of ours left to put back."""
        before = self._before
        input_bits, local_bits, output_bits = self._input, self._local, self._output
        self.lost_foreground()
        if before is None or not self.in_foreground():
            return
        mask = pthread_sigmask(SIG_BLOCK, (SIGTTOU,))
        try:
            now = termios.tcgetattr(self.fd)
            now[IFLAG] = now[IFLAG] & ~input_bits | before[IFLAG] & input_bits
            now[LFLAG] = now[LFLAG] & ~local_bits | before[LFLAG] & local_bits
            now[OFLAG] = now[OFLAG] & ~output_bits | before[OFLAG] & output_bits
            if local_bits:
                now[CC] = before[CC]
            termios.tcsetattr(self.fd, termios.TCSANOW, now)
        except termios.error:
            # The terminal is gone (EIO after a hangup): nothing is left to restore.
            pass
        finally:
            pthread_sigmask(SIG_SETMASK, mask)

    def lost_foreground(self) -> None:
        """Forget what was taken without touching the terminal: it is somebody else's now."""
        self._before = None
        self._local = self._input = self._output = 0

    def push_back(self, data: bytes) -> None:
        """Return typed bytes that nobody read to the terminal's input (TIOCSTI, ioctl_tty(2)).

        Since Linux 6.2 that needs CAP_SYS_ADMIN or the sysctl dev.tty.legacy_tiocsti; otherwise they are lost.
        """
        from fcntl import ioctl

        try:
            for index in range(len(data)):
                ioctl(self.fd, termios.TIOCSTI, data[index : index + 1])
        except (OSError, AttributeError):
            # OpenBSD has no such call any more.
            pass


def cooked(attributes: list[Any]) -> list[Any]:
    """Return attributes with line editing on.

    For a PTY whose command does not read the terminal as its stdin: raw mode found there is another program's, most
    often another rprun's in the same pipeline, and no more this command's business than it would be without us.
    """
    if attributes[LFLAG] & termios.ICANON:
        return attributes
    changed = [*attributes]
    changed[IFLAG] |= termios.ICRNL | termios.IXON | termios.BRKINT
    changed[OFLAG] |= termios.OPOST | termios.ONLCR
    changed[LFLAG] |= termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ISIG | termios.IEXTEN
    return changed

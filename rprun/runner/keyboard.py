r"""Keys, from the user's terminal to the command's.

In raw mode ^C, ^\ and ^Z are bytes for rprun; the command's own terminal turns them into signals. Without rprun they
would also have reached everybody else in the foreground group of the user's terminal, above all the shell that runs
a script: it must hear of ^C to end its loop. So when the command's terminal is about to make a signal of a byte, the
same signal goes to rprun's own group, once the key's echo is shown: who dies of it may be the shell's whole job, and
the terminal be the shell's again. (Not so for ^Z: the group is stopped once the command has stopped and the terminal
has been given back, in that order; see `job.py`.)

This module is on the start-up path and on the path of every key.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import termios
from _signal import SIG_IGN, SIGINT, SIGQUIT, signal
from os import read, write

from rprun.runner.loop import READ, WRITE
from rprun.transport import streams
from rprun.transport.pty import CC, DISABLED, LFLAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rprun.runner.loop import Loop
    from rprun.transport.pty import Pty

# The first character that is not a control character.
SPACE = 0x20
READ_SIZE = 4096


class Keyboard:
    """Relays keys to a PTY, and lets rprun's own process group hear the signals that they make.

    Attributes:
        command: pid of the command, whose group is the one that the own group is mirrored for.
        on_hangup: called when the user's terminal is gone.
        signal_for_nested: the signal of a key that went through a raw terminal to an rprun inside, else 0.
        pending: keys that the PTY has not taken yet; no more are read meanwhile.
        show: has what the command's terminal shows by now be shown.
    """

    def __init__(self, loop: Loop, terminal_fd: int, pty: Pty, *, mirror: bool) -> None:
        self.loop = loop
        self.pty = pty
        self.command = 0
        self.mirror = mirror
        self.pending = b""
        self.note: Callable[[], None] | None = None  # called when keys have been relayed
        self.on_hangup: Callable[[], None] | None = None
        self.show: Callable[[], None] | None = None
        self.signal_for_nested = 0
        self._literal = False  # the last key was VLNEXT
        self._active = False
        self.fd = terminal_fd
        self._private = False
        try:
            # A description of our own, non-blocking: another reader of the terminal may be faster after poll(2).
            self.fd = streams.reopen(terminal_fd, os.O_RDONLY)
            self._private = True
        except OSError:
            pass

    def take_typed_ahead(self) -> None:
        """Read the lines that were typed before the terminal is put into raw mode.

        They are still lines now. Raw mode would make a NUL of an end of file among them (n_tty_set_termios).
        """
        if not self._private:
            return
        ends = 0
        while ends < 2:
            try:
                data = os.read(self.fd, READ_SIZE)
            except OSError:
                break
            # An empty line's end of file; one after the other is a terminal that is gone.
            ends = 0 if data else ends + 1
            self.pending += data or (self.pty.end_of_file() if ends == 1 else b"")

    def send_what_was_echoed(self) -> None:
        """Give the command lines that the user's terminal has shown already, without another echo of them."""
        if not self.pending:
            return
        attributes = self.pty.attributes()
        silent = [*attributes]
        silent[LFLAG] &= ~termios.ECHO
        self.pty.set_attributes(silent)
        try:
            self.pending = self.pending[os.write(self.pty.master, self.pending) :]
            self.pty.has_input()
        except OSError:
            pass
        finally:
            if self.pty.attributes() == silent:
                self.pty.set_attributes(attributes)

    def start(self) -> None:
        """Read keys from now on."""
        self._active = True
        if self.pending:
            self.loop.watch(self.pty.write_end(), WRITE, self.on_writable)
        else:
            self.loop.watch(self.fd, READ, self.on_readable)

    def stop(self) -> None:
        """Read no more keys."""
        self._active = False
        self.loop.forget(self.fd)

    def on_readable(self, event: int) -> None:
        """Relay the keys that wait."""
        gone = bool(event & streams.HUNG_UP)
        try:
            data = read(self.fd, READ_SIZE)
            # What select(2) does not tell, where that is what is waited with.
            gone = gone or sys.platform == "darwin"
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # Hung up; or we are a background group that nobody can bring to the foreground, and may not read.
            self.stop()
            if gone and self.on_hangup is not None:
                self.on_hangup()
            return
        self.relay(data)

    def plain_fd(self) -> int:
        """Return the descriptor of keys that need no more than to be relayed unless they are control characters.

        -1 if there are none such now.
        """
        return self.fd if self._active and not self.pending and self.note is None and not self._literal else -1

    def relay(self, data: bytes) -> None:
        """Relay keys that have been read."""
        if self.note is not None:
            self.note()
        # A key that makes a signal is a control character; for any other the terminal need not be asked.
        number = self._signal_of(data) if self.mirror and (min(data) < SPACE or self._literal) else 0
        # Asked before anybody dies of it.
        if number and not self._is_for_all():
            number = 0
        try:
            written = write(self.pty.master, data)
        except BlockingIOError:
            written = 0
        except OSError:
            written = len(data)
        if written != len(data):
            self._keep(data[written:])
        if number:
            # When this returns the line discipline has made signal and echo of the key.
            self.pty.has_input()
            if self.show is not None:
                self.show()
            self._tell_own_group(number)

    def _keep(self, data: bytes) -> None:
        """Keep what the PTY does not take, and read no more keys until it does."""
        self.pending = data
        self.loop.forget(self.fd)
        self.loop.watch(self.pty.write_end(), WRITE, self.on_writable)

    def on_writable(self, _event: int) -> None:
        """The PTY takes more keys."""
        try:
            self.pending = self.pending[os.write(self.pty.master, self.pending) :]
        except BlockingIOError:
            return
        except OSError:
            self.pending = b""
        if not self.pending:
            self.loop.forget(self.pty.write_end())
            if self._active:
                self.loop.watch(self.fd, READ, self.on_readable)

    def _signal_of(self, data: bytes) -> int:
        """Return the signal that the command's terminal will make of these keys, 0 for none."""
        attributes = self.pty.attributes()
        local, control = attributes[LFLAG], attributes[CC]
        if not local & termios.ISIG:
            self._literal = False
            self._note_for_nested(data, control)
            return 0
        quotes = local & termios.ICANON and local & termios.IEXTEN
        found = 0
        for index in range(len(data)):
            key = data[index : index + 1]
            if self._literal:
                self._literal = False
            elif quotes and key == control[termios.VLNEXT] != DISABLED:
                self._literal = True
            elif key == control[termios.VINTR] != DISABLED:
                found = SIGINT
            elif key == control[termios.VQUIT] != DISABLED:
                found = SIGQUIT
        return found

    def _note_for_nested(self, data: bytes, control: list[Any]) -> None:
        """Keep in mind a ^C that an rprun inside may make a signal of, one level further in.

        What it tells its own group ends at that level. If it dies of the signal, ours is told as well.
        """
        for number, index in ((SIGINT, termios.VINTR), (SIGQUIT, termios.VQUIT)):
            if control[index] != DISABLED and control[index] in data and _is_rprun(self.pty.foreground_group()):
                self.signal_for_nested = number

    def tell_of_death(self, number: int) -> None:
        """The command has died of a signal: tell the own group, if an rprun inside made it of a key."""
        if number and number == self.signal_for_nested and self._is_for_all():
            self._tell_own_group(number)

    def _is_for_all(self) -> bool:
        """Tell whether a key's signal would have been for rprun's own group as well.

        A shell inside that has put a job into the foreground would have done so on the user's terminal, and the signal
        would have been that job's alone.
        """
        return self.pty.foreground_group() == self.command

    def _tell_own_group(self, number: int) -> None:
        handler = signal(number, SIG_IGN)
        try:
            os.killpg(os.getpgrp(), number)
        except OSError:
            pass
        finally:
            if handler is not None:
                signal(number, handler)

    def close(self) -> None:
        """Stop and close the description of our own."""
        self.stop()
        if self.pending:
            self.loop.forget(self.pty.write_end())
        if self._private:
            os.close(self.fd)
            self._private = False


def _is_rprun(pid: int) -> bool:
    """Tell whether a process is another rprun, started as this one was."""
    mine, other = _command_line("self"), _command_line(str(pid))
    # The interpreter, and the script or `-m`: where it lies may differ, what it is called does not.
    names = [[os.path.basename(word) for word in line.split(b"\0")[1:3]] for line in (mine, other)]
    return bool(mine and other) and (names[0][0] == names[1][0] != b"-m" or names[0] == names[1])


def _command_line(pid: str) -> bytes:
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                return stream.read()
        except OSError:
            return b""
    # Dear to import, but a ^C in raw mode is seldom.
    import psutil

    try:
        words = psutil.Process(os.getpid() if pid == "self" else int(pid)).cmdline()
    except psutil.Error:
        return b""
    return b"\0".join(map(os.fsencode, words))

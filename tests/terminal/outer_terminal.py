"""A user at a terminal, played by a program: keys are typed, and what is waited for is a state, never a time.

`OuterTerminal` opens a PTY and starts a program as the leader of its session. `Bash` is one with an interactive
shell, which adds waiting for its prompt. Everything started here carries a mark in its environment, so that at the
end of a test it can be said whether anything was left running.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import termios
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    T = TypeVar("T")

# What is waited for takes milliseconds; the rest is for a machine that is busy with something else.
DEADLINE = 10.0
TURN = 0.02
MARK = "OUTER_TERMINAL_MARK"
LFLAG, OFLAG = 3, 1


class OuterTerminal:
    """A terminal and the program that leads its session.

    Attributes:
        pid: the program's process id.
        output: every byte that the terminal was sent.
        status: the program's exit status as `os.waitstatus_to_exitcode` has it, None before its end.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
        cwd: str | os.PathLike[str] | None = None,
        prepare: Callable[[int], None] | None = None,
        controlling: bool = True,
        answers: bool = False,
    ) -> None:
        """Open the terminal and start `argv`.

        Args:
            argv: the program; looked up in the PATH of `env`.
            env: its whole environment.
            size: columns and rows.
            cwd: its directory.
            prepare: called with the program's end of the terminal before the start.
            controlling: the terminal is the session's controlling terminal.
            answers: reply to the terminal queries that a program sends, as a terminal emulator does.
        """
        self.mark = uuid.uuid4().hex
        self.output = bytearray()
        self.status: int | None = None
        self.closed = False
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)
        termios.tcsetwinsize(self.slave, (size[1], size[0]))
        if prepare is not None:
            prepare(self.slave)
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._shown = 0
        self._answers = answers
        if answers:
            self._screen.write_process_input = self.type  # type: ignore[method-assign]
        self.before = self.attributes()
        environment = {**env, MARK: self.mark}
        self.pid = os.fork()
        if self.pid == 0:
            self._become(list(argv), environment, cwd, controlling=controlling)

    def _become(
        self, argv: list[str], env: dict[str, str], cwd: str | os.PathLike[str] | None, *, controlling: bool
    ) -> None:
        try:
            os.setsid()
            if controlling:
                fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for descriptor in range(3):
                os.dup2(self.slave, descriptor)
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            if cwd is not None:
                os.chdir(cwd)
            os.execvpe(argv[0], argv, env)
        finally:
            os._exit(99)

    # -- what a user does

    def type(self, keys: str | bytes) -> None:
        """Type keys; what the terminal shows is read meanwhile, so that a long paste cannot block."""
        data = keys.encode() if isinstance(keys, str) else keys
        end = time.monotonic() + DEADLINE
        while data:
            try:
                written = os.write(self.master, data)
                data = data[written:]
            except BlockingIOError:
                assert time.monotonic() < end, self.story("the terminal takes no more keys")
                self.pump(TURN)

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size."""
        termios.tcsetwinsize(self.master, (rows, columns))
        self._screen.resize(rows, columns)

    def hang_up(self) -> None:
        """Close the window."""
        if not self.closed:
            self.closed = True
            os.close(self.slave)
            os.close(self.master)

    def kill(self, number: int) -> None:
        """Send the program a signal."""
        os.kill(self.pid, number)

    def release(self, fifo: Path) -> None:
        """Write a line into a FIFO that something at this terminal waits for, or will."""

        def opened() -> int:
            with contextlib.suppress(OSError):
                # ENXIO as long as there is no reader, fifo(7).
                return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            return 0

        descriptor = self.wait(opened, f"a reader of {fifo.name}")
        os.write(descriptor, b"\n")
        os.close(descriptor)

    # -- what a user sees

    def pump(self, timeout: float) -> None:
        """Take what the terminal shows, waiting for it at most `timeout` seconds."""
        if self.closed:
            time.sleep(timeout)
            return
        poller = select.poll()
        poller.register(self.master, select.POLLIN)
        poller.poll(timeout * 1000)
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.master, 65536):
                self.output += chunk
                if self._answers:
                    self.screen()

    def screen(self) -> list[str]:
        """Return the lines on the screen, without the blanks at their ends."""
        news = bytes(self.output[self._shown :])
        self._shown = len(self.output)
        self._stream.feed(news)
        return [line.rstrip() for line in self._screen.display]

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """Return what `condition` returns, once that is true.

        Raises:
            AssertionError: it did not become true in time.
        """
        end = time.monotonic() + DEADLINE
        while True:
            self.pump(0)
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, self.story(f"waited in vain for {what}")
            self.pump(TURN)

    def expect(self, text: str | bytes, *, start: int = 0) -> int:
        """Wait for text after the offset `start` of the output; return the offset of its end."""
        wanted = text.encode() if isinstance(text, str) else text
        self.wait(lambda: wanted in self.output[start:], f"{wanted!r}")
        return self.output.index(wanted, start) + len(wanted)

    def story(self, what: str) -> str:
        """Return a message for a failure: `what`, and what the terminal has shown of late."""
        ended = "runs" if self.status is None else f"ended with {self.status}"
        return f"{what}; program {ended}; shown: {bytes(self.output[-2000:])!r}"

    # -- the terminal's state

    def attributes(self) -> list[Any]:
        """Return the attributes of the terminal."""
        return termios.tcgetattr(self.slave)

    def is_raw(self) -> bool:
        """Tell whether line editing is off."""
        return not self.attributes()[LFLAG] & termios.ICANON

    def wait_raw(self) -> None:
        """Wait until rprun has taken the terminal."""
        self.wait(self.is_raw, "raw mode")

    def wait_restored(self) -> None:
        """Wait until the terminal is as it was before the program was started."""
        self.wait(lambda: self.attributes() == self.before, "the terminal's old attributes")

    def foreground(self) -> int:
        """Return the foreground process group."""
        return os.tcgetpgrp(self.master)

    # -- the end

    def poll(self) -> bool:
        """Tell whether the program has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait_exit(self) -> int:
        """Wait for the program's end; return its status, negative for a signal."""
        self.wait(self.poll, "the program's end")
        self.pump(0)
        assert self.status is not None
        return self.status

    def left(self) -> list[str]:
        """Return what is still running of what was started at this terminal."""
        return left_running(self.mark)

    def close(self) -> None:
        """Close the window, and see to it that nothing is left; what is left after that is an error.

        Raises:
            AssertionError: something went on running after the terminal was gone.
        """
        self.hang_up()
        end = time.monotonic() + DEADLINE
        try:
            while not (self.poll() and not self.left()):
                assert time.monotonic() < end, f"left running after the end of the terminal: {self.left()}"
                time.sleep(TURN)
        finally:
            kill_marked(self.mark)
            if not self.poll():
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)


class Bash(OuterTerminal):
    """An interactive bash with a prompt that cannot be mistaken for anything else."""

    PROMPT = re.compile(rb"(?:\A|\n)(?:[^\n]*\r)?(?:\^[CZ\\])*<\d+> \Z")

    def __init__(self, *, env: Mapping[str, str], size: tuple[int, int] = (120, 30), **settings: Any) -> None:
        """Start bash and wait for its first prompt."""
        argv = ["bash", "--noprofile", "--norc", "-i"]
        super().__init__(argv, env={**env, "PS1": r"<\#> "}, size=size, **settings)
        self.wait(lambda: self.output.endswith(b"<1> ") and self.at_prompt(), "the first prompt")
        self.at_rest = self.attributes()

    def at_prompt(self) -> bool:
        """Tell whether the shell itself is in the foreground and reads a line."""
        return self.foreground() == self.pid and self.is_raw()

    def shows_prompt(self, start: int) -> bool:
        """Tell whether the last thing shown after the offset `start` is a prompt, be it an inner shell's."""
        return self.PROMPT.search(bytes(self.output[start:])) is not None

    def prompt(self, start: int) -> str:
        """Wait for the next prompt after the offset `start`; return what was shown before it."""
        self.wait(lambda: self.shows_prompt(start) and self.at_prompt(), "a prompt")
        shown = bytes(self.output[start:]).decode(errors="replace").replace("\r\n", "\n")
        return shown[: shown.rindex("<")]

    def run(self, line: str) -> str:
        """Type a command line, wait for the next prompt, and return what was shown between."""
        start = len(self.output)
        self.type(line + "\r")
        shown = self.prompt(start)
        return shown[shown.index("\n") + 1 :]

    def begin(self, line: str, marker: str) -> None:
        """Type a command line and wait for the output `marker`, which must not be part of the line."""
        assert marker not in line
        start = len(self.output)
        self.type(line + "\r")
        self.expect(marker, start=start)

    def keys(self, keys: str) -> str:
        """Type keys that bring the prompt back, as ^C and ^Z do; return what was shown."""
        start = len(self.output)
        self.type(keys)
        return self.prompt(start)

    def last_status(self) -> int:
        """Return $?."""
        return int(self.run("echo $?").strip().splitlines()[-1])


def left_running(mark: str) -> list[str]:
    """Return "pid name" of every process that carries the mark; zombies have no environment any more."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(f"{entry.name} {(entry / 'cmdline').read_bytes()!r}")
    return found


def kill_marked(mark: str) -> None:
    """Kill what carries the mark."""
    for line in left_running(mark):
        with contextlib.suppress(OSError):
            os.kill(int(line.split()[0]), signal.SIGKILL)


def state(pid: int) -> str:
    """Return a process's state letter as of proc_pid_stat(5): R, S, T; "" when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0].replace("Z", "")


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []

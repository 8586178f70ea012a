"""Runs as on Windows from a console: what is passed through, what is typed, and that it is given back as it was."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import termios
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE, read_until, wait_until
from windows_running import start_as_windows

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


class Console:
    """A terminal that plays the user's console."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.resize(90, 33)
        self.before = termios.tcgetattr(self.slave)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def start(self, *words: str, faults: str = "", **options: object) -> subprocess.Popen[bytes]:
        streams = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave}
        return start_as_windows("cli", *words, faults=faults, **(streams | options))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before


@pytest.fixture
def console() -> Iterator[Console]:
    """Give a console of 90 columns and 33 rows."""
    made = Console()
    yield made
    for descriptor in (made.master, made.slave):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_a_console_is_passed_through(console: Console) -> None:
    """Without --pty the command has the user's own console, and rprun does not touch it."""
    with console.start("--", "sh", "-c", "tty; stty -a | grep -c -e -icanon; echo done") as process:
        seen = read_until(console.master, b"done").decode()
        assert process.wait(PATIENCE) == 0
    assert seen.split() == [os.ttyname(console.slave), "0", "done"]
    assert console.is_as_before()


def test_silence_is_seen_in_a_console_of_its_own(console: Console) -> None:
    """A limit on silence needs the output to pass by, so then the command has another console."""
    with console.start("--idle-timeout", "30s", "--", "sh", "-c", "tty; test -t 2 && echo done") as process:
        seen = read_until(console.master, b"done").decode()
        assert process.wait(PATIENCE) == 0
    assert seen.split()[0] != os.ttyname(console.slave)
    assert console.is_as_before()


@pytest.mark.parametrize("faults", ["", "empty,short,iseof,handles"])
def test_keys_go_through(console: Console, faults: str) -> None:
    """Keys reach the command's console one by one, ^C among them, and the user's is given back as it was."""
    # A shell that is about to read may have looked for signals just before one comes, and then reads.
    wait = "while :; do sleep 0.02; done"
    script = f"trap 'echo interrupted; exit 4' INT; stty size; read line; echo got $line; {wait}"
    with console.start("--pty", "--", "sh", "-c", script, faults=faults) as process:
        read_until(console.master, b"33 90")
        assert not console.is_as_before()
        console.type("abc\r")
        read_until(console.master, b"got abc")
        console.type("\x03")
        read_until(console.master, b"interrupted")
        assert process.wait(PATIENCE) == 4
    assert console.is_as_before()


def test_the_size_is_followed(console: Console) -> None:
    """When the user's console changes its size, so does the command's."""
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
    with console.start("--pty", "--", "sh", "-c", script) as process:
        read_until(console.master, b"ready")
        console.resize(70, 20)
        read_until(console.master, b"20 70")
        assert process.wait(PATIENCE) == 0


def test_events_have_lines_of_their_own(console: Console) -> None:
    """Where events and output share the console, no line is cut, and each begins at its left."""
    with console.start("--json", "--", "sh", "-c", "printf half; sleep 0.2; echo ' whole'") as process:
        seen = read_until(console.master, b'"exit_code":0}')
        assert process.wait(PATIENCE) == 0
    lines = seen.decode().replace("\r\n", "\n").splitlines()
    assert [json.loads(line)["kind"] for line in lines if line.startswith("{")] == ["started", "exited"]
    # The first may come when half a line is there, and is not put behind it.
    assert "".join(line for line in lines if not line.startswith("{")) == "half whole"


def test_the_terminals_own_answer_is_waited_for(console: Console) -> None:
    """Where a terminal is there to answer, its answer is the one that counts."""
    with console.start("--pty", "--", "echo", "started", faults="ask") as process:
        read_until(console.master, b"\x1b[6n")
        console.type("\x1b[5;7R")
        read_until(console.master, b"started")
        assert process.wait(PATIENCE) == 0


def test_the_console_is_given_back_after_a_limit(console: Console) -> None:
    """Also when the command is ended."""
    with console.start("--pty", "--timeout", "300ms", "--", "sleep", "60") as process:
        wait_until(lambda: process.poll() is not None, "end of the run")
        assert process.returncode == 124
    assert console.is_as_before()

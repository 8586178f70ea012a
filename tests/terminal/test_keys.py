"""Typed keys reach the command as they would have without rprun, all of them, and what it leaves goes back."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import termios
from typing import TYPE_CHECKING

import pytest
from outer_terminal import Bash, OuterTerminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., OuterTerminal]

# Reads as many bytes as it is told in raw mode and shows their hash.
RAW_READER = """
import hashlib, os, sys, tty
tty.setraw(0)
os.write(1, b"ready;")
wanted = int(sys.argv[1])
data = b""
while len(data) < wanted:
    data += os.read(0, 65536)
os.write(1, b"hash " + hashlib.sha256(data).hexdigest().encode() + b";")
"""
# Asks the terminal where the cursor is, as shells and editors do.
ASKS = """
import os, sys, termios, tty
old = termios.tcgetattr(0)
tty.setraw(0)
os.write(1, b"12345\\x1b[6n")
reply = b""
while not reply.endswith(b"R"):
    reply += os.read(0, 100)
termios.tcsetattr(0, termios.TCSANOW, old)
print("reply", reply)
"""


def _has_tiocsti() -> bool:
    """Tell whether typed bytes can be returned: ioctl_tty(2), sysctl dev.tty.legacy_tiocsti since Linux 6.2."""
    master, slave = os.openpty()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            fcntl.ioctl(slave, termios.TIOCSTI, b"x")
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    os.close(slave)
    os.close(master)
    return status == 0


needs_tiocsti = pytest.mark.skipif(
    not _has_tiocsti(), reason="TIOCSTI is not permitted (dev.tty.legacy_tiocsti=0 and no CAP_SYS_ADMIN): keys are lost"
)


def test_end_of_file(terminal: Start) -> None:
    """^D at the start of a line is end of file, in the middle of one it hands over what there is."""
    outer = terminal("rprun", "--", "sh", "-c", "echo ready; cat; echo; echo again; cat; echo; echo end")
    outer.expect("ready")
    outer.type("abc\x04")
    outer.expect("abcabc")
    outer.type("\x04")
    outer.expect("again")
    outer.type("\x04")
    outer.expect("end")
    assert outer.wait_exit() == 0


def test_literal_next(terminal: Start, tmp_path: Path) -> None:
    """^V makes ^C, ^Z and ^D plain bytes: nobody is interrupted or stopped, the script's shell included."""
    outer = terminal("sh", "-c", "rprun -- sh -c 'echo ready; cat >file'; echo after $?")
    outer.expect("ready")
    outer.type("a\x16\x03b\x16\x1ac\x16\x04d\x16\x16\r\x04")
    outer.expect("after 0")
    assert outer.wait_exit() == 0
    assert (tmp_path / "file").read_bytes() == b"a\x03b\x1ac\x04d\x16\n"


def test_interrupt_discards_the_line(terminal: Start) -> None:
    """What was typed before a ^C that the command survives is gone, as on any terminal."""
    outer = terminal("bash", "-c", 'rprun -- python3 -c "$C"', env={"C": (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, lambda *_: os.write(1, b'caught;'))\n"
        "os.write(1, b'ready')\n"
        "print('line', input())\n"
    )})  # fmt: skip
    outer.expect("ready")
    outer.type("half\x03")
    outer.expect("caught;")
    outer.type("whole\r")
    outer.expect("line whole\r\n")
    assert outer.wait_exit() == 0


def test_raw_bytes(terminal: Start) -> None:
    """A command in raw mode gets every byte as it is, ^C, ^Z, ^S, ^V and NUL included."""
    data = bytes(range(256)) * 3
    outer = terminal("rprun", "--", "python3", "-c", RAW_READER, str(len(data)))
    outer.expect("ready;")
    outer.type(data)
    outer.expect(f"hash {hashlib.sha256(data).hexdigest()};")
    assert outer.wait_exit() == 0
    assert outer.attributes() == outer.before


def test_large_paste_into_a_raw_reader(terminal: Start) -> None:
    """A paste of 300 kB arrives whole."""
    data = b"".join(b"%07d\r" % number for number in range(37500))
    outer = terminal("rprun", "--", "python3", "-c", RAW_READER, str(len(data)))
    outer.expect("ready;")
    outer.type(data)
    outer.expect(f"hash {hashlib.sha256(data).hexdigest()};")
    assert outer.wait_exit() == 0


def test_large_paste_of_lines(terminal: Start, tmp_path: Path) -> None:
    """100 kB of lines pasted into `cat >file` arrive whole, echo and all."""
    lines = [b"%06d some words to fill the line" % number for number in range(2700)]
    outer = terminal("rprun", "--", "sh", "-c", "echo ready; cat >file")
    outer.expect("ready\r\n")
    outer.type(b"\r".join(lines) + b"\r\x04")
    assert outer.wait_exit() == 0
    assert (tmp_path / "file").read_bytes() == b"\n".join(lines) + b"\n"
    assert outer.output.endswith(b"\r\n".join(lines) + b"\r\n")


def test_bracketed_paste_and_function_keys(terminal: Start) -> None:
    """Escape sequences pass through unchanged and in one piece."""
    data = b"\x1b[200~pasted \xc3\xa9\x1b[201~\x1b[A\x1bOP\x1b[<0;10;10M\xff"
    outer = terminal("rprun", "--", "python3", "-c", RAW_READER, str(len(data)))
    outer.expect("ready;")
    outer.type(data)
    outer.expect(f"hash {hashlib.sha256(data).hexdigest()};")
    assert outer.wait_exit() == 0


def test_a_reply_of_the_terminal(terminal: Start) -> None:
    """A command that asks the terminal for the cursor's place gets the answer."""
    outer = terminal("rprun", "--", "python3", "-c", ASKS, answers=True)
    outer.expect(r"reply b'\x1b[1;6R'")
    assert outer.wait_exit() == 0


@pytest.mark.parametrize("end", ["", " | cat", " 2>/dev/null"])
def test_keys_are_the_commands_wherever_its_output_goes(terminal: Start, end: str) -> None:
    """stdin is the terminal: keys are read line by line, whatever stdout and stderr are."""
    outer = terminal("sh", "-c", f"rprun -- sh -c 'echo ready >/dev/tty; read x; echo got $x'{end}")
    outer.expect("ready")
    outer.type("wrong\x15right\r")
    outer.expect("got right\r\n")
    assert outer.wait_exit() == 0
    assert outer.attributes() == outer.before


def test_flow_control(terminal: Start, tmp_path: Path) -> None:
    """^S holds the command's output back and ^Q lets it go."""
    outer = terminal("rprun", "--", "sh", "-c", "echo ready; read x; echo read >file; echo shown")
    outer.expect("ready\r\n")
    outer.type("\x13")
    outer.type("word\r")
    outer.wait((tmp_path / "file").exists, "the command to have read the line")
    assert b"shown" not in outer.output
    outer.type("\x11")
    outer.expect("shown")
    assert outer.wait_exit() == 0


def test_typed_ahead(bash: Callable[..., Bash]) -> None:
    """Lines that were typed before the command runs are its input."""
    outer = bash(C="read a; read b; echo got $a $b")
    start = len(outer.output)
    outer.type('rprun -- sh -c "$C"\rone\rtwo\r')
    outer.expect("got one two\r\n", start=start)
    outer.prompt(start)
    assert outer.attributes() == outer.at_rest


@needs_tiocsti
def test_left_over_keys_go_to_the_shell(bash: Callable[..., Bash], tmp_path: Path) -> None:
    """Keys that the command did not read are the next program's, as without rprun."""
    outer = bash(C="echo ready; read x <f")
    outer.run("mkfifo f")
    outer.begin('rprun -- sh -c "$C"', "ready")
    start = len(outer.output)
    outer.type("echo left$((1 + 1)); echo over$((1 + 2))\r")
    outer.expect("over$((1 + 2))\r\n", start=start)
    outer.release(tmp_path / "f")
    outer.expect("left2\r\nover3\r\n", start=start)
    outer.prompt(start)
    assert outer.attributes() == outer.at_rest


@needs_tiocsti
def test_left_over_half_line(bash: Callable[..., Bash], tmp_path: Path) -> None:
    """A line that is typed in part during the command and finished after it is one line for the shell."""
    outer = bash(C="echo ready; read x <f")
    outer.run("mkfifo f")
    outer.begin('rprun -- sh -c "$C"', "ready")
    start = len(outer.output)
    outer.type("echo ha")
    outer.expect("echo ha", start=start)
    outer.release(tmp_path / "f")
    outer.wait(outer.at_prompt, "the shell")
    outer.type("lf$((1 + 1))\r")
    outer.expect("\r\nhalf2\r\n", start=start)
    outer.prompt(start)


@needs_tiocsti
def test_one_line_each(terminal: Start) -> None:
    """A loop of commands that read one line each gets line after line, even if all are typed at once."""
    outer = terminal(
        "sh", "-c", "for i in 1 2 3; do rprun -- sh -c 'echo ready; read x; echo got $x'; done; read y; echo rest $y"
    )
    outer.expect("ready")
    outer.type("one\rtwo\rthree\rfour\r")
    outer.expect("rest four")
    assert outer.wait_exit() == 0
    for word in (b"got one", b"got two", b"got three"):
        assert word in outer.output
    assert outer.attributes() == outer.before


def test_a_command_that_does_not_read(terminal: Start, tmp_path: Path) -> None:
    """More keys than the command's terminal holds do not hold up its output or its end."""
    os.mkfifo(tmp_path / "f")
    outer = terminal("rprun", "--", "sh", "-c", "stty -echo; echo ready; read x <f; echo end")
    outer.expect("ready")
    outer.type(b"x" * 3000 + b"\r")
    outer.type(b"y" * 3000 + b"\r")
    outer.release(tmp_path / "f")
    outer.expect("end")
    assert outer.wait_exit() == 0
    assert outer.attributes() == outer.before


def test_signal_while_keys_wait(terminal: Start) -> None:
    """rprun serves signals while it waits for a command that does not take its keys."""
    outer = terminal("rprun", "--", "python3", "-c", RAW_READER, "100000000")
    outer.expect("ready;")
    outer.type(b"x" * 200000)
    outer.kill(signal.SIGTERM)
    assert outer.wait_exit() == -signal.SIGTERM
    assert outer.attributes() == outer.before

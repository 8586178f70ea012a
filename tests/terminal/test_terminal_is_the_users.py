"""The command finds the user's terminal settings in its own, and its output looks as it would without rprun."""

from __future__ import annotations

import os
import signal
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from outer_terminal import OuterTerminal, state

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[..., OuterTerminal]

IFLAG, OFLAG, CFLAG, LFLAG, ISPEED, OSPEED, CC = range(7)
IUTF8 = 0x4000
TAB3 = 0o14000
ECHOCTL = 0o1000


def _change(index: int, *, on: int = 0, off: int = 0) -> Callable[[int], None]:
    def prepare(descriptor: int) -> None:
        attributes: list[Any] = termios.tcgetattr(descriptor)
        attributes[index] = attributes[index] & ~off | on
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)

    return prepare


def _characters(descriptor: int) -> None:
    attributes: list[Any] = termios.tcgetattr(descriptor)
    attributes[CC][termios.VERASE] = b"\x08"
    attributes[CC][termios.VINTR] = b"\x18"
    attributes[CC][termios.VSUSP] = b"\x00"
    attributes[CC][termios.VEOF] = b"\x05"
    attributes[CC][termios.VMIN] = b"\x03"
    attributes[CC][termios.VTIME] = b"\x02"
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _speed(descriptor: int) -> None:
    attributes: list[Any] = termios.tcgetattr(descriptor)
    attributes[ISPEED] = attributes[OSPEED] = termios.B9600
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


SETTINGS = {
    "as it comes": lambda _descriptor: None,
    "iutf8": _change(IFLAG, on=IUTF8),
    "no iutf8": _change(IFLAG, off=IUTF8),
    "no flow control": _change(IFLAG, off=termios.IXON, on=termios.IXANY),
    "inlcr": _change(IFLAG, on=termios.INLCR, off=termios.ICRNL),
    "no onlcr": _change(OFLAG, off=termios.ONLCR),
    "no opost": _change(OFLAG, off=termios.OPOST),
    "tabs as blanks": _change(OFLAG, on=TAB3),
    "no echo": _change(LFLAG, off=termios.ECHO),
    "no echoctl": _change(LFLAG, off=ECHOCTL),
    "no signals": _change(LFLAG, off=termios.ISIG),
    "already raw": _change(LFLAG, off=termios.ICANON | termios.ECHO | termios.ISIG),
    "noflsh": _change(LFLAG, on=termios.NOFLSH),
    "other characters": _characters,
    "speed": _speed,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_attributes(terminal: Start, name: str) -> None:
    """stty shows the same under rprun as without: modes, special characters, speed and size."""
    shown = []
    for runner in ([], ["rprun", "--"]):
        outer = terminal(*runner, "stty", "-a", prepare=SETTINGS[name], size=(97, 31))
        assert outer.wait_exit() == 0
        assert outer.attributes() == outer.before
        shown.append(bytes(outer.output))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("redirection", ["</dev/null", "</dev/null 2>/dev/null", "2>/dev/null"])
def test_attributes_with_redirections(terminal: Start, redirection: str) -> None:
    """The terminal of a command whose stdin or stderr is something else is the user's as well."""
    shown = []
    for runner in ("", "rprun -- "):
        outer = terminal("sh", "-c", f"{runner}stty -a -F /dev/tty {redirection}", prepare=_characters, size=(97, 31))
        assert outer.wait_exit() == 0
        shown.append(bytes(outer.output))
    assert shown[0] == shown[1]


OUTPUTS = [
    "printf 'a\\nb\\r\\nc\\rd\\te\\n\\n\\r\\r\\n'",
    "printf 'no newline at the end'",
    "printf '\\n'",
    "printf '\\r'",
    "cat bytes",
    "seq 1 20000",
    "ls --color=always -la /etc | head -40",
    "ls -C /etc",
    "stty -opost; printf 'x\\ny\\n'; stty opost; printf 'z\\nw\\n'",
    "stty -onlcr; printf 'x\\ny\\n'",
    "stty ocrnl; printf 'x\\ry\\n'",
    "stty raw; printf 'x\\ny\\r\\nz'; stty sane; printf 'w\\n'",
    "printf 'out\\n'; printf 'err\\n' >&2; printf 'out\\n'; printf 'tty\\n' >/dev/tty",
    "printf '\\303'; printf '\\251\\n'",
    "printf '\\033[?1049h\\033[31mx\\033[6n\\033[?2004h\\n'",
]


@pytest.mark.parametrize("tabs", ["tabs", "blanks"])
@pytest.mark.parametrize("script", OUTPUTS)
def test_output_bytes(terminal: Start, tmp_path: Path, script: str, tabs: str) -> None:
    """What reaches the terminal is the same to the byte with and without rprun."""
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 40)
    prepare = _change(OFLAG, on=TAB3 if tabs == "blanks" else 0)
    shown = []
    for runner in ([], ["rprun", "--"]):
        outer = terminal(*runner, "sh", "-c", script, prepare=prepare)
        assert outer.wait_exit() == 0
        shown.append(bytes(outer.output))
    assert shown[0] == shown[1]


REDIRECTED = [
    "{} sh -c 'printf \"a\\nb\\r\\nc\\td\\n\"' | cat",
    '{} sh -c \'printf "a\\nb\\n" >&2; printf "c\\nd\\n"\' | cat >file; cat file',
    '{} sh -c \'printf "a\\nb\\n" >&2; printf "c\\nd\\n"\' >file; cat file',
    '{} sh -c \'printf "a\\nb\\n" >&2; printf "c\\nd\\n"\' 2>file; cat file',
    '{} sh -c \'printf "a\\nb\\n" >&2; printf "c\\nd\\n"\' </dev/null',
    'echo input | {} sh -c \'cat; printf "a\\nb\\n" >&2; printf "c\\nd\\n"\'',
    "{} seq 1 3000 </dev/null",
    "{} sh -c 'seq 1 3000 >&2' >/dev/null",
    "{} sh -c 'seq 1 3000 >/dev/tty' >/dev/null",
    '{} sh -c \'printf "x\\ny\\n"; stty -opost <&1; printf "z\\nw\\n"\' </dev/null; stty opost',
    "{} seq 1 300 & wait",
]


@pytest.mark.parametrize("line", REDIRECTED)
def test_output_bytes_with_redirections(terminal: Start, line: str) -> None:
    """The same holds with some of the streams elsewhere and in the background, where the terminal is not raw."""
    shown = []
    for runner in ("", "rprun --"):
        outer = terminal("sh", "-c", line.format(runner))
        assert outer.wait_exit() == 0
        assert outer.attributes() == outer.before
        shown.append(bytes(outer.output))
    assert shown[0] == shown[1]


def test_ended_before_it_is_looked_at(terminal: Start, tmp_path: Path) -> None:
    """The output of a command that ends its lines differently is shown so, if that is seen only after its end."""
    fifo, file, script = (tmp_path / name for name in ("fifo", "file", "script"))
    os.mkfifo(fifo)
    script.write_text("echo $$ >file; read _ <fifo; printf 'x\\n'; stty -opost <&1; printf 'y\\nz\\n'")
    outer = terminal("sh", "-c", "exec rprun -- sh script </dev/null")
    outer.wait(lambda: file.exists() and file.read_text().endswith("\n"), "the command's process id")
    command = int(file.read_text())
    outer.kill(signal.SIGSTOP)
    outer.wait(lambda: state(outer.pid) == "T", "the stop")
    outer.release(fifo)
    outer.wait(lambda: not Path(f"/proc/{command}").exists(), "the command's end")
    outer.kill(signal.SIGCONT)
    assert outer.wait_exit() == 0
    assert bytes(outer.output) == b"x\r\ny\nz\n"
    assert outer.attributes() == outer.before


@pytest.mark.parametrize("redirection", ["", "| cat", "2>/dev/null", "</dev/null", "</dev/null | cat", "2>&1 | cat"])
def test_streams_that_are_terminals_stay_terminals(terminal: Start, tmp_path: Path, redirection: str) -> None:
    """Each stream of the command is a terminal exactly where it would have been without rprun."""
    # The streams are copied first: the loop's own redirection must not count.
    script = "exec 4<&0 5>&1 6>&2; for n in 4 5 6; do if test -t $n; then echo $n tty; else echo $n not; fi; done >file"
    found = []
    for runner in ("", "rprun --"):
        assert terminal("sh", "-c", f"{runner} sh -c '{script}' {redirection}").wait_exit() == 0
        found.append((tmp_path / "file").read_text())
    assert found[0] == found[1]


def test_typed_line(terminal: Start) -> None:
    """Echo, erasing and end of file show what they show without rprun."""
    shown = []
    for runner in ([], ["rprun", "--"]):
        outer = terminal(*runner, "sh", "-c", "echo ready; exec cat", prepare=_change(IFLAG, on=IUTF8))
        outer.expect("ready\r\n")
        for keys, echo in (("abx\x7f", b"\b \b"), ("\u00e9\u00e8\x7f", b"\b \b"), ("\x01\x16\x03", b"^C")):
            start = len(outer.output)
            outer.type(keys)
            outer.expect(echo, start=start)
        outer.type("\r")
        outer.expect(b"ab\xc3\xa9\x01\x03\r\n")
        outer.type("\x04")
        assert outer.wait_exit() == 0
        shown.append(bytes(outer.output))
    assert shown[0] == shown[1]

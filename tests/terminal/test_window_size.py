"""The command's terminal has the size of the user's from the start, and follows it, unless a size was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outer_terminal import OuterTerminal

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[..., OuterTerminal]

# Shows the size at each SIGWINCH, of the terminal that descriptor FD is.
WATCH = """
import os, signal, sys
fd = int(sys.argv[1])
out = os.open("/dev/tty", os.O_WRONLY)
def show(*_):
    os.write(out, b"size %dx%d;" % os.get_terminal_size(fd))
signal.signal(signal.SIGWINCH, show)
os.write(out, b"ready;")
show()
while True:
    signal.pause()
"""


@pytest.mark.parametrize("size", [(80, 24), (1, 1), (132, 50), (1000, 300), (65535, 65535)])
def test_from_the_start(terminal: Start, size: tuple[int, int]) -> None:
    """The first thing a command can ask for is already right."""
    outer = terminal("rprun", "--", "stty", "size", size=size) if size[0] < 1000 else None
    if outer is None:
        # Too large for the emulated screen, which is made first.
        outer = terminal("sh", "-c", f"stty cols {size[0]} rows {size[1]}; rprun -- stty size")
    assert outer.wait_exit() == 0
    assert outer.output == f"{size[1]} {size[0]}\r\n".encode()


def test_unknown(terminal: Start) -> None:
    """A terminal that does not know its size, as serial lines do not, gives 80x24 and never 0x0."""
    outer = terminal("sh", "-c", "stty cols 0 rows 0; rprun -- stty size; stty size")
    assert outer.wait_exit() == 0
    assert outer.output == b"24 80\r\n0 0\r\n"


@pytest.mark.parametrize(
    "line",
    [
        "rprun -- stty size",
        "rprun -- sh -c 'stty size <&1' </dev/null",
        "rprun -- sh -c 'stty size <&2' </dev/null | cat",
        "rprun -- stty size | cat",
        "rprun -- stty size 2>/dev/null",
        "rprun --pty -- stty size",
        "rprun --pty -- stty size </dev/null",
        "rprun --pty -- stty size 2>/dev/null | cat",
        "rprun --split-stderr -- sh -c 'stty size <&2'",
        "rprun --pty --split-stderr -- sh -c 'stty size <&2'",
        "rprun --pipe -- stty size",
    ],
)
def test_whichever_stream_is_the_terminal(terminal: Start, line: str) -> None:
    """The first terminal among stdin, stdout and stderr gives the size, wherever the others go."""
    outer = terminal("sh", "-c", line, size=(101, 37))
    outer.wait_exit()
    # The terminal's own carriage return, which --pty puts into the pipe, is followed by that of the user's terminal.
    assert outer.output.split() == [b"37", b"101"]


@pytest.mark.parametrize(
    ("redirection", "descriptor"),
    [("", 0), ("</dev/null", 1), ("| cat", 0), ("</dev/null | cat", 2), ("</dev/null 2>/dev/null", 1)],
)
def test_resizing(terminal: Start, redirection: str, descriptor: int) -> None:
    """Each resize of the user's terminal is one of the command's, with SIGWINCH, whichever stream is a terminal."""
    outer = terminal("sh", "-c", f'rprun -- python3 -c "$W" {descriptor} {redirection}', env={"W": WATCH})
    outer.expect("size 80x24;")
    for columns, rows in ((100, 30), (40, 10), (200, 60)):
        outer.resize(columns, rows)
        outer.expect(f"size {columns}x{rows};")
    outer.type("\x03")
    outer.wait_exit()
    assert outer.attributes() == outer.before


def test_second_terminal_for_stderr(terminal: Start) -> None:
    """With --split-stderr both terminals of the command are resized."""
    outer = terminal("sh", "-c", 'rprun --split-stderr -- python3 -c "$W" 2', env={"W": WATCH})
    outer.expect("size 80x24;")
    outer.resize(99, 33)
    # SIGWINCH comes with the first of the two changes: the second is asked for by another resize.
    outer.expect("size ", start=outer.expect("size 80x24;"))
    outer.resize(98, 32)
    outer.wait(lambda: b"size 99x33;" in outer.output or b"size 98x32;" in outer.output, "the new size")
    outer.type("\x03")
    outer.wait_exit()


def test_a_burst_ends_with_the_last(terminal: Start) -> None:
    """However many resizes come at once, the command ends up with the last of them."""
    outer = terminal("rprun", "--", "python3", "-c", WATCH, "0")
    outer.expect("size 80x24;")
    for number in range(60):
        outer.resize(30 + number, 20 + number % 7)
    outer.expect("size 89x23;")
    outer.type("\x03")
    outer.wait_exit()


def test_a_resize_at_the_start_is_not_lost(terminal: Start) -> None:
    """A resize between the start of rprun and that of the command reaches the command all the same."""
    outer = terminal("rprun", "--", "python3", "-c", WATCH, "0")
    outer.wait_raw()
    outer.resize(77, 22)
    outer.expect("size 77x22;")
    outer.type("\x03")
    outer.wait_exit()


@pytest.mark.parametrize("transport", ["", "--pty"])
def test_a_fixed_size(terminal: Start, transport: str) -> None:
    """--size holds whatever the user's terminal does."""
    script = "stty size; echo ready; read x; stty size"
    outer = terminal("sh", "-c", f"rprun {transport} --size 90x20 -- sh -c '{script}'")
    outer.expect("20 90\r\nready")
    outer.resize(100, 30)
    outer.type("\r")
    assert outer.wait_exit() == 0
    assert outer.output.count(b"20 90\r\n") == 2


def test_environment_is_not_touched(terminal: Start) -> None:
    """COLUMNS and LINES are neither set nor changed."""
    outer = terminal("sh", "-c", "unset COLUMNS; LINES=7 rprun -- sh -c 'echo \"<$COLUMNS><$LINES>\"'")
    assert outer.wait_exit() == 0
    assert outer.output == b"<><7>\r\n"

"""`rprun capabilities` shows the matrix whole: on any width, in any locale, to any reader."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections import Counter

import pytest

from rprun.backends.registry import candidates
from rprun.observe.capabilities import ObserverCapabilities
from rprun.observe.categories import EventCategory

SHOW = """
import sys
from rprun.cli.capabilities import show
from rprun.errors import RprunError
try:
    sys.exit(show({as_json}, {all_backends}))
except RprunError as error:
    sys.stderr.write(f"rprun: {{error}}\\n")
    sys.exit(error.status)
"""
UNSET = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "LC_ALL", "PYTHONIOENCODING")
MATRIX = ObserverCapabilities.negotiate()


def command(as_json: bool = False, all_backends: bool = False) -> list[str]:
    """Gives the command line of a real process that shows the matrix."""
    return [sys.executable, "-c", SHOW.format(as_json=as_json, all_backends=all_backends)]


def environment(**changes: str) -> dict[str, str]:
    """Gives an environment without anything that steers the display but the changes."""
    return {name: value for name, value in os.environ.items() if name not in UNSET} | {"TERM": "xterm"} | changes


def piped(as_json: bool = False, all_backends: bool = False, **changes: str) -> str:
    """Runs the command into a pipe."""
    result = subprocess.run(command(as_json, all_backends), capture_output=True, env=environment(**changes), check=True)
    assert result.stderr == b""
    return result.stdout.decode()


def on_terminal(columns: int, all_backends: bool = False, **changes: str) -> str:
    """Runs the command in a terminal of this width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command(all_backends=all_backends), stdin=slave, stdout=slave, stderr=slave, env=environment(**changes)
    )
    os.close(slave)
    output = b""
    try:
        while data := os.read(master, 65536):
            output += data
    except OSError:  # EIO is a terminal's end of file.
        pass
    os.close(master)
    assert process.wait() == 0
    return output.decode().replace("\r\n", "\n")


def cells_of(text: str, rows: list[list[str]]) -> bool:
    """Says whether every word of every row is in the text, whole, at least as often as in the rows."""
    words = Counter(text.split())
    return Counter(word for row in rows for cell in row for word in cell.split()) <= words


@pytest.mark.parametrize("all_backends", [False, True])
def test_json_is_the_rows(all_backends: bool) -> None:
    """One array of objects with the four keys, in ALL order, equal to the rows."""
    rows = MATRIX.to_candidate_rows() if all_backends else MATRIX.to_table_rows()
    records = json.loads(piped(as_json=True, all_backends=all_backends))
    assert [list(record) for record in records] == [["category", "support", "backend", "reason"]] * len(rows)
    assert [list(record.values()) for record in records] == rows
    order = [EventCategory.ALL.index(record["category"]) for record in records]
    assert order == sorted(order)


def test_all_lists_what_is_planned() -> None:
    """Every backend is there under the category it serves or would serve; one that is not built is unavailable."""
    rows = {(row[0], row[2]): row[1] for row in MATRIX.to_candidate_rows()}
    planned = {
        (category, candidate.name)
        for category in EventCategory.ALL
        for candidate in candidates(category, sys.platform)
        if not candidate.is_built
    }
    for key in (
        ("file", "kqueue"),
        ("network", "endpoint-security"),
        ("process", "endpoint-security"),
        ("process", "proc-connector"),
        ("file", "etw"),
        ("network", "seccomp-user-notify"),
        ("process", "ebpf"),
        ("file", "psutil-poll"),
    ):
        assert key in rows
    assert planned
    assert {rows[key] for key in planned} == {"unavailable"}
    assert rows["lifecycle", "portable-lifecycle"] == "supported"


@pytest.mark.parametrize("columns", [30, 40, 80, 200])
@pytest.mark.parametrize("all_backends", [False, True])
def test_the_table_fits_the_terminal_and_cuts_nothing(columns: int, all_backends: bool) -> None:
    """No line is wider than the terminal, and every word of every row is there whole."""
    text = on_terminal(columns, all_backends, NO_COLOR="1")
    assert max(map(len, text.splitlines())) <= columns
    assert cells_of(text, MATRIX.to_candidate_rows() if all_backends else MATRIX.to_table_rows())


def test_piped_it_is_plain_and_80_wide() -> None:
    """Into a pipe there is no colour, no box, no trailing blank, and 80 columns unless COLUMNS says another number."""
    text = piped()
    assert text.isascii()
    assert "\x1b" not in text
    assert all(line == line.rstrip() and len(line) <= 80 for line in text.splitlines())
    assert text.splitlines()[0].split() == ["category", "support", "backend", "reason"]
    assert cells_of(text, MATRIX.to_table_rows())
    assert max(map(len, piped(COLUMNS="200").splitlines())) > 80
    assert piped(COLUMNS="nonsense") == piped(COLUMNS="0") == text


def test_colour_is_for_terminals_that_want_it() -> None:
    """A terminal gets colour, unless NO_COLOR is set or it is a dumb one."""
    assert "\x1b[32m" in on_terminal(80)
    assert "\x1b" not in on_terminal(80, NO_COLOR="1")
    assert "\x1b" not in on_terminal(80, TERM="dumb")


def test_an_ascii_locale_is_enough() -> None:
    """LC_ALL=C, and an output that takes only ASCII, show the same."""
    assert piped(LC_ALL="C", PYTHONIOENCODING="ascii") == piped()
    assert json.loads(piped(as_json=True, LC_ALL="C", PYTHONIOENCODING="ascii"))


def test_a_reader_that_leaves_is_no_error() -> None:
    """`rprun capabilities | true` ends with 0 and without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(command(), stdout=writer, stderr=subprocess.PIPE, env=environment(), check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_full_disk_is_one_line() -> None:
    """What cannot be written is said, with exit status 125."""
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command(), stdout=full, stderr=subprocess.PIPE, env=environment(), check=False)
    assert result.returncode == 125
    assert result.stderr == b"rprun: cannot write to standard output: No space left on device (send it elsewhere)\n"


def test_a_closed_standard_output_is_one_line() -> None:
    """With stdout closed there is an error and no traceback."""
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command()]
    result = subprocess.run(closed, stderr=subprocess.PIPE, env=environment(), check=False)
    assert result.returncode == 125
    assert result.stderr.startswith(b"rprun: cannot write to standard output: ")
    assert result.stderr.count(b"\n") == 1

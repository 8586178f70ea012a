"""This process's standard streams on Windows, and which end each stream of the command gets.

A console is passed through where that can be: what goes through a pseudo console is drawn anew, and no longer what the
command wrote. So `auto` makes one only where rprun has to see what goes to the console, for a limit on silence, or lest
an event cuts a line.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

from rprun.errors import UsageError
from rprun.transport.streams import (
    CLOSED,
    ERROR_PIPE,
    FEED_PIPE,
    INHERIT,
    OUT_PIPE,
    PTY,
    TTY,
    Stream,
)
from rprun.windows import console

if TYPE_CHECKING:
    Rows = tuple[Stream, Stream, Stream]
    Kinds = tuple[str, str, str]


def survey() -> Rows:
    """Look at this process's standard streams."""
    return _look(0), _look(1), _look(2)


def _look(descriptor: int) -> Stream:
    if console.is_console(descriptor):
        return Stream(descriptor, TTY)
    stream = Stream(descriptor)
    if stream.kind == TTY:
        # The C runtime takes every character device for a terminal.
        return Stream(descriptor, "device")
    return stream


def same(first: Stream, second: Stream) -> bool:
    """Tell whether two streams go to the same place."""
    if CLOSED in (first.kind, second.kind):
        return False
    return first.fd == second.fd or console.same_file(first.fd, second.fd)


def choose_ends(
    rows: Rows, transport: str, *, split_stderr: bool, writes: bool, delivers: bool, watch: tuple[bool, bool]
) -> Kinds:
    """Return the ends of the command's stdin, stdout and stderr.

    Args:
        rows: rprun's own.
        transport: `auto`, `pty` or `pipe`.
        split_stderr: stderr is to get a terminal of its own.
        writes: the command's input comes from the owner of the process.
        delivers: and its output goes there.
        watch: rprun must see what goes to stdout, and to stderr.

    Raises:
        UsageError: a pseudo console has one output.
    """
    if split_stderr:
        raise UsageError("--split-stderr: a console of Windows has one output (use --pipe to have them apart)")
    _, stdout, stderr = rows
    consoles = all(stream.kind == TTY for stream in rows)
    if transport == "pty" or (transport == "auto" and consoles and any(watch) and not (writes or delivers)):
        return PTY, PTY, PTY
    first = FEED_PIPE if writes else INHERIT
    if delivers:
        return first, OUT_PIPE, ERROR_PIPE
    one_file = same(stdout, stderr)
    seen = [
        stream.kind != CLOSED and (transport == "pipe" or (stream.kind != TTY and wanted))
        for stream, wanted in zip(
            rows[1:], (watch[0] or (watch[1] and one_file), watch[1] or (watch[0] and one_file)), strict=True
        )
    ]
    second = OUT_PIPE if seen[0] else INHERIT
    third = INHERIT
    if seen[1]:
        # One pipe for both where both go to one file: two would lose the order between them.
        third = OUT_PIPE if one_file and transport == "auto" else ERROR_PIPE
    return first, second, third

"""`rprun capabilities` shows the rows of the capability matrix, and nothing but the rows.

The whole text is made first and written at once, so that a reader who has left, a full disk or a terminal that knows
only ASCII is dealt with in one place.
"""

from __future__ import annotations

import io
import json
import os
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rprun.errors import RprunError
from rprun.observe.capabilities import ObserverCapabilities

COLUMNS = ("category", "support", "backend", "reason")
STYLES = {"supported": "green", "partial": "yellow", "unavailable": "red"}
GAP = 2
# Under this width the reason's column would be a ribbon of single words; each row is shown as a block instead.
LEAST_REASON = 24
PLAIN_WIDTH = 80


def show(as_json: bool, all_backends: bool) -> int:
    """Prints the capability matrix and gives the exit status.

    Args:
        as_json: one JSON array of objects instead of a table.
        all_backends: every candidate backend with its own probe's answer, instead of the chosen ones.

    Raises:
        RprunError: standard output cannot be written to. That its reader has left is no error.
    """
    capabilities = ObserverCapabilities.negotiate()
    rows = capabilities.to_candidate_rows() if all_backends else capabilities.to_table_rows()
    if as_json:
        _print(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows], indent=2) + "\n")
    else:
        _print(render(rows, _width(), _has_colour()))
    return 0


def render(rows: list[list[str]], width: int, colour: bool) -> str:
    """Renders rows for a width: as a table if the reason has room in it, else one block of lines a row."""
    taken = sum(max(map(len, cells)) + GAP for cells in zip(*[COLUMNS, *rows], strict=True) if cells[0] != "reason")
    table = _as_table(rows) if width - taken >= LEAST_REASON else _as_blocks(rows)
    text = io.StringIO()
    console = Console(
        file=text,
        width=width,
        force_terminal=colour,
        force_jupyter=False,
        color_system="standard" if colour else None,
        legacy_windows=False,
        _environ={},
    )
    console.print(table)
    # Rich fills the last column with spaces; copied or piped text has no use for them.
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def _as_table(rows: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name in COLUMNS[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(COLUMNS[-1], overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _as_blocks(rows: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for number, row in enumerate(rows):
        if number:
            table.add_row()
        for name, value in zip(COLUMNS, row, strict=True):
            table.add_row(name, _cell(value))
    return table


def _cell(value: str) -> Text:
    """Makes a cell that shows its text as it is: a reason's brackets are not markup."""
    return Text(value, style=STYLES.get(value, ""))


def _width() -> int:
    """Gives the terminal's width, or for anything else that of COLUMNS, or 80."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or PLAIN_WIDTH
    except (AttributeError, OSError, ValueError):
        columns = os.environ.get("COLUMNS", "")
        return int(columns) if columns.isascii() and columns.isdigit() and int(columns) else PLAIN_WIDTH


def _has_colour() -> bool:
    """Says whether colour is wanted: by a terminal that has it, and by the user (https://no-color.org)."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _print(text: str) -> None:
    if sys.stdout is None:
        raise RprunError("cannot write to standard output: it is closed (open it)")
    try:
        fd = sys.stdout.fileno()
    except (OSError, ValueError):  # Not a real file: a test's, or a program's that calls this.
        sys.stdout.write(text)
        return
    # Past the buffer of sys.stdout, which would be flushed again, and fail again, when Python ends.
    rest = memoryview(text.encode(sys.stdout.encoding, "backslashreplace"))
    try:
        sys.stdout.flush()
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BrokenPipeError:
        return
    except OSError as error:
        raise RprunError(f"cannot write to standard output: {error.strerror} (send it elsewhere)") from error

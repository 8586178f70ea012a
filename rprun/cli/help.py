"""`--help` is drawn here, from the same table as the man page, so that no release of Typer changes its shape.

Colours come from Rich, which honours NO_COLOR and prints plain text into a pipe; there are no boxes.
"""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from rprun.cli import table

NARROWEST, WIDEST = 40, 100
# The longest names get a line of their own rather than squeeze every explanation.
NAMES_WIDTH = 24


def _width(console: Console) -> int:
    """80 columns into a pipe; on a terminal its width, within reason."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        return 80
    return max(NARROWEST, min(console.width, WIDEST))


def _names(option: table.Option) -> Text:
    """`-t, --pty` or `    --size COLSxROWS`, so that the long names line up."""
    short = ", ".join(name for name in option.names if not name.startswith("--"))
    text = Text(f"{short}, " if short else "    ", style="green")
    text.append(", ".join(name for name in option.names if name.startswith("--")), style="cyan")
    return text.append(f" {option.metavar}" if option.metavar else "", style="yellow")


def _explained(option: table.Option) -> Text:
    """The help text and the default."""
    return Text(option.help).append(f" [default: {option.default}]" if option.default else "", style="dim")


def render(command: table.Command, console: Console) -> None:
    """Print the help of one command."""
    console.print(Text("Usage: ", style="bold").append("\n       ".join(command.usage), style="not bold"))
    console.print()
    console.print(Text(command.help))
    for panel in dict.fromkeys(option.panel for option in command.options):
        console.print()
        console.print(Text(f"{panel}:", style="bold"))
        for option in command.options:
            if option.panel == panel:
                _render_option(option, console)
    if command.subcommands:
        console.print()
        console.print(Text("Subcommands:", style="bold"))
        for subcommand in command.subcommands:
            console.print(_row(Text(f"    {subcommand.name}", style="cyan"), Text(subcommand.help)))


def _render_option(option: table.Option, console: Console) -> None:
    """One option; a name too long for its column stands on a line above."""
    names = _names(option)
    if names.cell_len > NAMES_WIDTH:
        console.print(Padding(names, (0, 0, 0, 2)))
        names = Text()
    console.print(_row(names, _explained(option)))


def _row(left: Text, right: Text) -> Table:
    """Two columns of which the second wraps."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=2 + NAMES_WIDTH, no_wrap=True)
    grid.add_column(ratio=1)
    grid.expand = True
    grid.add_row(Text("  ").append_text(left), right)
    return grid


def _captured(command: table.Command) -> str:
    """The help as text, with colours where standard output shows them."""
    console = Console(highlight=False, markup=False)
    console.width = _width(console)
    with console.capture() as capture:
        render(command, console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


class HelpGroup(TyperGroup):
    """The root command, with this module's help."""

    def get_help(self, ctx: Any) -> str:
        """The whole help text."""
        return _captured(table.read())


class HelpCommand(TyperCommand):
    """A subcommand, with this module's help."""

    def get_help(self, ctx: Any) -> str:
        """The whole help text."""
        return _captured(next(sub for sub in table.read().subcommands if sub.name == self.name))

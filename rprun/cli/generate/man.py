"""The man page: prose from the modules `man_*`, OPTIONS from the table."""

from __future__ import annotations

import textwrap

from rprun.cli import table
from rprun.cli.generate import man_bugs, man_files, man_prose, man_running, man_systems, man_windows

WIDTH = 80
HEADER = r""".\" Generated from rprun/cli/app.py and rprun/cli/generate/man_*.py by
.\" `python -m rprun.cli.generate --write`; not to be edited.
"""


def _text(text: str) -> str:
    """Running text as mdoc: a sentence a line, dashes that stay dashes, nothing taken for a macro."""
    lines = text.replace("\\", r"\e").replace("-", r"\-").replace(". ", ".\n").splitlines()
    return "\n".join(r"\&" + line if line.startswith((".", "'")) else line for line in lines)


def _flag(name: str) -> str:
    """`-t` or `--pty` as an argument of a macro."""
    return f"Fl Fl {name[2:]}" if name.startswith("--") else f"Fl {name[1:]}"


def _item(option: table.Option) -> str:
    """One option with its help text and its default; short names first, as man pages have them."""
    names = " , ".join(_flag(name) for name in reversed(option.names))
    value = f" Ar {option.metavar}" if option.metavar else ""
    default = f"\nThe default is\n.Ql {option.default} ." if option.default else ""
    return f".It {names}{value}\n{_text(option.help)}{default}"


def _list(options: tuple[table.Option, ...]) -> str:
    """A tagged list of options."""
    return "\n".join([".Bl -tag -width Ds", *(_item(option) for option in options), ".El"])


def render() -> str:
    """The page's source."""
    root = table.read()
    parts = [HEADER, man_prose.TITLE, man_prose.SYNOPSIS]
    for sub in root.subcommands:
        flags = "\n".join(f".Op {_flag(option.names[0])}" for option in sub.options if option.dest != "help")
        parts.append(f".Nm\n.Cm {sub.name}\n{flags}")
    parts += [man_prose.DESCRIPTION, ".Sh OPTIONS", man_prose.OPTIONS]
    for panel in dict.fromkeys(option.panel for option in root.options):
        parts += [f".Ss {panel}", _list(tuple(option for option in root.options if option.panel == panel))]
    for sub in root.subcommands:
        parts += [f".Ss Subcommand {sub.name}", _text(sub.help), _list(sub.options)]
    parts += [man_running.RUNNING, man_systems.SYSTEMS, man_windows.WINDOWS, man_prose.ENVIRONMENT, man_files.FILES]
    parts += [man_prose.REST, man_bugs.BUGS]
    source = "\n".join(part.strip("\n") for part in parts)
    return "\n".join(_wrapped(line) for line in source.splitlines()) + "\n"


def _wrapped(line: str) -> str:
    """A line of text in lines of 80 characters, none of which starts like a macro; a macro line as it is."""
    if line.startswith(".") or len(line) <= WIDTH:
        return line
    wrapped = textwrap.wrap(line, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "\n".join(r"\&" + part if part.startswith((".", "'")) else part for part in wrapped)

"""What the Typer app declares, as plain data: the one thing that help, man page and completions read."""

from __future__ import annotations

from typing import Any, NamedTuple

from rprun.cli import values

# What completes a value, by its metavar; `words` are listed in `Option.words`.
COMPLETES = {"DEST": "file", "DIR": "directory", "NAME": "variable", "NAME=VALUE": "assignment"}
DURATIONS = ("500ms", "10s", "1m", "1h")


class Option(NamedTuple):
    """One option: `names` as typed, long ones first; `metavar` is empty for a flag."""

    names: tuple[str, ...]
    dest: str
    metavar: str
    help: str
    panel: str
    multiple: bool
    default: str

    @property
    def short_help(self) -> str:
        """The first sentence, without its full stop."""
        return self.help.partition(". ")[0].rstrip(".")

    @property
    def completes(self) -> str:
        """`file`, `directory`, `variable`, `assignment`, `list` (of words, by commas) or `words`; else empty."""
        if self.metavar in COMPLETES:
            return COMPLETES[self.metavar]
        return ("list" if self.metavar in ("CATEGORIES", "CATEGORY=NAME") else "words") if self.metavar else ""

    @property
    def words(self) -> tuple[str, ...]:
        """The values a completion offers."""
        if self.metavar == "CATEGORIES":
            return (*values.CATEGORIES, "all")
        if self.metavar == "CATEGORY=NAME":
            return tuple(f"{category}={name}" for category, names in values.BACKENDS.items() for name in names)
        if self.metavar == "SIG":
            # The names every Unix has: a generated file must not depend on where it was generated.
            return ("TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2", "ALRM", "STOP", "CONT")
        known = {"DUR": DURATIONS, "COLSxROWS": ("80x24", "120x40", "132x43")}
        return known.get(self.metavar, tuple(self.metavar.split("|")) if "|" in self.metavar else ())


class Command(NamedTuple):
    """A command with its own options, and the subcommands below it."""

    name: str
    help: str
    usage: tuple[str, ...]
    options: tuple[Option, ...]
    subcommands: tuple[Command, ...] = ()


def _option(param: Any) -> Option:
    """One parameter object of click."""
    names = tuple(sorted(param.opts, key=lambda name: (not name.startswith("--"), name)))
    flag = bool(param.is_flag)
    default = param.default if isinstance(param.default, str) else ""
    panel = getattr(param, "rich_help_panel", None) or "Options"
    return Option(
        names=names,
        dest=param.name,
        metavar="" if flag else param.metavar,
        help=" ".join((param.help or "").split()),
        panel=panel,
        multiple=bool(param.multiple),
        default=default,
    )


def _options(command: Any, panel: str) -> tuple[Option, ...]:
    """The options of one command, and `--help`, which click adds only when it parses."""
    declared = tuple(_option(param) for param in command.params if param.param_type_name == "option")
    return (*declared, Option(("--help", "-h"), "help", "", "Print this help.", panel, False, ""))


def read() -> Command:
    """The whole command line."""
    from rprun.cli.app import OTHER, root_command

    root = root_command()
    subcommands = []
    for name, command in sorted(root.commands.items()):
        options = _options(command, "Options")
        words = " ".join(f"[{option.names[0]}]" for option in options if option.dest != "help")
        subcommands.append(Command(name, command.help.strip(), (f"rprun {name} {words}",), options))
    usage = ("rprun [OPTIONS] [--] COMMAND [ARG]...", *(sub.usage[0] for sub in subcommands))
    return Command("rprun", root.help.strip(), usage, _options(root, OTHER), tuple(subcommands))

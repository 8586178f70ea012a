"""Plain argument lists are parsed here without importing Typer, which would cost 80 ms before the command starts.

`parse` knows what the generated table says and nothing more. Whatever it cannot vouch for (help, a mistake, a
subcommand) it leaves to Typer, which has the words for it; a property test holds the two equal.
"""

from __future__ import annotations

from rprun.cli._argv_table import LONG, SHORT, SUBCOMMANDS
from rprun.cli.finish import finish
from rprun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.runner.options import RunOptions


def split(args: list[str]) -> tuple[list[str], list[str], bool]:
    """Cut an argument list where the options end.

    Returns:
        The options with their values; the command and its arguments; whether a `--` stood between them. After an
        option that does not exist nothing can be told apart, so it is the last of the options.
    """
    at = 0
    while at < len(args):
        word = args[at]
        if word == "--":
            return args[:at], args[at + 1 :], True
        if len(word) < 2 or not word.startswith("-"):
            break
        at += 1
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            if name not in LONG:
                return args[:at], [], False
            if LONG[name][1] != "flag" and not equals:
                at += 1
    return args[:at], args[at:], False


def parse(args: list[str]) -> RunOptions | None:
    """The options of a run, or None where Typer is to look at the arguments."""
    options, command, dashes = split(args)
    if not command and (dashes or not options):
        return None
    if command and not dashes and command[0] in SUBCOMMANDS:
        return None
    raw = _collect(options)
    if raw is None:
        return None
    try:
        return finish(raw, tuple(command))
    except UsageError:
        return None


def _collect(options: list[str]) -> dict[str, object] | None:
    """What was typed, by destination; None at the first thing that is not in the table."""
    raw: dict[str, object] = {}
    words = iter(options)
    for word in words:
        if not word.startswith("--"):
            for letter in word[1:]:
                if letter not in SHORT:
                    return None
                raw[SHORT[letter]] = True
            continue
        name, equals, value = word.partition("=")
        dest, kind = LONG.get(name, ("", ""))
        if not dest:
            return None
        if kind == "flag":
            if equals:
                return None
            raw[dest] = True
            continue
        if not equals:
            following = next(words, None)
            if following is None:
                return None
            value = following
        if kind == "each":
            texts = raw.setdefault(dest, [])
            assert isinstance(texts, list)
            texts.append(value)
        else:
            raw[dest] = value
    return raw

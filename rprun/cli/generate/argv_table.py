"""The table of the start-up parser: names, destinations, and whether a value follows."""

from __future__ import annotations

from rprun.cli import table

HEADER = '''"""The command line as the start-up parser needs it, so that Typer stays unimported.

Generated from rprun/cli/app.py by `python -m rprun.cli.generate --write`; not to be edited.
"""

from __future__ import annotations

'''


def _kind(option: table.Option) -> str:
    """`flag`, `one` (the last wins) or `each` (they accumulate)."""
    if not option.metavar:
        return "flag"
    return "each" if option.multiple else "one"


def render() -> str:
    """The module's source."""
    root = table.read()
    # Options that print something and leave are not in what the table vouches for.
    options = [option for option in root.options if option.dest not in ("help", "version")]
    lines = [HEADER + "# Name: (destination, kind); `one`: the last wins, `each`: they accumulate."]
    lines.append("LONG: dict[str, tuple[str, str]] = {")
    for option in options:
        lines += [f'    "{name}": ("{option.dest}", "{_kind(option)}"),' for name in option.names if name[:2] == "--"]
    lines += ["}", "# Letter: destination. No short option takes a value.", "SHORT: dict[str, str] = {"]
    for option in options:
        lines += [f'    "{name[1:]}": "{option.dest}",' for name in option.names if name[:2] != "--"]
    words = ", ".join(f'"{subcommand.name}"' for subcommand in root.subcommands)
    return "\n".join([*lines, "}", f"SUBCOMMANDS: frozenset[str] = frozenset(({words},))"]) + "\n"

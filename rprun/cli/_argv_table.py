"""The command line as the start-up parser needs it, so that Typer stays unimported.

Generated from rprun/cli/app.py by `python -m rprun.cli.generate --write`; not to be edited.
"""

from __future__ import annotations

# Name: (destination, kind); `one`: the last wins, `each`: they accumulate.
LONG: dict[str, tuple[str, str]] = {
    "--pty": ("pty", "flag"),
    "--pipe": ("pipe", "flag"),
    "--split-stderr": ("split_stderr", "flag"),
    "--size": ("size", "one"),
    "--drain": ("drain", "one"),
    "--observe": ("observe", "each"),
    "--json": ("json", "flag"),
    "--events": ("events", "one"),
    "--require": ("require", "each"),
    "--backend": ("backends", "each"),
    "--timeout": ("timeout", "one"),
    "--idle-timeout": ("idle_timeout", "one"),
    "--signal": ("signal", "one"),
    "--kill-after": ("kill_after", "one"),
    "--orphans": ("orphans", "one"),
    "--cwd": ("cwd", "one"),
    "--env": ("env", "each"),
    "--env-unset": ("env_unset", "each"),
}
# Letter: destination. No short option takes a value.
SHORT: dict[str, str] = {
    "t": "pty",
    "T": "pipe",
}
SUBCOMMANDS: frozenset[str] = frozenset(("capabilities",))

"""The start-up path is guarded by what it imports, which is counted, and not by how long it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import clean_environment

HEAVY = {
    "typer", "click", "rich", "pydantic", "psutil", "dataclasses", "inspect", "typing", "json", "logging", "asyncio", "re",
    "enum", "signal", "subprocess", "threading", "functools", "collections", "pathlib", "shutil", "contextlib", "struct",
}  # fmt: skip

EVERY_OPTION = [
    "--pty", "--split-stderr", "--size=80x24", "--drain=inf", "--observe=all", "--json", "--events=-", "--require=file",
    "--timeout=1m", "--idle-timeout=1s", "--signal=TERM", "--kill-after=1s", "--orphans=kill", "--cwd=/", "--env=A=b",
    "--env-unset=C",
]  # fmt: skip


def imported_by(source: str) -> set[str]:
    """The modules a bare interpreter has after running this source, beyond those it starts with.

    `-I -S` keeps site-packages' own start-up files, which import what they like, out of the count; `os` is what
    the interpreter's own start-up would have loaded.
    """
    program = f"import os, sys; before = set(sys.modules)\n{source}\nprint(*sorted(set(sys.modules) - before))"
    path = f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", path + program], capture_output=True, text=True, check=True, env=clean_environment(),
        timeout=60,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("options", [[], ["--pipe"], EVERY_OPTION], ids=["plain", "pipe", "everything"])
def test_parsing_imports_only_small_modules(options: list[str]) -> None:
    """Parsing a run's arguments imports this package's own modules and nothing heavy."""
    found = imported_by(f"from rprun.cli.argv import parse\nassert parse({[*options, '--', 'true']!r}) is not None")
    assert not {name.partition(".")[0] for name in found} & HEAVY
    assert {name for name in found if not name.startswith("rprun")} <= {"__future__"}


def test_values_are_imported_only_when_there_are_any() -> None:
    """A run without valued options does not load their parsers."""
    assert "rprun.cli.values" not in imported_by("from rprun.cli.argv import parse\nparse(['-t', '--', 'true'])")


def test_main_imports_nothing_more() -> None:
    """The program's entry point adds only itself and the error classes."""
    found = imported_by("import rprun.__main__")
    assert {name for name in found if not name.startswith("rprun")} <= {"__future__"}
    assert "rprun.cli.app" not in found

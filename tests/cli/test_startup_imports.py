"""The start-up path is guarded by what it imports, which is counted, and not by how long it takes.

Parsing and the entry point are looked at inside a bare interpreter; whole runs as the processes that users start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from running import clean_environment, run

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    "typer",
    "click",
    "rich",
    "pydantic",
    "psutil",
    "dataclasses",
    "inspect",
    "typing",
    "json",
    "logging",
    "asyncio",
    "re",
    "enum",
    "signal",
    "subprocess",
    "threading",
    "functools",
    "collections",
    "pathlib",
    "shutil",
    "contextlib",
    "struct",
}

EVERY_OPTION = [
    "--pty",
    "--split-stderr",
    "--size=80x24",
    "--drain=inf",
    "--observe=all",
    "--json",
    "--events=-",
    "--require=file",
    "--backend=file=ebpf",
    "--timeout=1m",
    "--idle-timeout=1s",
    "--signal=TERM",
    "--kill-after=1s",
    "--orphans=kill",
    "--cwd=/",
    "--env=A=b",
    "--env-unset=C",
]


def imported_by(source: str) -> set[str]:
    """The modules a bare interpreter has after running this source, beyond those it starts with.

    `-I -S` keeps site-packages' own start-up files, which import what they like, out of the count; `os` is what
    the interpreter's own start-up would have loaded.
    """
    program = f"import os, sys; before = set(sys.modules)\n{source}\nprint(*sorted(set(sys.modules) - before))"
    path = f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", path + program],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
        timeout=60,
    )
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


# What no run without events may import, from its start to its end, the monitor included.
NEVER = {
    "typer", "click", "rich", "pydantic", "psutil", "dataclasses", "inspect", "typing", "json", "logging", "asyncio",
    "re", "enum", "signal", "subprocess", "threading", "ctypes",
}  # fmt: skip
# `from __future__ import annotations` is a word to the compiler; that it is a module too costs 60 microseconds.
COMPILER = {"__future__"}
# How many modules of this package a run may import. A new one is a decision: each costs about 0.2 ms.
RUNS = {"--pipe": 26, "": 26, "--pty": 30}


def imported_in_a_process(directory: Path, *args: str) -> set[str]:
    """Every module that a Python process imports, and those that it forks as well (`-X importtime` tells on stderr)."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *args],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=clean_environment(),
        timeout=60,
    )
    lines = done.stderr.splitlines()
    told = [line for line in lines if line.startswith("import time:")]
    assert (done.returncode, told) == (0, lines), done.stderr
    return {line.rpartition("|")[2].strip() for line in told} - {"imported package"}


@pytest.mark.parametrize("transport", RUNS)
def test_a_whole_run_imports_no_more_than_ptyprocess(transport: str, tmp_path: Path) -> None:
    """Beside a counted number of small modules of its own, a run imports only what `import ptyprocess` does."""
    (tmp_path / "nothing.py").touch()
    # What the interpreter imports to start anything, and to find the module that `-m` names.
    interpreter = imported_in_a_process(tmp_path, "-m", "nothing")
    ptyprocess = imported_in_a_process(tmp_path, "-c", "import ptyprocess")
    words = [word for word in (transport, "--", "true") if word]
    found = imported_in_a_process(tmp_path, "-m", "rprun", *words) - interpreter
    assert not {name.partition(".")[0] for name in found} & NEVER
    own = {name for name in found if name.partition(".")[0] == "rprun"}
    assert found - own <= ptyprocess | set(sys.builtin_module_names) | COMPILER
    assert "rprun.runner.run" in own
    assert not {name for name in own if name.startswith(("rprun.backends", "rprun.observe"))}
    assert len(own) <= RUNS[transport], sorted(own)


def test_an_observed_run_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """Unless by snapshots, where psutil imports what it likes."""
    rows = json.loads(run("capabilities", "--json").stdout)
    if any(row["backend"] == "psutil-poll" for row in rows):
        pytest.skip("this host is observed by snapshots")
    words = ("--observe", "all", "--json", "--events", str(tmp_path / "events"), "--", "true")
    found = imported_in_a_process(tmp_path, "-m", "rprun", *words)
    assert not found & {*NEVER - {"enum", "threading", "ctypes"}, "socket", "selectors", "array", "pathlib", "shutil"}


def test_psutil_is_imported_for_snapshots_only(tmp_path: Path) -> None:
    """A run that another backend observes does not load psutil; where snapshots are all there is, it has to."""
    rows = json.loads(run("capabilities", "--json").stdout)
    by_snapshots = {row["backend"] for row in rows} & {"psutil-poll", "none"}
    words = ("--observe", "all", "--events", str(tmp_path / "events"), "--", "true")
    found = imported_in_a_process(tmp_path, "-m", "rprun", *words)
    assert ("psutil" in found) == bool(by_snapshots)
    forced = imported_in_a_process(tmp_path, "-m", "rprun", "--backend", "process=psutil-poll", *words)
    assert "psutil" in forced

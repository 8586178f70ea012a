"""Running commands under observation, and the events that come of it, each held against the schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from running import children_of, rprun_argv, run, stat_fields

from rprun.observe.schema import render

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BACKEND = "seccomp-user-notify"
REPEAT = int(os.environ.get("RPRUN_REPEAT", "1"))
"""How many times as much the heavy tests do; CI raises it at night."""

WITHOUT_PRIVILEGE = () if os.geteuid() else ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Words before a command that is to find no better backend than an ordinary user does (setpriv(1))."""

VALIDATOR = jsonschema.Draft202012Validator(json.loads(render()))
Events = list[dict[str, Any]]


def options(events: Path | str, categories: str = "all") -> tuple[str, ...]:
    """Options of a run that is observed by the backend under test, whatever better one this host has."""
    observed = ("file", "network", "process") if categories == "all" else categories.split(",")
    backends = ",".join(f"{category}={BACKEND}" for category in observed)
    return "--observe", categories, "--backend", backends, "--json", "--events", str(events)


def observe(
    tmp_path: Path, *command: str | bytes, with_options: Iterable[str] = (), categories: str = "all", **settings: Any
) -> tuple[subprocess.CompletedProcess[bytes], Events]:
    """Run a command under observation to its end; its result and the events."""
    path = tmp_path / "events"
    result = run(*options(path, categories), *with_options, "--", *command, **settings)
    assert path.exists(), result
    return result, read_events(path)


def read_events(path: Path) -> Events:
    """Read a file of events, all of which must be valid, and numbered without a gap."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    # One of each shape: the validator is slow.
    shapes = {(event["kind"], *((name, type(value)) for name, value in event.items())): event for event in events}
    for event in shapes.values():
        VALIDATOR.validate(event)
    return events


def of_kind(events: Events, *kinds: str) -> Events:
    """The events of some kinds, in order."""
    return [event for event in events if event["kind"] in kinds]


def paths(events: Events, kind: str, below: Path) -> list[str]:
    """The paths of one kind of event that lie below a directory, relative to it."""
    found = [event["path"] for event in of_kind(events, kind) if event["path"]]
    return [os.path.relpath(path, below) for path in found if path.startswith(f"{below}/")]


def lost(events: Events, category: str | None = None) -> int:
    """How many events are said to be lost: of a category, or at most, as a loss is said of each that it may be of."""
    counts: Counter[str] = Counter()
    for event in of_kind(events, "lost"):
        counts[event["category"]] += event["count"]
    return counts[category] if category else max(counts.values(), default=0)


def supervisor_of(rprun: int) -> int | None:
    """The supervisor of a running rprun, a child that leads a session in the root directory; None if there is none."""
    for child in children_of(rprun):
        fields = stat_fields(child)
        try:
            # state, ppid, pgrp, session. The monitor may lead a session too, and has the same memory.
            at_root = os.readlink(f"/proc/{child}/cwd") == "/"
        except OSError:
            continue
        if at_root and fields and int(fields[3]) == child and "rprun-observation" in maps_of(child):
            return child
    return None


def maps_of(pid: int) -> str:
    """What a process has mapped."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


@cache
def unavailable() -> str:
    """Why observation does not work here; empty if it does."""
    rows = capabilities(*rprun_argv())
    row = next(row for row in rows if row["category"] == "file" and row["backend"] == BACKEND)
    return row["reason"] if row["support"] == "unavailable" else ""


def capabilities(*rprun: str, **settings: Any) -> list[dict[str, str]]:
    """The matrix with every candidate, as some rprun sees it."""
    text = subprocess.run(
        [*rprun, "capabilities", "--json", "--all"], check=True, capture_output=True, timeout=60, **settings
    ).stdout
    found: list[dict[str, str]] = json.loads(text)
    return found


def reasons(rows: list[dict[str, str]]) -> dict[str, tuple[str, str]]:
    """Support and reason of the backend under test by category."""
    return {row["category"]: (row["support"], row["reason"]) for row in rows if row["backend"] == BACKEND}


def is_privileged() -> bool:
    """Tell whether this process has CAP_SYS_ADMIN (include/uapi/linux/capability.h), as root mostly has."""
    with open("/proc/self/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return bool(int(fields["CapEff"], 16) >> 21 & 1)


def python(program: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs a Python program, with as little of a start as can be."""
    return sys.executable, "-I", "-S", "-c", program, *arguments


def compile_c(tmp_path: Path, source: str, *flags: str) -> str:
    """Compile a C program; skips where there is no compiler."""
    compiler = next((name for name in ("gcc", "cc", "clang") if _finds(name)), None)
    if compiler is None:
        pytest.skip("a C compiler is missing")
    (tmp_path / "program.c").write_text(source)
    target = tmp_path / "program"
    subprocess.run([compiler, "-O1", *flags, "-o", target, tmp_path / "program.c"], check=True, capture_output=True)
    return str(target)


def _finds(name: str) -> bool:
    return any(os.access(os.path.join(part, name), os.X_OK) for part in os.get_exec_path())

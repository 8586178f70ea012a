"""Commands that snapshots are taken of. Each waits until it has been seen: how soon that is nobody can promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

import jsonschema
from running import PATIENCE, clean_environment, descendants_of, kill_quietly, rprun_argv, wait_until

from rprun.observe.schema import render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NAME = "psutil-poll"
ALL = ("process", "file", "network")
VALIDATOR = jsonschema.Draft202012Validator(json.loads(render()))
WITHOUT_PRIVILEGE = () if os.geteuid() else ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Words before a command that is to have no more rights than an ordinary user's (setpriv(1))."""

Events = list[dict[str, Any]]


def options(events: Path, *categories: str) -> list[str]:
    """Options of a run that is observed by snapshots."""
    observed = categories or ALL
    backends = ",".join(f"{category}={NAME}" for category in observed)
    names = ",".join(("lifecycle", *observed))
    return ["--observe", names, "--backend", backends, "--json", "--events", str(events)]


def python(program: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs a Python program, with as little of a start as can be."""
    return sys.executable, "-I", "-S", "-c", program, *arguments


class Polled:
    """A command under rprun that does one step for each line that it is given, and what is seen of it meanwhile."""

    def __init__(
        self,
        directory: Path,
        *command: str,
        categories: Sequence[str] = (),
        before: Sequence[str] = (),
        more: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.path = directory / "events"
        words = [*before, *rprun_argv(), *options(self.path, *categories), *more, "--", *command]
        chosen = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": clean_environment()} | settings
        self.process = subprocess.Popen(words, **chosen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            for pid in [*descendants_of(self.process.pid), self.process.pid]:
                kill_quietly(pid)
        self.process.communicate(timeout=PATIENCE)

    def events(self) -> Events:
        """What has been written by now."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def until(self, found: Callable[[dict[str, Any]], object], what: str = "") -> dict[str, Any]:
        """Wait for an event; return it."""
        return next(iter(wait_until(lambda: [event for event in self.events() if found(event)], what, 3 * PATIENCE)))

    def until_seen(self, **fields: object) -> dict[str, Any]:
        """Wait for an event with these values; return it."""
        return self.until(lambda event: fields.items() <= event.items(), str(fields))

    def go_on(self) -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """Read a line of what it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def end(self, status: int = 0) -> Events:
        """Close its input, wait for its end, and return all events, each of which must be valid."""
        self.process.communicate(timeout=3 * PATIENCE)
        assert self.process.returncode == status
        events = self.events()
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        for event in events:
            VALIDATOR.validate(event)
        assert (events[0]["kind"], events[-1]["kind"]) == ("started", "exited")
        return events


def of_kind(events: Events, *kinds: str) -> Events:
    """The events of some kinds, in order."""
    return [event for event in events if event["kind"] in kinds]


def about(events: Events, pid: int) -> list[str]:
    """The kinds of what is told of a process, in order; not what it has open, as a library for a moment."""
    kinds = [event["kind"] for event in events if event["pid"] == pid]
    return [kind for kind in kinds if not kind.startswith(("file-", "net-"))]

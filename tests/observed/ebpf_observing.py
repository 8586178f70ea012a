"""Commands that eBPF observes, run from the outside, and where that is possible at all."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from observing import capabilities, read_events
from running import (
    clean_environment,
    rprun_argv,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from observing import Events

ALL = ("file", "network", "process")


@cache
def unavailable() -> str:
    """Why eBPF does not work here; empty if it does."""
    row = next(row for row in capabilities(*rprun_argv()) if row["backend"] == "ebpf")
    if row["support"] != "unavailable":
        return ""
    return "CAP_BPF is missing, which only root has" if "permitted" in row["reason"] else row["reason"]


def needs_ebpf() -> None:
    """Skip where it is unavailable."""
    if reason := unavailable():
        pytest.skip(reason)


def options(events: Path | str, *categories: str, backends: str = "") -> tuple[str, ...]:
    """Options of a run that eBPF observes, unless other backends are given."""
    observed = categories or ALL
    backends = backends or ",".join(f"{category}=ebpf" for category in observed)
    names = ",".join(("lifecycle", *observed))
    return "--observe", names, "--backend", backends, "--json", "--events", str(events)


def observe(
    tmp_path: Path,
    *command: str | bytes,
    before: Iterable[str] = (),
    more: Iterable[str] = (),
    categories: Iterable[str] = (),
    backends: str = "",
    **settings: Any,
) -> tuple[subprocess.CompletedProcess[bytes], Events]:
    """Run a command to its end, under rprun which some words start; its result and the events."""
    needs_ebpf()
    path = tmp_path / "events"
    result = subprocess.run(
        [*before, *rprun_argv(), *options(path, *categories, backends=backends), *more, "--", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        **{"timeout": 60, "env": clean_environment()} | settings,
    )
    assert path.exists(), result
    return result, read_events(path)


def works(*words: str) -> bool:
    """Tell whether a program is there and may do what it is for."""
    return (
        bool(shutil.which(words[0]))
        and not subprocess.run([*words, "true"], check=False, capture_output=True).returncode
    )


def kinds(events: Events) -> Counter[str]:
    """How many events there are of each kind."""
    return Counter(event["kind"] for event in events)

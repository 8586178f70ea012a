"""Commands that eBPF observes, run from the outside, and where that is possible at all."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from observing import capabilities, read_events
from running import (
    clean_environment,
    rprun_argv,
)

from rprun.linux import bpf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from observing import Events

ALL = ("file", "network", "process")
# enum bpf_cmd, and what these take of union bpf_attr: start_id, next_id (include/uapi/linux/bpf.h).
PROG_GET_NEXT_ID, MAP_GET_NEXT_ID, LINK_GET_NEXT_ID = 11, 12, 31
NEXT_ID = struct.Struct("=2I")


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


def objects() -> set[tuple[str, int]]:
    """What kinds of eBPF objects the host has, and their ids.

    They are not opened. bpftool(8) opens each that it shows, and Linux 6.18 never frees a PROG_ARRAY that is opened in
    the moment after its last descriptor was closed.
    """
    found: set[tuple[str, int]] = set()
    for name, number in (("program", PROG_GET_NEXT_ID), ("map", MAP_GET_NEXT_ID), ("link", LINK_GET_NEXT_ID)):
        attributes = ctypes.create_string_buffer(NEXT_ID.size)
        with suppress(FileNotFoundError):
            while True:
                try:
                    bpf.command_in_place(number, attributes, NEXT_ID.size)
                except PermissionError:
                    pytest.skip("CAP_SYS_ADMIN is missing, which only root has")
                _, found_id = NEXT_ID.unpack(attributes)
                found.add((name, found_id))
                NEXT_ID.pack_into(attributes, 0, found_id, 0)
    return found


def works(*words: str) -> bool:
    """Tell whether a program is there and may do what it is for."""
    return (
        bool(shutil.which(words[0]))
        and not subprocess.run([*words, "true"], check=False, capture_output=True).returncode
    )


def kinds(events: Events) -> Counter[str]:
    """How many events there are of each kind."""
    return Counter(event["kind"] for event in events)

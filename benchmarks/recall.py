"""Recall: how much of what happens snapshots show. `python -m benchmarks.recall` prints the table.

The backend of which that is asked runs within a run of another one, which sees every call: `ebpf`, or without
privilege `seccomp-user-notify`. So both tell of the same processes, and what is compared is who did what.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.measure import FailedError, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    Events = list[dict[str, Any]]

_WORKLOADS = Path(__file__).resolve().parents[1] / "tests/foreign/workloads"
_CATEGORIES = "process,file,network"
_POLL = "psutil-poll"
_BEST = ("ebpf", "seccomp-user-notify")
_ROUNDS = 3


class Share(NamedTuple):
    """What was seen of one kind of thing: how many there were, how many of them were told, and how many besides."""

    what: str
    there: int
    told: int
    besides: int


def main() -> int:
    """Print the shares of each workload, all rounds together."""
    rprun = str(Path(sys.executable).with_name("rprun"))
    best = next(name for name in _BEST if _works(rprun, name))
    print(f"| what `{best}` saw, and the share of it that `{_POLL}` told | number | told | share | besides |")
    print("| --- | --- | --- | --- | --- |")
    for title, prepare in (("C build of 160 files, `make -j2`", _build), ("server with 4 workers, 10 s", _serve)):
        found: dict[str, list[Share]] = {}
        for _ in range(_ROUNDS):
            with tempfile.TemporaryDirectory() as scratch:
                for share in compare(rprun, best, prepare(Path(scratch)), Path(scratch)):
                    found.setdefault(share.what, []).append(share)
        for what, shares in found.items():
            there, told = sum(each.there for each in shares), sum(each.told for each in shares)
            besides = sum(each.besides for each in shares)
            if there:
                print(f"| {title}: {what} | {there:,} | {told:,} | {told / there:.0%} | {besides:,} |", flush=True)
    print(f"\n{_ROUNDS} rounds, on {os.cpu_count()} CPUs with {len(_numbers())} processes beside.")
    return 0


def compare(rprun: str, best: str, argv: Sequence[str], scratch: Path) -> list[Share]:
    """Run a command under both, one within the other, and compare what they tell of the inner one's tree.

    Raises:
        FailedError: the command did.
    """
    outer, inner = scratch / "outer", scratch / "inner"
    command = [*_words(rprun, best, outer), *_words(rprun, _POLL, inner), *argv]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment(), check=False)
    if done.returncode:
        raise FailedError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.decode()}")
    seen, told = _read(outer), _read(inner)
    root = next(event["pid"] for event in told if event["kind"] == "started")
    tree = _tree(seen, root)
    seen = [event for event in seen if event["pid"] in tree and event.get("result", "ok") in {"ok", "EINPROGRESS"}]
    kinds = (
        ("processes", ("descendant-started",)),
        ("programs", ("exec",)),
        ("open files", ("file-open",)),
        ("listening sockets", ("net-listen",)),
        ("connections made", ("net-connect",)),
        ("connections accepted", ("net-accept",)),
    )
    return [_share(what, _items(seen, names), _items(told, names)) for what, names in kinds]


def _share(what: str, there: Counter[object], told: Counter[object]) -> Share:
    return Share(what, there.total(), (there & told).total(), (told - there).total())


def _items(events: Events, kinds: Sequence[str]) -> Counter[object]:
    """Return what was done by whom: a file counts once for each process that opens it, as a name that is resolved."""
    found: Counter[object] = Counter()
    for event in events:
        if event["kind"] not in kinds:
            continue
        pid, kind = event["pid"], event["kind"]
        if kind == "file-open":
            path = os.path.realpath(event["path"] or "")
            # Only regular files are looked at. What is not there any more was one, as far as is known.
            if os.path.isfile(path) or not os.path.exists(path):
                found[pid, path] = 1
        elif kind == "exec":
            found[pid, os.path.realpath(event["path"] or "")] += 1
        elif kind == "descendant-started":
            found[pid] += 1
        elif event["family"] in {"inet", "inet6"}:
            found[pid, kind, event["address"], event["port"]] += 1
    return found


def _tree(events: Events, root: int) -> set[int]:
    tree = {root}
    for event in events:
        if event["kind"] == "descendant-started" and event["ppid"] in tree:
            tree.add(event["pid"])
    return tree


def _words(rprun: str, backend: str, events: Path) -> list[str]:
    backends = ",".join(f"{category}={backend}" for category in _CATEGORIES.split(","))
    return [
        *(rprun, "--observe", f"lifecycle,{_CATEGORIES}", "--backend", backends, "--json", "--events", str(events)),
        "--",
    ]


def _read(path: Path) -> Events:
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lost = sum(event["count"] for event in events if event["kind"] == "lost")
    if lost:
        raise FailedError(f"{lost} events were lost: the figures would mean nothing")
    return events


def _build(scratch: Path) -> list[str]:
    project = scratch / "project"
    project.mkdir()
    subprocess.run([sys.executable, _WORKLOADS / "c_build.py", project, "160"], check=True)
    return [shutil.which("make") or "make", "-j2", "-C", str(project), "CC=gcc"]


def _serve(scratch: Path) -> list[str]:
    directory = scratch / "pages"
    directory.mkdir()
    return [sys.executable, "-ISs", str(_WORKLOADS / "server.py"), str(directory), "10"]


def _works(rprun: str, backend: str) -> bool:
    words = [rprun, "--backend", f"file={backend}", "--require", "file=partial", "--", "true"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def _numbers() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


if __name__ == "__main__":
    sys.exit(main())

"""The machine code takes the usual records of a run, and with it or without it the same is told."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from by_interpreter import executable
from ebpf_observing import observe, options
from observing import Events, lost, maps_of, of_kind
from running import read_until, start

if TYPE_CHECKING:
    from pathlib import Path

# Files that are opened again and again, by several threads too, written to, inherited, left open, and not there.
PROGRAM = """
import os, sys, threading
def read(times):
    for _ in range(times):
        for path in ("/etc/passwd", "/etc/hostname", "/nothing"):
            try:
                os.close(os.open(path, os.O_RDONLY))
            except OSError:
                pass
read(30)
for number in range(3):
    with open(f"made{number % 2}", "w") as file:
        file.write("x" * number)
    read(2)
os.dup2(os.open("/etc/passwd", os.O_RDONLY), 100)
os.dup2(os.open("/etc/hostname", os.O_RDONLY), 300)
if os.fork() == 0:
    read(3)
    os._exit(0)
os.wait()
left = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(int(sys.argv[1]))]
"""


def told(events: Events) -> list[dict[str, Any]]:
    """What is told of files, but for what differs between two runs."""
    drop = {"seq", "timestamp_ms", "pid"}
    return [
        {name: value for name, value in event.items() if name not in drop}
        for event in events
        if event["category"] == "file"
    ]


@pytest.mark.parametrize("left", [3, 400])
def test_the_same_is_told(left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files of all kinds, in the same order; and all has the numbers 1, 2, 3."""
    both = []
    for way in ("machine code", "interpreter"):
        if way == "interpreter":
            monkeypatch.setenv("RPRUN", executable(tmp_path))
        result, events = observe(tmp_path, sys.executable, "-ISBc", PROGRAM, str(left), cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, b"")
        assert not lost(events)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        both.append(told(events))
    assert len(both[0]) > 200 + left
    for one, other in zip(*both, strict=True):
        assert one == other


def test_threads_that_open_and_close_at_once(tmp_path: Path) -> None:
    """Each open that went well has one close, whoever of the threads got the number next."""
    program = PROGRAM + (
        "threads = [threading.Thread(target=read, args=(2000,)) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    result, events = observe(tmp_path, sys.executable, "-ISBc", program, "0", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    assert not lost(events)
    for path in ("/etc/passwd", "/etc/hostname"):
        opens = [e for e in of_kind(events, "file-open") if e["path"] == path and e["result"] == "ok"]
        closes = [e for e in of_kind(events, "file-close") if e["path"] == path]
        assert len(opens) > 8000
        assert len(closes) == len(opens), path
    assert None not in [event["path"] for event in of_kind(events, "file-close")]


def test_it_is_used(tmp_path: Path) -> None:
    """Where there is machine code it is used: the object is mapped into rprun."""
    if os.uname().machine != "x86_64":
        pytest.skip("there is machine code for x86_64 only")
    observe(tmp_path, "true")
    with start(*options(tmp_path / "events"), "--", "sh", "-c", "echo ready; read line", stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        read_until(process.stdout.fileno(), b"ready")
        assert "usual_x86_64.so" in maps_of(process.pid)
        process.stdin.close()
        process.wait(20)

"""Snapshots show processes: who is new, what they run, and who has ended; and nothing that was not so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from polling import NAME, Polled, about, of_kind, options, python
from running import run

# One step for each line that comes in; every step says what there is to look for.
FORK = """
import os, sys
children = []
for _ in range(2):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(5)
    print(child, flush=True)
    children.append((child, reader, writer))
    sys.stdin.readline()
for child, reader, writer in children:
    os.write(writer, b"!")
    os.waitpid(child, 0)
    print("reaped", flush=True)
    sys.stdin.readline()
"""

# The child C goes on after its parent has ended, and only then has a child of its own.
ORPHANS = """
import os, sys
end, go, told = os.pipe(), os.pipe(), os.pipe()
parent = os.fork()
if parent == 0:
    child = os.fork()
    if child:
        os.write(told[1], b"%d " % child)
        os.read(end[0], 1)
        os._exit(0)
    os.read(go[0], 1)
    grandchild = os.fork()
    if grandchild:
        os.write(told[1], b"%d " % grandchild)
    os.close(go[1])
    os.read(go[0], 1)
    os._exit(0)
print(parent, os.read(told[0], 100).decode(), flush=True)
sys.stdin.readline()
os.write(end[1], b"!")
os.waitpid(parent, 0)
print("ended", flush=True)
sys.stdin.readline()
os.write(go[1], b"!")
print(os.read(told[0], 100).decode(), flush=True)
sys.stdin.readline()
"""

# Ends at once, so that its child is an orphan before anybody can look.
ABANDON = """
import os, sys
reader, writer = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)
    os._exit(0)
os.wait()
sys.stdin.readline()
"""

# Writes another title where its arguments are, and then starts a child, which is seen in a later look.
TITLE = """
import os, sys
sys.stdin.readline()
fields = open("/proc/self/stat", "rb").read().rpartition(b")")[2].split()
with open("/proc/self/mem", "r+b", buffering=0) as memory:
    memory.seek(int(fields[45]))
    memory.write(b"another title")
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
print(child, open("/proc/self/cmdline").read().split("\\0")[0], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the command runs, as the kernel names it."""
    return tmp_path.resolve()


def test_the_command_itself(directory: Path) -> None:
    """Its program, arguments and directory are told, without outcome or attempt; its start and end are lifecycle."""
    with Polled(directory, "cat", "-", more=("--cwd", str(directory))) as polled:
        seen = polled.until_seen(kind="exec")
        events = polled.end()
    assert (Path(seen["path"]).name, seen["argv"], seen["cwd"]) == ("cat", ["cat", "-"], str(directory))
    assert not {"result", "attempt"} & seen.keys()
    assert about(events, seen["pid"]) == ["started", "exec", "exited"]


def test_descendants(directory: Path) -> None:
    """A child's start with its parent, the program it has executed since, and its end without a status."""
    with Polled(directory, "sh", "-c", "cat; exit 3") as polled:
        seen = polled.until(lambda event: event.get("argv") == ["cat"])
        events = polled.end(3)
    child = seen["pid"]
    assert about(events, child) == ["descendant-started", "exec", "descendant-exited"]
    started, _, ended = [event for event in events if event["pid"] == child]
    assert started["ppid"] == events[0]["pid"]
    assert ended["exit_code"] is None


def test_a_fork_has_executed_nothing(directory: Path) -> None:
    """Children that run what their parent runs are started, and ended once they have been; no exec is told of them."""
    with Polled(directory, *python(FORK)) as polled:
        children = []
        for _ in range(2):
            children.append(int(polled.line()))
            polled.until_seen(kind="descendant-started", pid=children[-1])
            polled.go_on()
        for child in children:
            assert polled.line() == "reaped"
            polled.until_seen(kind="descendant-exited", pid=child)
            polled.go_on()
        events = polled.end()
    for child in children:
        assert about(events, child) == ["descendant-started", "descendant-exited"]
    assert len(of_kind(events, "exec")) == 1


def test_the_same_program_with_other_arguments(directory: Path) -> None:
    """By its arguments alone it could be told from no title; it is told by where the program lies in memory."""
    with Polled(directory, "sh", "-c", "read line; exec sh -c 'read line; read line; exit 4'") as polled:
        first = polled.until_seen(kind="exec")
        polled.go_on()
        second = polled.until(lambda event: event["kind"] == "exec" and event["seq"] > first["seq"])
        events = polled.end(4)
    assert first["path"] == second["path"]
    assert first["argv"] != second["argv"] == ["sh", "-c", "read line; read line; exit 4"]
    assert len(of_kind(events, "exec")) == 2


def test_a_title_is_no_program(directory: Path) -> None:
    """A process that writes over its arguments has executed nothing."""
    with Polled(directory, *python(TITLE)) as polled:
        polled.until_seen(kind="exec")
        polled.go_on()
        child, title = polled.line().split(" ", 1)
        assert title.startswith("another title")
        polled.until_seen(kind="descendant-started", pid=int(child))
        events = polled.end()
    assert len(of_kind(events, "exec")) == 1


def test_the_tree_is_followed_after_the_parents_end(directory: Path) -> None:
    """Whoever was seen once stays known, and so are its children."""
    with Polled(directory, *python(ORPHANS)) as polled:
        parent, child = map(int, polled.line().split())
        polled.until_seen(kind="descendant-started", pid=child, ppid=parent)
        polled.go_on()
        assert polled.line() == "ended"
        polled.until_seen(kind="descendant-exited", pid=parent)
        polled.go_on()
        grandchild = int(polled.line())
        polled.until_seen(kind="descendant-started", pid=grandchild, ppid=child)
        events = polled.end()
    assert len(of_kind(events, "descendant-started")) == 3


def test_an_orphan_that_nobody_saw_before(directory: Path) -> None:
    """Where orphans are the monitor's they are found, with their parent as it was seen, or null; no exec of a fork."""
    with Polled(directory, *python(ABANDON), more=("--orphans", "kill"), categories=["process"]) as polled:
        first = polled.until_seen(kind="exec")
        found = polled.until(
            lambda event: (
                event["kind"] == "descendant-started" and (event["ppid"] is None or event["ppid"] != first["pid"])
            )
        )
        events = polled.end()
    assert about(events, found["pid"])[:2] in (["descendant-started"], ["descendant-started", "descendant-exited"])
    assert len(of_kind(events, "exec")) == 1


def test_what_is_short_is_missed_and_that_is_said(directory: Path) -> None:
    """Of hundreds of programs of a millisecond some are not seen: no event is made up, and the matrix says why."""
    count = 400
    path = directory / "events"
    script = f"i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done"
    result = run(*options(path, "process"), "--", "sh", "-c", script)
    assert (result.returncode, result.stderr) == (0, b"")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    seen = [event for event in of_kind(events, "exec") if event["argv"] == ["/bin/true"]]
    assert len(seen) < count
    assert len({event["pid"] for event in seen}) == len(seen)
    rows = json.loads(run("capabilities", "--json", "--all").stdout)
    row = next(row for row in rows if (row["category"], row["backend"]) == ("process", NAME))
    assert row["support"] == "partial"
    assert "what comes and goes between two looks" in row["reason"]


@pytest.mark.parametrize("category", ["process", "file", "network"])
def test_only_what_was_asked_for(category: str, directory: Path) -> None:
    """Each category alone has its own events, and no others."""
    with Polled(directory, "sh", "-c", "exec 3</dev/null; cat", categories=[category]) as polled:
        polled.until_seen(kind="started")
        events = polled.end()
    assert {event["category"] for event in events} <= {"lifecycle", category}


def test_beside_another_backend(directory: Path) -> None:
    """What another backend tells of processes is not told a second time by the one that looks at files."""
    command = ("sh", "-c", "cat; exit 0")
    path = directory / "events"
    with Polled(
        directory, *command, categories=["file"], more=("--observe", "process", "--events", str(path))
    ) as polled:
        polled.until(lambda event: event.get("argv") == ["cat"])
        events = polled.end()
    started = [event["pid"] for event in of_kind(events, "descendant-started")]
    assert len(started) == len(set(started)) == 1
    assert os.path.basename(of_kind(events, "exec")[0]["path"]) in {"sh", "dash", "bash"}

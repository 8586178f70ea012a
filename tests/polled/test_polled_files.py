"""Snapshots show which files are open, by whom they were opened as far as that can be told, and nothing beyond."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from polling import Polled, of_kind, python

ACCESSES = """
import os, sys
kept = [os.open(name, flags | os.O_CREAT) for name, flags in
        (("read", os.O_RDONLY), ("write", os.O_WRONLY), ("append", os.O_WRONLY | os.O_APPEND), ("both", os.O_RDWR))]
sys.stdin.readline()
"""

# A file that is open before a fork, one that only the child opens, and what the child has in place of its output.
INHERITED = """
import os, sys
one = open("before", "w")
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    two = open("after", "w")
    os.dup2(os.open("output", os.O_WRONLY | os.O_CREAT), 1)
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
print(child, flush=True)
sys.stdin.readline()
"""

NAMES = """
import os, sys
kept = [open("first", "w")]
sys.stdin.readline()
os.rename("first", "second")
kept.append(open("mark", "w"))
sys.stdin.readline()
os.unlink("second")
kept.append(open("end", "w"))
sys.stdin.readline()
"""


def opened(events: list[dict[str, object]], below: Path) -> list[tuple[object, ...]]:
    """Process, path below a directory, and access, of each file that was opened there."""
    return [
        (event["pid"], os.path.relpath(str(event["path"]), below), event["access"])
        for event in of_kind(events, "file-open")
        if str(event["path"]).startswith(f"{below}/")
    ]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the command runs, as the kernel names it."""
    return tmp_path.resolve()


def test_how_a_file_is_open(directory: Path) -> None:
    """Path and access of each; what is not to be seen of an open file is null, and nothing is said of an outcome."""
    with Polled(directory, *python(ACCESSES), categories=["file"], cwd=directory) as polled:
        for name in ("read", "write", "append", "both"):
            polled.until_seen(kind="file-open", path=str(directory / name))
        events = polled.end()
    pid = events[0]["pid"]
    accesses = {"read": "read", "write": "write", "append": "write", "both": "readwrite"}
    assert sorted(opened(events, directory)) == sorted((pid, name, access) for name, access in accesses.items())
    for event in of_kind(events, "file-open"):
        assert (event["flags"], event["create"]) == (None, None)
        assert not {"result", "attempt", "exists"} & event.keys()


def test_a_child_has_not_opened_what_it_was_given(directory: Path) -> None:
    """What its parent has open is the parent's doing; what it opens itself, in place of its output too, is its own."""
    with Polled(directory, *python(INHERITED), categories=["file"], cwd=directory) as polled:
        child = int(polled.line())
        polled.until_seen(kind="file-open", pid=child, path=str(directory / "output"))
        events = polled.end()
    found = {(pid, name) for pid, name, _ in opened(events, directory)}
    assert found == {(events[0]["pid"], "before"), (child, "after"), (child, "output")}


def test_the_command_has_not_opened_what_it_was_given(directory: Path) -> None:
    """Its input and output were opened by whoever started rprun."""
    for name in ("input", "here"):
        (directory / name).write_text("")
    with (directory / "input").open("rb") as source, (directory / "output").open("wb") as target:
        descriptor = source.fileno()
        with Polled(
            directory,
            *("sh", "-c", "exec 8<here; cat; true"),
            categories=["file"],
            cwd=directory,
            stdout=target,
            pass_fds=(descriptor,),
        ) as polled:
            polled.until_seen(kind="file-open", path=str(directory / "here"))
            events = polled.end()
    assert {name for _, name, _ in opened(events, directory)} == {"here"}


def test_a_new_name_is_no_new_file(directory: Path) -> None:
    """A file that is renamed or removed while it is open was opened once, and closed by nobody."""
    with Polled(directory, *python(NAMES), categories=["file"], cwd=directory) as polled:
        for name in ("first", "mark", "end"):
            polled.until_seen(kind="file-open", path=str(directory / name))
            polled.go_on()
        events = polled.end()
    assert [name for _, name, _ in opened(events, directory)] == ["first", "mark", "end"]
    assert not of_kind(events, "file-close", "file-rename", "file-unlink")


def test_names_of_any_bytes(directory: Path) -> None:
    """A name that is not UTF-8 comes with its bytes."""
    script = b"import os, sys; kept = open(os.fsencode(sys.argv[1]), 'w'); sys.stdin.readline()"
    with Polled(directory, *python(script.decode(), "caf\udce9"), categories=["file"], cwd=directory) as polled:
        event = polled.until(lambda event: event["kind"] == "file-open" and "caf" in event["path"])
        polled.end()
    assert event["path"] == f"{directory}/caf\ufffd"
    assert event["path_base64"]

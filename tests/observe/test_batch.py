"""A batch is as good as its events one by one, wherever it goes and however much of it finds room."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rprun.observe.backlog import Backlog
from rprun.observe.batch import Batch, count, flat, singly
from rprun.observe.capabilities import CategoryCapability, ObserverCapabilities
from rprun.observe.categories import EventCategory
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import Emitter
from rprun.observe.events import ObserverEvent, ObserverEventKind, json_lines, made, shared_beginning, shared_end
from rprun.observe.fields import SharedFields
from rprun.observe.sinks import open_sink

MS = 1_000_000
ALL_SEEN = ObserverCapabilities(
    CategoryCapability(category, "supported", "some", "here") for category in EventCategory.ALL
)
UNLINK = ObserverEventKind.FILE_UNLINK
STARTED = ObserverEventKind.DESCENDANT_STARTED


class Unlinks(Batch):
    """Events of files that have been deleted."""

    def __init__(self, *paths: str, first: int = 0) -> None:
        super().__init__(EventCategory.FILE)
        self.first = first
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def events(self) -> list[tuple[ObserverEventKind, int, int, dict[str, Any]]]:
        """Gives what the emitter takes."""
        return [(UNLINK, 5, number * MS, {"path": path}) for number, path in enumerate(self.paths)]

    def lines(self) -> bytes:
        """Gives the JSON of each."""
        return b"\n".join(json_lines(self.parts()))


def unlinked(seq: int, number: int, path: str) -> ObserverEvent:
    """Makes the event that one in a batch stands for."""
    return ObserverEvent("file", "file-unlink", 5, number, seq, path=path)


def test_it_is_emitted_as_its_events_are() -> None:
    """In their order, with their numbers, to who takes batches and to who does not, and if it comes first of all."""
    for begun in (True, False):
        seen = ObserverCapabilities(
            CategoryCapability(category, "supported" if begun or category != "network" else "unavailable", "", "")
            for category in EventCategory.ALL
        )
        emitter = Emitter(ObserverConfig.with_categories(["file", "process", "network"]), capabilities=seen)
        plain, other = emitter.subscribe(), emitter.subscribe()
        other.takes_batches = True
        emitter.emit_all([Unlinks("/a", "/b"), (STARTED, 5, 2 * MS, {"ppid": 1}), Unlinks("/c")])
        emitter.emit_all([Unlinks("/d")])
        events = plain.drain()
        assert [event.seq for event in events] == list(range(1, 6 if begun else 7))
        assert [event.path for event in events if event.kind == UNLINK] == ["/a", "/b", "/c", "/d"]
        taken = other.take_all()
        assert b"\n".join(json_lines(taken)) == b"\n".join(json_lines(events))
        assert count(taken) == len(events)
        assert [made(event) for event in flat(taken)] == events


def test_what_was_not_asked_for_has_no_number() -> None:
    """A batch of another category is passed over."""
    emitter = Emitter(ObserverConfig.with_categories(["process"]), capabilities=ALL_SEEN)
    subscriber = emitter.subscribe()
    emitter.emit_all([Unlinks("/a"), (STARTED, 5, MS, {"ppid": 1})])
    assert [(event.seq, event.kind) for event in subscriber.drain()] == [(1, STARTED)]
    assert singly([Unlinks("/a"), (STARTED, 5, MS, {"ppid": 1})]) == [
        (UNLINK, 5, 0, {"path": "/a"}),
        (STARTED, 5, MS, {"ppid": 1}),
    ]


@given(st.integers(0, 6), st.lists(st.lists(st.integers(0, 4), max_size=5) | st.integers(0, 9)))
def test_it_takes_the_room_of_as_many(limit: int, steps: list[list[int] | int]) -> None:
    """Put in and taken out in one go, in batches or not, events are kept, counted and ordered as one by one."""
    many, single = Backlog(limit), Backlog(limit)
    seq = 0
    for step in steps:
        if isinstance(step, int):
            assert [many.pop() for _ in range(step)] == [single.pop() for _ in range(step)]
            continue
        put: list[Any] = []
        for size in step:
            paths = [f"/{seq + number}" for number in range(1, size + 1)]
            put.append(Unlinks(*paths, first=seq + 1) if size else unlinked(seq + 1, 0, "/"))
            for number, path in enumerate(paths or ["/"]):
                seq += 1
                single.put(unlinked(seq, number, path))
        many.put_all(put)
        assert len(many) == len(single)
    assert many.pop_all() == list(iter(single.pop, None))
    assert len(many) == 0


def some(first: int, *sizes: int) -> list[Any]:
    """Makes batches of events with long paths, and one event behind each."""
    found: list[Any] = []
    for size in sizes:
        found.append(Unlinks(*("/" + "x" * (number % 7 * 300) for number in range(size)), first=first))
        found.append(unlinked(first + size, 0, "/é"))
        first += size + 1
    return found


def lines_of(events: list[Any]) -> bytes:
    """Gives the lines of events as they are to be written."""
    return b"".join(made(event).to_json().encode() + b"\n" for event in flat(events))


@pytest.mark.parametrize("at_line_start", [True, False])
def test_to_a_file(tmp_path: Path, at_line_start: bool) -> None:
    """Its lines are written between those of others; the first starts on a line of its own."""
    path = tmp_path / "events"
    sink = open_sink(str(path), as_json=True)
    sink.at_line_start = at_line_start
    events = some(1, 3, 300, 1)
    sink.put_all(events)
    assert sink.at_line_start
    sink.finish()
    assert path.read_bytes() == (b"" if at_line_start else b"\n") + lines_of(events)


def test_as_lines_for_people(tmp_path: Path) -> None:
    """Each has one."""
    path = tmp_path / "events"
    sink = open_sink(str(path), as_json=False)
    events = some(1, 3)
    sink.put_all(events)
    sink.finish()
    assert path.read_text() == "".join(made(event).to_text() + "\n" for event in flat(events))


@given(st.integers(1, 30_000), st.booleans())
def test_to_a_file_that_is_full_in_the_middle(limit: int, at_line_start: bool) -> None:
    """What there is room for is written, to the byte, and what is left of that line is known."""
    events = some(1, 3, 20, 1)
    expected = (b"" if at_line_start else b"\n") + lines_of(events)
    descriptor = os.memfd_create("events")
    try:
        sink = open_sink(f"fd:{descriptor}", as_json=True)
        sink.at_line_start = at_line_start
        done = sink._destination.write
        # As on a disk that fills up and is made room on.
        room = limit

        def write(data: bytes) -> int:
            nonlocal room
            if not room:
                raise BlockingIOError
            written = done(data[:room])
            room -= written
            return written

        sink._destination.write = write  # type: ignore[method-assign]
        sink.put_all(events)
        assert os.pread(descriptor, 1 << 20, 0) == expected[:limit]
        room = 1 << 20
        sink.on_writable()
        sink.finish()
        assert os.pread(descriptor, 1 << 20, 0) == expected
    finally:
        os.close(descriptor)


def test_over_a_small_pipe() -> None:
    """A slow reader gets whole lines, and all that is missing is counted in its place."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    sink = open_sink(f"fd:{write}", as_json=True)
    events = some(1, 700, 700)
    sink.put_all(events)
    data = os.read(read, 65536)
    while sink.wants_write():
        sink.on_writable()
        data += os.read(read, 65536)
    sink.finish()
    os.close(write)
    data += b"".join(iter(lambda: os.read(read, 65536), b""))
    os.close(read)
    whole = [made(event).to_json().encode() for event in flat(events)]
    seq = 0
    for text in data.splitlines():
        record = json.loads(text)
        seq += record["count"] if record["kind"] == "lost" else 1
        assert record["seq"] == seq
        assert record["kind"] == "lost" or text == whole[seq - 1]
    assert seq == len(whole)


def test_a_file_size_limit(tmp_path: Path) -> None:
    """A batch that does not fit is written up to the limit, and one line says that there is no more."""
    program = (
        "import resource, sys; sys.path.append(sys.argv[2]); from test_batch import *;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); import signal;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); sink = open_sink(sys.argv[1], as_json=True);"
        "sink.put_all(some(1, 300)); sink.put_all(some(302, 3)); sink.finish()"
    )
    path = tmp_path / "events"
    result = subprocess.run(
        [sys.executable, "-c", program, str(path), str(Path(__file__).parent)], capture_output=True, check=True
    )
    assert result.stderr.count(b"\n") == 1
    assert b"File too large" in result.stderr
    assert path.read_bytes() == lines_of(some(1, 300))[:5000]


def test_what_lines_share() -> None:
    """Both ends of a line are those that the event has; there is no end where something is to be escaped."""
    fields = SharedFields({"path": b"/x", "result": "ok"})
    line = ObserverEvent("file", "file-close", 7, 8, 9, **fields).to_json().encode()
    end = shared_end(ObserverEventKind.FILE_CLOSE, fields)
    assert end is not None
    assert line == b'{"seq":9%b7,"timestamp_ms":8%b' % (shared_beginning(ObserverEventKind.FILE_CLOSE), end)
    for path in ("/é".encode(), b"/\xff", b"/\x7f"):
        assert shared_end(ObserverEventKind.FILE_CLOSE, SharedFields({"path": path, "result": "ok"})) is None
    swapped = SharedFields({"result": "ok", "path": b"/x"})
    assert shared_end(ObserverEventKind.FILE_CLOSE, swapped) is None

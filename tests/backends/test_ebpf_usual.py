"""Whoever takes the records, machine code or the interpreter, the lines are the same, to the byte."""

from __future__ import annotations

import os
import struct
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

sys.path.append(str(Path(__file__).parents[1] / "linux"))
from bpf_running import ring_in_memory

from rprun.backends.ebpf import layout, plans, reading, usual_files
from rprun.backends.ebpf.layout import Kind
from rprun.linux import syscalls, usual
from rprun.observe.batch import Batch
from rprun.observe.capabilities import CategoryCapability, ObserverCapabilities
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import Emitter
from rprun.observe.events import json_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

CATEGORIES = ("file", "network", "process")
ALL_SEEN = ObserverCapabilities(
    CategoryCapability(category, "supported", "ebpf", "here") for category in ("lifecycle", *CATEGORIES)
)
ARCH = syscalls.AUDIT_ARCH[syscalls.X86_64]
OPENAT, CONNECT, UNLINK = 257, 42, 87
PATHS = (
    b"/etc/a",
    b"b/c",
    b"/" + b"x" * 300,
    "/é".encode(),
    b"/\xff",
    b'/"\\',
    b"/\x7f",
    b"/" + b"y" * 2100,
    b"",
    None,
)
# What of them is relative is so to a directory, of any depth; and one that makes no sense.
NAMES = (b"work\0tmp\0", b"", b"a\0", b"\0", b"a", b"a\0\0b\0", b"\xff\0tmp\0", None)
DESCRIPTORS = (0, 3, 4, 63, 64, 255, 256, 1000)
OFFSET = 1_600_000_000_000_000_000


def blob(data: bytes | None) -> bytes:
    """Return a blob as it stands in a record."""
    return struct.pack("=i", -1) if data is None else struct.pack("=I", len(data)) + data


def head(kind: Kind, process: int, time: int) -> bytes:
    """Return the header of a record of a process, which has another number here than there."""
    return layout.HEADER.pack(kind, process, process, process + 1000, time * 700_000)


def opened(
    process: int, time: int, result: int, path: bytes | None, flags: int = 0, names: bytes | None = NAMES[0]
) -> bytes:
    """Return the record of an openat(2)."""
    failure = result & 0xFFFFFFFF if result < 0 else 0
    call = plans.CALL.pack(result, 0, 0, flags, 0, 0, 0, ARCH, OPENAT, 0, flags, failure, 0, 0, 0)
    return head(Kind.CALL, process, time) + call + blob(path) + blob(names)


def closed(process: int, time: int, descriptor: int, since: int, sent: int = 0) -> bytes:
    """Return the record of the end of a descriptor."""
    return head(Kind.CLOSED, process, time) + layout.CLOSED.pack(descriptor, sent, 0, 1, since * 700_000)


def connected(process: int, time: int, descriptor: int) -> bytes:
    """Return the record of a connect(2)."""
    call = plans.CALL.pack(0, descriptor, 0, 0, 0, 0, 0, ARCH, CONNECT, plans.SOCKET_READ, 6, 2, 1, 0, 0)
    return head(Kind.CALL, process, time) + call + blob(b"\2\0\0\x50\x7f\0\0\1") + blob(b"")


def found(process: int, time: int, descriptor: int) -> bytes:
    """Return the record of a descriptor that was not seen to be opened."""
    call = plans.CALL.pack(descriptor, *[0] * 6, ARCH, 1, 0, 0, 0, 0, 0, 0)
    return head(Kind.FOUND, process, time) + call + blob(b"found\0tmp\0")


def unlinked(process: int, time: int) -> bytes:
    """Return the record of an unlink(2)."""
    call = plans.CALL.pack(0, *[0] * 6, ARCH, UNLINK, 0, 0, 0, 0, 0, 0)
    return head(Kind.CALL, process, time) + call + blob(b"/gone") + blob(b"")


def fork(process: int, time: int) -> bytes:
    """Return the record of a process's start."""
    return head(Kind.FORK, process, time) + struct.pack("=2I", 1, 0)


def ended(process: int, time: int) -> bytes:
    """Return the record of its end."""
    return head(Kind.EXIT, process, time) + struct.pack("=iI", 256, 0)


# Processes of which two have the same place in the table.
processes = st.sampled_from([7, 8, 7 + usual._FINDERS])
descriptors = st.sampled_from(DESCRIPTORS)
STEPS = st.one_of(
    st.tuples(
        st.just("open"),
        processes,
        descriptors | st.just(-2),
        st.sampled_from(PATHS) | st.text('ab/.\x1f ~\x7f"\\\0é', max_size=9).map(str.encode),
        st.sampled_from([0, 0o101]),
        st.sampled_from(NAMES),
    ),
    st.tuples(st.just("close"), processes, descriptors, st.sampled_from([0, 0, 0, 5]), st.none() | st.integers(1, 9)),
    st.tuples(st.sampled_from(["connect", "found"]), processes, descriptors),
    st.tuples(st.sampled_from(["fork", "end", "unlink"]), processes),
    st.tuples(st.just("noise"), st.just(Kind.CALL), st.binary(max_size=130)),
    st.tuples(st.just("noise"), st.just(Kind.CLOSED), st.binary(max_size=layout.CLOSED.size - 1)),
)


def records_of(steps: Sequence[tuple[Any, ...]]) -> list[bytes]:
    """Return the records of steps; a close is of what has been opened last, unless it says since when that was open.

    That is a time, and never 0.
    """
    since: dict[tuple[int, int], int] = {}
    records = []
    for time, (what, *about) in enumerate(steps, 1):
        if what == "open":
            process, descriptor, *rest = about
            since[process, descriptor] = time
            records.append(opened(process, time, descriptor, *rest))
        elif what == "close":
            process, descriptor, sent, at = about
            at = since.get((process, descriptor), 1) if at is None else at
            records.append(closed(process, time, descriptor, at, sent))
        elif what == "noise":
            kind, data = about
            records.append(head(kind, 7, time) + data)
        else:
            process, *more = about
            make: Any = {"connect": connected, "found": found, "fork": fork, "end": ended, "unlink": unlinked}[what]
            records.append(make(process, time, *more))
    return records


class Taken:
    """What a reader makes of records.

    Attributes:
        lines: those of all events, with newlines between them.
        kept: the same, from who takes no batches.
        forgotten: keys that the kernel's table is to lose.
        batches: how many events came in batches.
        unusual: how many records the interpreter has decoded.
    """

    def __init__(self, records: Sequence[bytes], limit: int) -> None:
        emitter = Emitter(ObserverConfig.with_categories(CATEGORIES), 1 << 20, ALL_SEEN)
        writer, keeper = emitter.subscribe(), emitter.subscribe()
        writer.takes_batches = True
        self.forgotten: set[bytes] = set()
        self.batches = self.unusual = 0
        with closing(ring_in_memory(records)) as ring:
            table = SimpleNamespace(lookup=self._look_up, delete_all=self.forgotten.update)
            maps: Any = SimpleNamespace(ring=ring, descriptors=table)
            it = reading.Reader(maps, tells_processes=True)
            decode = it._decode

            def counted(some: list[bytes], *rest: Any) -> None:
                self.unusual += len(some)
                decode(some, *rest)

            it._decode = counted  # type: ignore[method-assign]
            while True:
                events, taken = it.take(limit)
                self.batches += sum(len(event) for event in events if isinstance(event, Batch))
                emitter.emit_all(events)
                assert taken <= limit
                if taken < limit:
                    break
            assert not ring.has_records()
            emitter.emit_all(it._files.left_open(OFFSET))
        written = writer.take_all()
        self.lines = b"\n".join(json_lines(written))
        self.kept = b"\n".join(event.to_json().encode() for event in keeper.drain())

    def _look_up(self, key: bytes) -> bytes | None:
        process, descriptor = layout.KEY.unpack(key)
        return layout.VALUE.pack(0, descriptor % 3, 0, 1, 700_000) if (process + descriptor) % 4 else None


def both(records: Sequence[bytes], limit: int = 100, most: int = 2048) -> tuple[Taken, Taken]:
    """Return what is made of records with machine code, and without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "since_epoch", lambda: OFFSET)
        patch.setattr(usual_files, "_MOST", most)
        with_code = Taken(records, limit)
        patch.setattr(usual, "OBJECT", "/nowhere")
        without = Taken(records, limit)
    assert with_code.lines == without.lines
    assert with_code.kept == without.kept == without.lines
    assert with_code.forgotten == without.forgotten
    assert (without.batches, without.unusual) == (0, len(records))
    return with_code, without


TWICE = ("open", 7, 3, PATHS[0], 0), ("close", 7, 3, 0, None)


@given(st.lists(STEPS, max_size=60), st.integers(1, 70), st.sampled_from([1, 2, 2048]))
@example([("fork", 7), *TWICE * 3, ("end", 7)], 100, 1)
@example([*TWICE, TWICE[0], TWICE[0], TWICE[1], TWICE[1]], 3, 2048)
@example([("fork", 7), ("connect", 4103, 0), ("found", 7, 4), ("open", 4103, 4, PATHS[0], 0)], 1, 1)
def test_the_same_lines(steps: list[tuple[Any, ...]], limit: int, most: int) -> None:
    """Of any records, in portions of any size, and also where the code has to forget what it has been taught."""
    both(records_of(steps), limit, most)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="there is machine code for x86_64 only")
def test_usual_records_are_taken_by_the_code() -> None:
    """Once a file has been opened, the interpreter is not asked any more: for opens, failures, closes, any process."""
    steps: list[tuple[Any, ...]] = []
    for process in (7, 8):
        steps.append(("fork", process))
        for descriptor in (3, 255):
            steps += [("open", process, descriptor, path, 0) for path in PATHS[:1]]
            steps.append(("open", process, -2, PATHS[1], 0))
            steps.append(("close", process, descriptor, 0, None))
    with_code, _ = both(records_of(steps * 5))
    # Of the failure the first two; of each fork; of what is opened the first.
    assert with_code.unusual == 10 + 2 + 1
    assert with_code.batches == len(steps) * 5 - with_code.unusual


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="there is machine code for x86_64 only")
def test_files_that_have_not_been_opened_before() -> None:
    """Where others have been opened in the same way, and the path needs no care, the code knows what is to be told."""
    steps: list[tuple[Any, ...]] = [("fork", 7), ("open", 7, -2, b"/x", 0), ("open", 7, -2, b"/x", 0), *TWICE]
    known = len(steps) - 1
    for number in range(3000):
        name = b"%d.c" % number
        steps += [("open", 7, 3, name, 0, NAMES[number % 3]), ("close", 7, 3, 0, None), ("open", 7, -2, b"/" + name, 0)]
    with_code, _ = both(records_of(steps))
    # And of each time that all is forgotten what found no room, and the close of that.
    assert known <= with_code.unusual <= known + 2 * 3
    for odd in (b"/\xff", b'/"', b"/\\", b"/\x7f", b"/\x1f", b"/" + b"y" * 2100):
        with_code, _ = both(records_of([*steps[: known + 1], ("open", 7, 3, odd, 0)]))
        assert with_code.unusual == known + 1


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="there is machine code for x86_64 only")
def test_a_descriptor_goes_back_to_the_code() -> None:
    """Written to, closed by another thread, or a socket: the next time that it is opened is usual again."""
    known = [("fork", 7), *TWICE]
    for odd in (
        [TWICE[0], ("close", 7, 3, 9, None)],
        [TWICE[0], TWICE[0], ("close", 7, 3, 4, 5), ("close", 7, 3, 0, 4)],
        [("found", 7, 3), ("close", 7, 3, 5, 4)],
        [("connect", 7, 3), ("close", 7, 3, 6, 4)],
    ):
        before, _ = both(records_of([*known, *odd]))
        after, _ = both(records_of([*known, *odd, *TWICE * 50]))
        assert after.unusual == before.unusual

"""The opens that machine code takes from a supervisor's ring: the same lines as by the interpreter, byte for byte."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("Linux is what this is about", allow_module_level=True)

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from writers import writer

from rprun.backends.seccomp import decode, record
from rprun.backends.seccomp.decode import OPENS
from rprun.backends.seccomp.processes import PROCESS_STARTED
from rprun.backends.seccomp.ring import DATA_SIZE, Ring
from rprun.backends.seccomp.usual_opens import UsualOpens
from rprun.backends.usual import UsualBatch
from rprun.linux import syscalls
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import Emitter
from rprun.observe.events import json_lines
from rprun.observe.fields import SharedFields

if os.uname().machine != "x86_64":
    pytest.skip("there is no machine code for this machine", allow_module_level=True)

X86_64, I386 = syscalls.AUDIT_ARCH[syscalls.X86_64], syscalls.AUDIT_ARCH[syscalls.I386]
NUMBERS = syscalls.NUMBERS[syscalls.X86_64]
LONG = b"/" + b"long/" * 500

paths = st.sampled_from(
    [b"/a", b"b", b"/usr/include/stdio.h", b"", b'/"', b"/\xff", b"/\xc3\xa9", b"/del\x7f", LONG, None]
)
calls_ = st.sampled_from(
    [
        *((X86_64, NUMBERS[name]) for name in ("open", "openat", "openat2", "creat", "unlink", "execve", "connect")),
        (X86_64, 511),
        (X86_64, 512),
        (X86_64, -1),
        (X86_64, 2**31 - 1),
        *((I386, number) for arch, number in OPENS if arch == I386),
    ]
)
flags = st.sampled_from([0, 1, 0o102, 0o101, 0o10000000, 1 << 40, 0xFFFFFFFF])


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """One record, mostly of an open, mostly of what another one opens too."""
    if draw(st.integers(0, 9)) == 0:
        return PROCESS_STARTED.pack(draw(st.integers(1, 9)), 1, draw(st.integers(1, 2**62)))
    arch, number = draw(calls_)
    registers = [draw(st.integers(0, 2**64 - 1)), draw(flags), draw(flags), 0, 0, 0]
    base, path = draw(st.sampled_from([b"", b"/home", None])), draw(paths)
    captured = record.pack_captured((base, path), draw(st.integers(0, 15)), 0, draw(st.integers(0, 2)))
    pid = draw(st.integers(1, 2**31 - 1))
    return record.pack(arch, number, pid, pid, draw(st.integers(1, 2**62)), registers, captured)


def lines_of(events: list[Any]) -> bytes:
    """The lines of events as they are emitted."""
    emitter = Emitter(ObserverConfig.with_categories(["file", "network", "process"]), bound=1 << 20)
    subscriber = emitter.subscribe()
    subscriber.takes_batches = True
    emitter.emit_all(events)
    return b"\n".join(json_lines(subscriber.take_all()))


def decoded(data: bytes) -> list[Any]:
    """The events of a record, each with fields of its own."""
    return decode.decode(data) if len(data) > PROCESS_STARTED.size else []


def take_all(ring: Ring, usual: UsualOpens, limit: int) -> tuple[list[Any], int]:
    """The events of what is in a ring, and how many of its records machine code has taken."""
    events: list[Any] = []
    by_machine_code = 0
    while True:
        batch, taken = usual.take(limit)
        assert taken <= limit
        by_machine_code += taken
        if batch is not None:
            events.append(batch)
        found = ring.take(1) if usual.is_left_with_one else []
        for data in found:
            event = decoded(data)
            if len(event) == 1 and type(event[0][3]) is SharedFields:
                usual.teach(data, event[0][3])
            events += event
        if not taken and not found:
            return events, by_machine_code


def put_all(ring: Ring, data: list[bytes]) -> None:
    """Put and publish records."""
    for each in data:
        place = ring.put(each)
        assert place >= 0
        ring.publish(place)


@settings(deadline=None)
@given(st.lists(records(), min_size=1, max_size=8), st.lists(st.integers(0, 7), max_size=60), st.integers(1, 20))
def test_lines_are_those_of_the_interpreter(few: list[bytes], order: list[int], limit: int) -> None:
    """Whatever is opened, in whatever order, by whomever."""
    data = [few[index % len(few)] for index in order]
    expected = lines_of([event for each in data for event in decoded(each)])
    ring = Ring()
    usual = UsualOpens(ring)
    for each in few:
        # What is taught has been told of before.
        lines_of(decoded(each))
    put_all(ring, data)
    events, _ = take_all(ring, usual, limit)
    assert lines_of(events) == expected
    assert not ring.has_records()
    ring.close()


def open_of(path: bytes, pid: int = 7, at_ns: int = 1_700_000_000_123_456_789) -> bytes:
    """The record of an open."""
    captured = record.pack_captured((b"", path), record.EXISTS)
    return record.pack(X86_64, NUMBERS["openat"], pid, pid, at_ns, [1, 2, 0, 0, 0, 0], captured)


def test_around_the_end_of_the_ring() -> None:
    """Where records do not fit in the rest of it, they begin at its start, and all of them are taken."""
    ring = Ring()
    data = [open_of(b"/" + b"x" * (number % 300), pid=number + 1) for number in range(1000)]
    lines_of([event for each in data for event in decoded(each)])
    usual = UsualOpens(ring)
    seen: list[int] = []
    by_machine_code = rounds = 0
    while rounds * len(data) * 100 < 3 * DATA_SIZE:
        put_all(ring, data)
        events, taken = take_all(ring, usual, 512)
        by_machine_code += taken
        rounds += 1
        for event in events:
            seen += [pid for _, pid, _, _ in (event.events() if isinstance(event, UsualBatch) else [event])]
    assert seen == [*range(1, 1001)] * rounds
    assert by_machine_code > 1000 * (rounds - 1)
    ring.close()


def test_among_what_is_not_complete() -> None:
    """Of several writers' records none is taken behind one that is not complete, nor any that was withdrawn."""
    ring = Ring()
    ring.share(writer(ring).reserve)
    data = [open_of(b"/among/%d" % number, pid=number + 1) for number in range(6)]
    lines_of([event for each in data for event in decoded(each)])
    usual = UsualOpens(ring)
    put_all(ring, data)
    take_all(ring, usual, 512)
    places = [ring.put(each) for each in data]
    ring.withdraw(places[0])
    ring.publish(places[1])
    ring.publish(places[5])

    def pids() -> list[int]:
        events, taken = take_all(ring, usual, 512)
        seen = [
            pid for event in events for _, pid, _, _ in (event.events() if isinstance(event, UsualBatch) else [event])
        ]
        assert taken == len(seen)
        return seen

    assert pids() == [2]
    ring.publish(places[3])
    assert pids() == []
    ring.publish(places[2])
    assert pids() == [3, 4]
    ring.withdraw(places[4])
    assert pids() == [6]
    assert not ring.has_records()
    ring.close()


def test_more_than_it_has_room_for() -> None:
    """It begins anew, and what it has taken before is told right."""
    ring = Ring()
    usual = UsualOpens(ring)
    seen: list[bytes] = []
    for first in range(0, 5000, 100):
        data = [open_of(b"/%d" % number) for number in range(first, first + 100)]
        for round_ in range(3):
            put_all(ring, data)
            events, by_machine_code = take_all(ring, usual, 512)
            lines_of(events)
            # The first time nothing is known, the second time it is taught, where all does not begin anew meanwhile.
            assert by_machine_code == 0 or round_ == 2
            for event in events:
                seen += [
                    fields["path"] for *_, fields in (event.events() if isinstance(event, UsualBatch) else [event])
                ]
    numbers = [number for first in range(0, 5000, 100) for number in [*range(first, first + 100)] * 3]
    assert seen == [b"/%d" % number for number in numbers]
    ring.close()


def test_a_batch_is_split_by_time() -> None:
    """What is up to a time comes first; nothing is lost or told twice."""
    ring = Ring()
    usual = UsualOpens(ring)
    data = [open_of(b"/a", at_ns=at_ns) for at_ns in (10, 20, 20, 30)]
    # What is taught has been told of before.
    for _ in range(2):
        lines_of(decoded(data[0]))
    put_all(ring, [data[0], *data])
    (_, batch), by_machine_code = take_all(ring, usual, 512)
    assert by_machine_code == 4

    def times(part: UsualBatch | None) -> list[int]:
        return [] if part is None else [at_ns for _, _, at_ns, _ in part.events()]

    for until in (9, 10, 19, 20, 25, 30, 31):
        done, left = batch.split(until)
        assert times(done) == [each for each in (10, 20, 20, 30) if each <= until]
        assert times(left) == [each for each in (10, 20, 20, 30) if each > until]
    assert batch.times() == {7: 30}
    ring.close()

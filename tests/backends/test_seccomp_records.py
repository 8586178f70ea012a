"""Whatever a process gives to the kernel, a call is captured, recorded and told of without a failure."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("Linux is what this is about", allow_module_level=True)

import ctypes
import json
import os
import struct
from typing import Any

import jsonschema
from hypothesis import assume, given
from hypothesis import strategies as st

from rprun.backends.seccomp import calls, decode, record
from rprun.backends.seccomp.capture import Capture
from rprun.linux import syscalls
from rprun.observe.events import ObserverEvent
from rprun.observe.kinds import category_of
from rprun.observe.schema import render

VALIDATOR = jsonschema.Draft202012Validator(json.loads(render()))
ME = os.getpid()

places = st.sampled_from(sorted(calls.BY_NUMBER)) | st.tuples(
    st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1)
)
descriptors = st.sampled_from([0, 1, 2, 0xFFFFFF9C, 2**32 - 1])
numbers = st.integers(0, 24) | st.integers(0, 2**64 - 1) | descriptors
blobs = st.lists(st.none() | st.binary(max_size=200), max_size=6)
words = st.one_of(
    st.binary(max_size=120),
    st.sampled_from([b"/\0", b"/proc/self/fd/0\0", b"a\0", b"\x02\0", b"\x0a\0", b"\1\0", b"\1\0\0x", b"\x10\0"]),
)


def check(data: bytes) -> list[Any]:
    """Decode, and hold every event to what an event must be."""
    found = decode.decode(data)
    for kind, pid, timestamp, fields in found:
        given_fields: dict[str, Any] = dict(fields)
        category = category_of(kind) or given_fields.pop("category")
        event = ObserverEvent(category, kind, pid, timestamp, 1, **given_fields)
        VALIDATOR.validate(json.loads(event.to_json()))
    return found


@given(st.data())
def test_any_call_with_any_memory(data: st.DataObject) -> None:
    """Registers may be anything, also addresses of memory that holds anything, also of the very calls' own layouts."""
    memory = ctypes.create_string_buffer(data.draw(st.lists(words, max_size=6).map(b"".join)), 1024)
    start = ctypes.addressof(memory)
    pointers = st.integers(0, 1024).map(start.__add__)
    at = data.draw(st.integers(0, 63)) * 8
    struct.pack_into("=4Q", memory, at, *data.draw(st.tuples(*[pointers | numbers] * 4)))
    registers = data.draw(st.tuples(*[pointers | numbers] * 6))
    arch, number = data.draw(places)
    captured = Capture().capture(arch, number, registers, ME, ME)
    assume(captured is not None)
    check(record.pack(arch, number, ME, ME, 1, registers, captured))


@given(places, st.tuples(*[numbers] * 6), blobs, st.integers(0, 2**16 - 1), numbers, numbers)
def test_any_record(place: tuple[int, int], registers: tuple[int, ...], parts: Any, marks: int, a: int, b: int) -> None:
    """A record may have other blobs than its call has; the right ones come back as they were packed."""
    data = record.pack(*place, 7, 8, 9, registers, record.pack_captured(parts, marks, a, b))
    seen = record.unpack(data)
    assert (seen.arch, seen.number, seen.tid, seen.tgid, seen.time_ns, seen.arguments) == (*place, 7, 8, 9, registers)
    assert (seen.marks, seen.first, seen.second, seen.blobs) == (marks, a & 0xFFFFFFFF, b, parts)
    check(data)


@given(places, blobs, st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes(place: tuple[int, int], parts: Any, noise: bytes, cut: int) -> None:
    """What is no record is counted as lost; it never raises."""
    whole = record.pack(*place, 1, 1, 1, [0] * 6, record.pack_captured(parts))
    check(noise)
    check(whole[:cut])
    assert {kind for kind, *_ in check(whole + b"x")} == {"lost"}


def test_a_record_is_bounded() -> None:
    """What would not fit is given as unreadable."""
    captured = record.pack_captured([b"a", bytes(record.LIMIT), b"b"])
    data = record.pack(0, 0, 0, 0, 0, [0] * 6, captured)
    assert record.unpack(data).blobs == [b"a", None, b"b"]
    full = record.pack_captured([bytes(record.LIMIT - 100)] * 3)
    assert len(record.pack(0, 0, 0, 0, 0, [0] * 6, full)) <= record.LIMIT


def test_the_short_way_is_the_same() -> None:
    """The fast form of a record with one absolute path is the general one."""
    assert record.pack_path(b"/x", record.EXISTS) == record.pack_captured((b"", b"/x"), record.EXISTS)


def test_traps() -> None:
    """A category's calls are trapped in every ABI that can be used here, and never those that must not fail."""
    if syscalls.native() is None:
        pytest.skip(f"system call numbers of {os.uname().machine}")
    every = calls.traps(["file", "process", "network"])
    names = {
        syscalls.NAMES[abi][number]
        for arch, found in every.items()
        for number in found
        if (abi := syscalls.abi_of(arch, number)) is not None
    }
    assert names <= {*calls.CALLS, calls.SOCKETCALL, *calls.VIEWS, *calls.MOUNTS, calls.FAULTS}
    assert not names & {"fork", "vfork", "clone", "clone3", "close", "exit", "exit_group"}
    native = syscalls.native() or ""
    arch, table = syscalls.AUDIT_ARCH[native], syscalls.NUMBERS[native]
    assert table["openat"] in calls.traps(["file"])[arch]
    assert calls.traps(["process"])[arch] >= {table["execve"], table["execveat"]}
    assert table["openat"] not in calls.traps(["process"])[arch]
    assert table["io_uring_setup"] not in calls.traps(["process"])[arch]
    assert table["io_uring_setup"] in calls.traps(["network"])[arch] & calls.traps(["file"])[arch]
    assert calls.nonzero(["network"])[arch, table["sendto"]] == 4
    assert calls.nonzero(["file", "process"]) == calls.traps([]) == calls.traps(["lifecycle"]) == {}


def test_every_call_is_decoded() -> None:
    """Each of the table's calls has a way to be read and one to be told, and an event with nothing known in it."""
    for place in calls.BY_NUMBER:
        captured = Capture().capture(*place, [2**64 - 1] * 6, ME, ME)
        assert captured is not None
        found = check(record.pack(*place, 1, 1, 1, [2**64 - 1] * 6, captured))
        assert "lost" not in {kind for kind, *_ in found}

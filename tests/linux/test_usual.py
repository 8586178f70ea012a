"""The machine code for usual records: that it is what its source says, and where there is none."""

from __future__ import annotations

import mmap
import os
import re
import struct
import sys
from contextlib import closing
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("Linux is what this is about", allow_module_level=True)

from bpf_running import ring_in_memory
from machine_code import LINUX, assert_depends_on_nothing

from rprun.backends.ebpf import layout, plans
from rprun.backends.seccomp import record
from rprun.linux import usual
from rprun.linux.libc import address_of

SOURCE = LINUX / "usual.h"
needs_code = pytest.mark.skipif(os.uname().machine != "x86_64", reason="there is machine code for x86_64 only")


def test_it_depends_on_nothing() -> None:
    """The object names no library, and no symbol that another one has to have."""
    assert_depends_on_nothing("usual", {"learn", "learn_form", "take", "take_answered", "write"})


def test_numbers_are_those_of_the_interpreter() -> None:
    """What the source has of records and tables is what the modules say that make them."""
    said = {name: eval(value) for name, value in re.findall(r"([A-Z_]+) = ([0-9][0-9 <]*)[,}]", SOURCE.read_text())}
    expected = {
        "CALL": layout.Kind.CALL,
        "CLOSED": layout.Kind.CLOSED,
        "WHAT_AT": plans.ARCH_AT,
        "CALL_SIZE": plans.BLOBS_AT,
        "CLOSED_SIZE": layout.HEADER_SIZE + layout.CLOSED.size,
        "WHATS": usual._WHATS,
        "SLOTS": usual._SLOTS,
        "ARENA": usual._ARENA,
        "PROCESSES": usual._PROCESSES,
        "FINDERS": usual._FINDERS,
        "DESCRIPTORS": usual._DESCRIPTORS,
        "BITS": usual._BITS,
        "FORMS": usual._FORMS,
        "NUMBERS": usual._NUMBERS,
        "LONGEST": usual.LONGEST,
        "ARGUMENTS_AT": record._REGISTERS_AT,
        "CAPTURED_AT": record._HEADER.size,
    }
    assert said == expected
    assert f"sizeof(struct context) == {len(usual._FIELDS)} * 8," in SOURCE.read_text()
    assert plans.BLOBS_AT - plans.ARCH_AT == usual.FORM_START
    assert (plans.RESULT_AT, layout.TGID_AT, layout.PID_AT, layout.TIME_AT) == (24, 8, 12, 16)


def test_the_address_of_memory_that_is_read_only() -> None:
    """It is where the bytes are, also of a view that begins behind the first."""
    with mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as memory:
        first, second = memoryview(memory).cast("Q"), memoryview(memory)[8:16].cast("Q")
        with first, second:
            assert address_of(first) % mmap.PAGESIZE == 0
            assert address_of(second) == address_of(first) + 8


def call(what: bytes, process: int, descriptor: int, time: int = 1) -> bytes:
    """Return a CALL record."""
    header = layout.HEADER.pack(layout.Kind.CALL, process, process, process, time)
    return header + struct.pack("=q48x", descriptor) + what


@needs_code
def test_what_is_known_up_to_its_last_byte() -> None:
    """Whatever is behind it in the ring does not count, and each byte of it does."""
    whats = [bytes(36) + b"\1\0\0\0" + bytes([size]) * size for size in range(1, 40)]
    others = [what[:-1] + b"\xff" for what in whats]
    for what in [*whats, *others]:
        with closing(ring_in_memory([call(what, 5, -2)], filler=b"\xee")) as ring:
            code = usual.Usual(ring, b",head", b",other")
            for number, each in enumerate(whats):
                assert code.learn(each, b",%d}" % number, b"") == number
            entries, taken = code.take(10, 1_000_000)
            assert (taken, code.outside) == ((1, 0) if what in whats else (0, 1))
            if entries:
                number = whats.index(what)
                assert code.write(entries, 77) == b'{"seq":77,head5,"timestamp_ms":1,%d}' % number


@needs_code
def test_how_many_are_left_to_the_caller() -> None:
    """Of calls and closes one, of others as many as come in a row and may be taken."""
    fork = layout.HEADER.pack(layout.Kind.FORK, 5, 5, 5, 1) + bytes(8)
    short = struct.pack("=I", layout.Kind.CALL)
    for records, limit, expected in (
        ([call(bytes(41), 5, 1), fork], 9, 1),
        ([fork, fork, fork, call(bytes(41), 5, 1), fork], 9, 3),
        ([fork, short, fork], 9, 3),
        ([fork, fork, fork], 2, 2),
    ):
        with closing(ring_in_memory(records)) as ring:
            code = usual.Usual(ring, b"", b"")
            assert (code.take(limit, 0), code.outside) == ((b"", 0), expected)
            assert ring.take(expected) == records[:expected]


@needs_code
def test_there_is_an_end_to_what_is_learnt() -> None:
    """More than there is room for is refused, in number and in bytes, and nothing of it is known."""
    for size, most in ((41, usual._WHATS), (usual.LONGEST, usual._ARENA // (3 * (usual.LONGEST + 8)))):
        with closing(ring_in_memory([])) as ring:
            code = usual.Usual(ring, b"", b"")
            learnt = 0
            while code.learn(struct.pack("=Q", learnt) + bytes(size - 8), b"x" * size, b"y" * size) == learnt:
                learnt += 1
                assert learnt <= most
            assert most - 1 <= learnt


@needs_code
def test_the_longest_lines() -> None:
    """A batch of as many as are taken at once, each as long as can be, is written whole."""
    what, end = bytes(41), b"," + b"x" * (usual.LONGEST - 2) + b"}"
    time, largest = 2**63, 2**32 - 1
    records = [call(what, largest, -1, time) for _ in range(usual.MOST_ENTRIES + 1)]
    with closing(ring_in_memory(records)) as ring:
        code = usual.Usual(ring, b"h" * 50, b"")
        code.learn(what, end, b"")
        entries, taken = code.take(1 << 20, 0)
        assert (taken, code.outside) == (usual.MOST_ENTRIES, 0)
        lines = code.write(entries, 2**63).split(b"\n")
        assert len(lines) == usual.MOST_ENTRIES
        for number, line in enumerate(lines, 2**63):
            expected = b'{"seq":%d%b%d,"timestamp_ms":%d' % (number, b"h" * 50, largest, time // 1_000_000)
            assert line == expected + end
        assert code.take(1 << 20, 0)[1] == 1
        assert code.take(1 << 20, 0) == (b"", 0)


@needs_code
def test_a_process_that_finds_no_room_is_not_known() -> None:
    """Neither one beyond the table, nor one whose place another one has; and what goes makes room."""
    with closing(ring_in_memory([])) as ring:
        code = usual.Usual(ring, b"", b"")
        for process in range(1, usual._PROCESSES + 2):
            code.introduce(process)
        assert not code.give_back(usual._PROCESSES + 1, 3, 1, 1, 0)
        assert code.give_back(1, 3, 1, 2, 0)
        assert not code.give_back(1, usual._DESCRIPTORS, 1, 1, 0)
        code.introduce(1 + usual._FINDERS)
        assert code.take_over(1 + usual._FINDERS, 3) is None
        assert code.take_over(1, 3) == (1, 2, 0)
        assert code.take_over(1, 3) is None
        for descriptor in (0, 63, 64, 255):
            assert code.give_back(2, descriptor, descriptor + 1, 0, 9)
        assert list(code.leave(2)) == [(number, number + 1, 0, 9) for number in (0, 63, 64, 255)]
        assert list(code.leave(2)) == []
        code.introduce(usual._PROCESSES + 1)
        assert code.give_back(usual._PROCESSES + 1, 3, 1, 1, 0)


def test_where_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the reason for which it cannot be loaded, that is an OSError."""
    (tmp_path / "empty.so").touch()
    (tmp_path / "noise.so").write_bytes(os.urandom(8192))
    with closing(ring_in_memory([])) as ring:
        for name in ("none.so", "empty.so", "noise.so"):
            monkeypatch.setattr(usual, "OBJECT", str(tmp_path / name))
            with pytest.raises(OSError, match=r"\.so|Exec format error"):
                usual.Usual(ring, b"", b"")

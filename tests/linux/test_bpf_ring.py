"""The ring buffer: every record in its order, over the end of the ring, beside a busy writer; what is lost counts."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import select
import struct
import sys
import threading
from contextlib import ExitStack, closing, suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import PATIENCE

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from bpf_running import descriptor, needs_bpf, run_program

from rprun.linux import bpf
from rprun.linux.bpf import MapKind, ProgramKind
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R4, R6, R7, R8, R10, Assembler, Helper
from rprun.linux.bpf_map import Map
from rprun.linux.bpf_ring import BUSY, DISCARD, RingBuffer

PAGE = mmap.PAGESIZE


class Counts(NamedTuple):
    """What programs count."""

    runs: int
    failures: int


def counters() -> Map:
    """Return a map for `Counts`."""
    return Map(MapKind.ARRAY, 4, 16, 1)


def counted(held: Map) -> Counts:
    """Return what it says."""
    return Counts(*struct.unpack("=2Q", held.lookup(bytes(4)) or b""))


def numbering(ring: RingBuffer, held: Map, *, discard: bool = False) -> bytes:
    """Return a program that submits its number, from 0, in 16 bytes; odd ones are discarded if that is wished."""
    code = Assembler()
    code.map_value(R6, held.fd)
    code.load(R7, R6, 0)
    code.move(R1, R7)
    code.add(R1, 1)
    code.store(R6, 0, R1)

    code.map_address(R1, ring.fileno())
    code.move(R2, 16)
    code.move(R3, 0)
    code.call(Helper.ringbuf_reserve)
    code.jump_if_not_equal(R0, 0, "reserved")
    code.move(R1, 1)
    code.atomic_add(R6, 8, R1)
    code.jump("out")

    code.label("reserved")
    code.store(R0, 0, R7)
    code.store_immediate(R0, 8, -1)
    code.move(R1, R0)
    code.move(R2, 0)
    if discard:
        code.jump_if_any_bit(R7, 1, "discard")
    code.call(Helper.ringbuf_submit)
    code.jump("out")
    if discard:
        code.label("discard")
        code.call(Helper.ringbuf_discard)

    code.label("out")
    code.move(R0, 0)
    code.exit()
    return code.assemble()


def sizing(ring: RingBuffer, held: Map) -> bytes:
    """Return a program that outputs a record of 8 to 71 bytes, one more with each number; it begins with the number."""
    code = Assembler()
    code.map_value(R6, held.fd)
    code.load(R7, R6, 0)
    for offset in range(-72, 0, 8):
        code.store(R10, offset, R7)
    code.move(R8, R7)
    code.add(R7, 1)
    code.store(R6, 0, R7)

    code.map_address(R1, ring.fileno())
    code.move(R2, R10)
    code.add(R2, -72)
    code.move(R3, R8)
    code.bit_and(R3, 63)
    code.add(R3, 8)
    code.move(R4, 0)
    code.call(Helper.ringbuf_output)
    code.jump_if_equal(R0, 0, "out")
    code.move(R1, 1)
    code.atomic_add(R6, 8, R1)
    code.label("out")
    code.move(R0, 0)
    code.exit()
    return code.assemble()


def numbers(records: list[bytes]) -> list[int]:
    """Return the numbers in records of `numbering`."""
    assert all(record[8:] == b"\xff" * 8 for record in records)
    return [int.from_bytes(record[:8], sys.byteorder) for record in records]


def readable(ring: RingBuffer) -> bool:
    """Tell whether poll(2) says so."""
    return bool(select.select([ring], [], [], 0)[0])


def test_records_in_order() -> None:
    """As many as are asked for, none twice, and then nothing."""
    needs_bpf()
    with closing(RingBuffer(PAGE, name="of_the_tests")) as ring, closing(counters()) as held:
        assert not ring.has_records()
        assert not readable(ring)
        assert ring.take(10) == []
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, numbering(ring, held))) as program:
            run_program(program, 25)
        assert ring.has_records()
        assert readable(ring)
        assert [numbers(ring.take(10)) for _ in range(4)] == [[*range(10)], [*range(10, 20)], [*range(20, 25)], []]
        assert not ring.has_records()
        assert not readable(ring)


def test_discarded_records_are_passed_over() -> None:
    """They do not count towards how many are asked for."""
    needs_bpf()
    with closing(RingBuffer(PAGE)) as ring, closing(counters()) as held:
        code = numbering(ring, held, discard=True)
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, code)) as program:
            run_program(program, 20)
        assert numbers(ring.take(5)) == [0, 2, 4, 6, 8]
        assert numbers(ring.take(100)) == [10, 12, 14, 16, 18]
        assert not ring.has_records()


@pytest.mark.parametrize("longest", [None, 71, 4 * PAGE])
def test_records_of_all_sizes_over_the_end_of_the_ring(longest: int | None) -> None:
    """Whatever their size and wherever they begin, they are whole."""
    needs_bpf()
    chance = random.Random(1)
    seen = 0
    with closing(RingBuffer(4 * PAGE, longest=longest)) as ring, closing(counters()) as held:
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, sizing(ring, held))) as program:
            while seen < 5000:
                run_program(program, chance.randint(1, PAGE // 80))
                for record in ring.take(1000):
                    assert record == (seen.to_bytes(8, sys.byteorder) * 9)[: 8 + seen % 64]
                    seen += 1
        assert counted(held) == (seen, 0)


def test_what_has_no_room_is_counted() -> None:
    """Records and failures together are all that was tried, and room is used again once it has been given back."""
    needs_bpf()
    with closing(RingBuffer(PAGE)) as ring, closing(counters()) as held:
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, numbering(ring, held))) as program:
            run_program(program, 10_000)
            first = numbers(ring.take(100_000))
            run_program(program, 10_000)
            second = numbers(ring.take(100_000))
        runs, failures = counted(held)
    assert first == [*range(len(first))]
    assert second == [*range(10_000, 10_000 + len(second))]
    # One record less than fills it.
    assert len(first) == len(second) == PAGE // 24
    assert len(first) + len(second) + failures == runs == 20_000


def test_beside_a_busy_writer() -> None:
    """While a program submits on another CPU, nothing is lost but what is counted, and each wait ends."""
    needs_bpf()
    runs = 200_000
    seen: list[int] = []
    with closing(RingBuffer(16 * PAGE)) as ring, closing(counters()) as held, closing(select.epoll()) as poller:
        poller.register(ring, select.EPOLLIN)
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, numbering(ring, held))) as program:

            def write() -> None:
                for _ in range(runs // 1000):
                    run_program(program, 1000)

            writer = threading.Thread(target=write)
            writer.start()
            done = False
            while True:
                done = done or counted(held).runs == runs
                if not poller.poll(0 if done else PATIENCE):
                    break
                seen += numbers(ring.take(500))
            writer.join()
            assert done, "a record came and nobody was woken"
        count = counted(held)
    assert seen == sorted(set(seen))
    assert count.runs == runs == len(seen) + count.failures
    assert count.failures < runs


def test_each_record_wakes_the_reader() -> None:
    """A reader that has read everything and sleeps is woken by the next record, every time."""
    needs_bpf()
    with closing(RingBuffer(PAGE)) as ring, closing(counters()) as held, closing(select.epoll()) as poller:
        poller.register(ring, select.EPOLLIN)
        ready, go_on = os.pipe()
        with (
            descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, numbering(ring, held))) as program,
            descriptor(ready),
        ):

            def write() -> None:
                while os.read(ready, 1):
                    run_program(program)

            writer = threading.Thread(target=write)
            writer.start()
            for number in range(2000):
                os.write(go_on, b".")
                woken = poller.poll(PATIENCE)
                if not woken:
                    break
                assert numbers(ring.take(2)) == [number]
            os.close(go_on)
            writer.join()
    assert woken


@pytest.mark.parametrize("size", [0, 1, PAGE // 2, 3 * PAGE, PAGE + 8])
def test_sizes_that_cannot_be(size: int) -> None:
    """The error says what is needed; nothing is left open."""
    needs_bpf()
    with pytest.raises(OSError, match=f"no ring buffer of {size} bytes: a power of two") as caught:
        RingBuffer(size)
    assert caught.value.errno == errno.EINVAL


def maps() -> list[int]:
    """Return all descriptors of maps that are open here."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            if "bpf-map" in os.readlink(f"/proc/self/fd/{name}"):
                found.append(int(name))
    return found


def test_closing() -> None:
    """Twice is as good as once; what it held is not inherited before and is gone then."""
    needs_bpf()
    ring = RingBuffer(PAGE)
    opened = maps()
    assert len(opened) == 2
    assert not any(os.get_inheritable(number) for number in opened)
    ring.close()
    ring.close()
    assert ring.fileno() == -1
    assert not maps()


RECORD = st.tuples(st.sampled_from([0, 0, 0, BUSY, DISCARD]), st.binary(max_size=200))


@given(st.integers(0, 1 << 40), st.lists(RECORD, max_size=15), st.integers(0, 20))
def test_states_of_records(start: int, records: list[tuple[int, bytes]], limit: int) -> None:
    """In memory laid out as the kernel's, for it cannot be held at a busy record: that stops, and none is skipped."""
    start &= -8
    ring = RingBuffer.__new__(RingBuffer)
    ring._fd, ring._held = 0, ExitStack()
    ring._consumer, ring._producer = mmap.mmap(-1, PAGE), (ctypes.c_char * (3 * PAGE))()
    ring._look_at(PAGE)
    with closing(ring):
        position = start
        behind = [position]
        for state, data in records:
            piece = struct.pack("=II", len(data) | state, 0) + data + b"?" * (-len(data) % 8)
            for index, byte in enumerate(piece):
                place = PAGE + (position + index) % PAGE
                ring._producer[place] = ring._producer[place + PAGE] = byte
            position += len(piece)
            behind.append(position)
        ring._consumer[:8] = struct.pack("=Q", start)
        ring._producer[:8] = struct.pack("=Q", position)
        expected: list[bytes] = []
        passed = 0
        for state, data in records:
            if state == BUSY or len(expected) == limit:
                break
            passed += 1
            expected += [] if state == DISCARD else [data]
        assert ring.has_records() == bool(records and records[0][0] != BUSY)
        assert ring.take(limit) == expected
        assert struct.unpack_from("=Q", ring._consumer)[0] == behind[passed]

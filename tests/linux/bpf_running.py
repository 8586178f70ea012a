"""What the tests of BPF have in common: programs that are run, and what they need."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from children import has_capability

from rprun.linux import bpf, libc
from rprun.linux.bpf import MapKind
from rprun.linux.bpf_assembler import R0, R1, R2, Assembler, Helper
from rprun.linux.bpf_map import Map
from rprun.linux.bpf_ring import RingBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CAP_SETUID, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 7, 21, 38, 39
PROG_TEST_RUN = 10
# struct { prog_fd, retval, data_size_in, data_size_out; data_in, data_out; repeat, duration } test;
TEST_RUN = struct.Struct("=4I2Q2I")


def needs_bpf(*more: int) -> None:
    """Skip where the kernel would refuse everything, for want of CAP_BPF or one more capability."""
    if not has_capability(CAP_SYS_ADMIN) and not all(map(has_capability, (CAP_BPF, *more))):
        pytest.skip("CAP_BPF is missing, which only root has")


def run_program(program: int, repeat: int = 1) -> int:
    """Run a socket filter over an empty packet so many times; return the lower half of its last R0."""
    packet = ctypes.create_string_buffer(64)
    held = bytearray(TEST_RUN.pack(program, 0, 64, 0, ctypes.addressof(packet), 0, repeat, 0))
    attributes = (ctypes.c_char * len(held)).from_buffer(held)
    number = bpf._NUMBERS[os.uname().machine]
    libc.syscall(number, PROG_TEST_RUN, ctypes.addressof(attributes), len(held))
    return int(TEST_RUN.unpack(held)[1])


@contextmanager
def descriptor(number: int) -> Iterator[int]:
    """A descriptor, closed at the end."""
    try:
        yield number
    finally:
        os.close(number)


def counter() -> Map:
    """Return a map with one number."""
    return Map(MapKind.ARRAY, 4, 8, 1, name="counter")


def count(numbers: Map) -> int:
    """Return that number."""
    value = numbers.lookup(bytes(4))
    assert value is not None
    return int.from_bytes(value, sys.byteorder)


def counting(numbers: Map, result: int, pid: int | None = None) -> bytes:
    """Return a program that adds 1, for one process only if it is given, and returns `result`."""
    code = Assembler()
    if pid is not None:
        code.call(Helper.get_current_pid_tgid)
        code.shift_right(R0, 32)
        code.jump_if_not_equal(R0, pid, "out")
    code.map_value(R1, numbers.fd)
    code.move(R2, 1)
    code.atomic_add(R1, 0, R2)
    code.label("out")
    code.move(R0, result)
    code.exit()
    return code.assemble()


def ring_in_memory(records: Sequence[bytes], size: int = 1 << 21, filler: bytes = b"?") -> RingBuffer:
    """Return a ring, in memory laid out as the kernel's, that nobody adds to; anybody can have it.

    Args:
        records: what is in it.
        size: bytes that there is room for.
        filler: what is between the records.
    """
    ring = RingBuffer.__new__(RingBuffer)
    ring._fd, ring._held = 0, ExitStack()
    ring._consumer = mmap.mmap(-1, mmap.PAGESIZE)
    ring._producer = (ctypes.c_char * (mmap.PAGESIZE + 2 * size))()
    ring._look_at(size)
    data = b"".join(struct.pack("=II", len(record), 0) + record + filler * (-len(record) % 8) for record in records)
    assert len(data) <= size
    ring._producer[mmap.PAGESIZE : mmap.PAGESIZE + len(data)] = data
    ring._producer[:8] = struct.pack("=Q", len(data))
    return ring

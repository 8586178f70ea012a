"""Maps: what is in them, what they refuse, and how they are seen from here and from programs."""

from __future__ import annotations

import errno
import os
import struct
import sys
from contextlib import closing

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from bpf_running import counter, descriptor, needs_bpf, run_program

from rprun.linux import bpf
from rprun.linux.bpf import MapKind, ProgramKind
from rprun.linux.bpf_assembler import R0, R1, R2, R6, R10, Assembler, Helper
from rprun.linux.bpf_map import Map, possible_cpus


def test_a_hash() -> None:
    """Values are there until they are taken out; what has no room is refused."""
    needs_bpf()
    with closing(Map(MapKind.HASH, 8, 5, 2, name="of_the_tests")) as held:
        assert not os.get_inheritable(held.fd)
        assert held.lookup(b"firstkey") is None
        held.update(b"firstkey", b"11111")
        held.update(b"otherkey", b"22222")
        held.update(b"firstkey", b"33333")
        assert held.lookup(b"firstkey") == b"33333"
        assert sorted(held.keys()) == [b"firstkey", b"otherkey"]
        with pytest.raises(OSError, match=os.strerror(errno.E2BIG)):
            held.update(b"thirdkey", b"44444")
        assert held.delete(b"firstkey")
        assert not held.delete(b"firstkey")
        assert list(held.keys()) == [b"otherkey"]
        for wrong in (b"", b"short", b"much too long"):
            with pytest.raises(ValueError, match="a key of"):
                held.lookup(wrong)
            with pytest.raises(ValueError, match="a value of"):
                held.update(b"firstkey", wrong + b"!")
    held.close()
    assert held.fd == -1


def test_many_deleted_at_once() -> None:
    """Those that are there are gone, and of those that are not nothing is heard."""
    needs_bpf()
    with closing(Map(MapKind.HASH, 4, 4, 64)) as held:
        keys = [number.to_bytes(4, sys.byteorder) for number in range(40)]
        for key in keys:
            held.update(key, bytes(4))
        held.delete_all([])
        held.delete_all([*keys[:3], b"none", *keys[2:7], b"none"])
        assert sorted(held.keys()) == sorted(keys[7:])
        held.delete_all(keys[7:39])
        assert list(held.keys()) == keys[39:]
        with pytest.raises(ValueError, match="keys that have not 4 bytes"):
            held.delete_all([b"short"])


def test_an_emptied_hash() -> None:
    """All of it can be taken out while going through it, though keys may come twice."""
    needs_bpf()
    with closing(Map(MapKind.LRU_HASH, 4, 4, 64)) as held:
        for number in range(20):
            held.update(number.to_bytes(4, sys.byteorder), bytes(4))
        for key in held.keys():  # noqa: SIM118 - a map is no dict
            held.delete(key)
        assert list(held.keys()) == []


def test_an_array_of_every_cpu() -> None:
    """A program counts on its CPU; the value is that of all."""
    needs_bpf()
    with closing(Map(MapKind.PERCPU_ARRAY, 4, 12, 3)) as held:
        code = Assembler()
        code.store_immediate(R10, -4, 2, size=4)
        code.map_address(R1, held.fd)
        code.move(R2, R10)
        code.add(R2, -4)
        code.call(Helper.map_lookup_elem)
        code.jump_if_equal(R0, 0, "out")
        code.load(R6, R0, 0)
        code.add(R6, 1)
        code.store(R0, 0, R6)
        code.label("out")
        code.move(R0, 0)
        code.exit()
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, code.assemble())) as program:
            run_program(program, 1000)
        value = held.lookup(struct.pack("=I", 2))
        assert value is not None
        assert len(value) == 16 * possible_cpus()
        assert sum(memoryview(value).cast("Q")[::2]) == 1000
        assert len(list(held.keys())) == 3
        assert not any(held.lookup(bytes(4)) or b"?")


def test_mapped_values() -> None:
    """They can be read and written without a system call, and outlive the map's own descriptor."""
    needs_bpf()
    with closing(Map(MapKind.ARRAY, 4, 4, 1000, flags=bpf.MMAPABLE)) as held:
        held.update(struct.pack("=I", 999), b"last")
        with held.mapped() as memory:
            assert memory[999 * 8 : 999 * 8 + 4] == b"last"
            memory[:4] = b"1st!"
            assert held.lookup(bytes(4)) == b"1st!"
            held.close()
            assert memory[:4] == b"1st!"


def test_what_cannot_be_made() -> None:
    """The kernel's own errors come through."""
    needs_bpf()
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        Map(MapKind.ARRAY, 4, 0, 1)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        Map(MapKind.ARRAY, 4, 4, 1, name="longer than 15 bytes")
    with closing(counter()) as held:
        assert held.lookup(struct.pack("=I", 7)) is None
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            held.delete(bytes(4))

"""Reading memory: strings at the ends of pages, processes that may not be read, and hosts that lack the call."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from children import NOBODY, exit_code, forked
from hypothesis import given
from hypothesis import strategies as st

from rprun.linux import libc, memory, process, syscalls
from rprun.linux.memory import FIRST_CHUNK, PAGE, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGES = 40
# process_vm_readv(2): syscall_64.tbl, syscall_32.tbl, asm-generic/unistd.h
READV = {"x86_64": 310, "i386": 347, "aarch64": 270}


class Region:
    """Pages of this process that end before one that nobody can read."""

    def __init__(self) -> None:
        # Beyond the end of its file a page cannot be read by anybody; /proc/PID/mem would read one without permissions.
        file = os.memfd_create("region")
        os.ftruncate(file, (PAGES + 1) * PAGE)
        self.map = mmap.mmap(file, 0, mmap.MAP_PRIVATE)
        os.ftruncate(file, PAGES * PAGE)
        os.close(file)
        self._view = ctypes.c_char.from_buffer(self.map)
        self.start = ctypes.addressof(self._view)
        self.end = self.start + PAGES * PAGE

    def put(self, data: bytes, *, before_end: int) -> int:
        """Place data that far before the unreadable page; return its address."""
        offset = PAGES * PAGE - before_end
        self.map[offset : offset + len(data)] = data
        return self.start + offset


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    """Memory of this process, which the tests read as if it were another's."""
    made = Region()
    yield made
    del made._view
    made.map.close()


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 4094, 4095, 4096, 100_000])
@pytest.mark.parametrize("after", [0, 1, 300])
def test_a_string_is_read_whole(region: Region, length: int, after: int) -> None:
    """Of any length, and with its NUL as the last byte that can be read, or with more behind it."""
    text = b"x" * length
    address = region.put(text + b"\0" + b"y" * after, before_end=length + 1 + after)
    assert memory.read_string(os.getpid(), address, 1 << 20) == (text, True)


@pytest.mark.parametrize("length", [1, 255, 256, 257, 5000])
def test_a_string_that_runs_into_nothing(region: Region, length: int) -> None:
    """What can be read is given, and that it has no end."""
    address = region.put(b"z" * length, before_end=length)
    assert memory.read_string(os.getpid(), address, 1 << 20) == (b"z" * length, False)


@given(
    st.integers(0, 3 * PAGE),
    st.integers(0, PAGE),
    st.sampled_from((0, 1, 16, FIRST_CHUNK - 1, FIRST_CHUNK, FIRST_CHUNK + 1, PAGE, 4 * PAGE)),
)
def test_a_limit_is_kept(region: Region, length: int, after: int, limit: int) -> None:
    """No more than `limit` bytes are looked at, the NUL among them, wherever the string lies."""
    text = b"x" * length
    address = region.put(text + b"\0" + b"y" * after, before_end=length + 1 + after)
    assert memory.read_string(os.getpid(), address, limit) == (text[:limit], length < limit)


def test_a_reader_forgets(region: Region) -> None:
    """What one call has read does not turn up in the next."""
    reader = Reader()
    reader.string(os.getpid(), region.put(b"a" * 200 + b"\0", before_end=400), PAGE)
    assert reader.string(os.getpid(), region.put(b"b", before_end=1), PAGE) == (b"b", False)
    assert reader.string(os.getpid(), region.put(b"\0", before_end=1), PAGE) == (b"", True)


@pytest.mark.parametrize("size", [1, PAGE, 3 * PAGE + 5, PAGES * PAGE])
def test_a_block(region: Region, size: int) -> None:
    """As many bytes as were asked for, and fewer where the memory ends."""
    data = os.urandom(size)
    address = region.put(data, before_end=size)
    assert memory.read(os.getpid(), address, size) == data
    assert memory.read(os.getpid(), address, size + 3 * PAGE) == data
    assert memory.read(os.getpid(), address, 0) == b""


def test_a_block_of_many_pages() -> None:
    """More pages than one call takes pieces."""
    with mmap.mmap(-1, 1100 * PAGE) as large:
        large[:] = bytes(range(256)) * (1100 * PAGE // 256)
        view = ctypes.c_char.from_buffer(large)
        assert memory.read(os.getpid(), ctypes.addressof(view) + 3, 1100 * PAGE - 3) == large[3:]
        del view


@pytest.mark.parametrize("address", [0, 1, -1, -PAGE, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 80])
def test_a_bad_address_is_efault(address: int) -> None:
    """Whatever the number is."""
    for call in (memory.read, memory.read_string):
        with pytest.raises(OSError, match=r".") as caught:
            call(os.getpid(), address, 5000)
        assert caught.value.errno == errno.EFAULT


def test_the_unreadable_page_is_efault(region: Region) -> None:
    """It is what the tests above rely on."""
    with pytest.raises(OSError, match=r".") as caught:
        memory.read(os.getpid(), region.end, 1)
    assert caught.value.errno == errno.EFAULT


def test_another_process(region: Region) -> None:
    """A child's memory is its own."""
    address = region.put(b"parent\0", before_end=900)
    ready, told = os.pipe()
    hold, release = os.pipe()

    def body() -> None:
        os.close(release)
        region.put(b"child\0", before_end=900)
        os.write(told, b"!")
        os.read(hold, 1)

    pid = forked(body)
    os.read(ready, 1)
    assert memory.read_string(pid, address, PAGE) == (b"child", True)
    assert memory.read_string(os.getpid(), address, PAGE) == (b"parent", True)
    for descriptor in (ready, told, hold, release):
        os.close(descriptor)
    assert exit_code(pid) == 0
    with pytest.raises(ProcessLookupError):
        memory.read_string(pid, address, PAGE)


def test_a_process_that_has_ended() -> None:
    """There is nothing to be read any more."""
    pid = forked(lambda: None)
    exit_code(pid)
    for call in (memory.read, memory.read_string):
        with pytest.raises((ProcessLookupError, PermissionError)):
            call(pid, 0x400000, 10)


def test_a_process_of_somebody_else() -> None:
    """It says that it must not, by either way."""
    # Where /proc hides it (hidepid), it is another's.
    if os.geteuid() != 0 and os.path.exists("/proc/1") and os.stat("/proc/1").st_uid == os.geteuid():
        pytest.skip("needs a process of another user's: pid 1 is this one's")

    def body() -> None:
        if os.geteuid() == 0:
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            except PermissionError:
                pass  # Root without privilege; process 1 has more.
        for call in (memory.read, memory.read_string):
            with pytest.raises(PermissionError):
                call(1, 0x400000, 10)

    assert exit_code(forked(body)) == 0


def refuse(number: int, error: int) -> None:
    """Let a system call of this process fail from now on, as a container's filter does."""
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),
            (0x15, 0, 1, number),
            (0x06, 0, 0, 0x50000 | error),
            (0x06, 0, 0, 0x7FFF0000),
        )
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    process.set_no_new_privs()
    native = syscalls.native()
    assert native is not None
    libc.syscall(syscalls.NUMBERS[native]["seccomp"], 1, 0, ctypes.addressof(program))


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_without_the_call(region: Region, error: int) -> None:
    """Where process_vm_readv is missing or forbidden, /proc gives the same answers."""
    native = syscalls.native()
    if native is None:
        pytest.skip("needs a table for this machine")

    def body() -> None:
        refuse(READV[native], error)
        with pytest.raises(OSError, match=r".") as refused:
            libc.syscall(READV[native], os.getpid(), 0, 0, 0, 0, 0)
        assert refused.value.errno == error
        tests: tuple[Callable[[], None], ...] = (
            lambda: test_a_string_is_read_whole(region, 4095, 0),
            lambda: test_a_string_is_read_whole(region, 10, 300),
            lambda: test_a_string_that_runs_into_nothing(region, 257),
            lambda: test_a_block(region, 3 * PAGE + 5),
            lambda: test_the_unreadable_page_is_efault(region),
            test_a_process_that_has_ended,
            *(lambda address=address: test_a_bad_address_is_efault(address) for address in (0, -1, 1 << 47, 1 << 63)),
        )
        for test in tests:
            test()

    assert exit_code(forked(body)) == 0

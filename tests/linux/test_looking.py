"""What is asked before a path or a page is looked at: mounts, and openat2(2), and page tables."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import sys
from errno import EAGAIN, ELOOP, ENOENT
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from silent_mounts import filesystem

from rprun.linux import openat2, pages
from rprun.linux.mounts import Mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = mmap.PAGESIZE
NOBODY = 2**22 + 1  # No process has that number.


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """What is mounted, as of the start of the test."""
    made = Mounts()
    yield made
    made.close()


def test_what_is_mounted(mounts: Mounts) -> None:
    """The root and procfs are, and what is in procfs is local."""
    assert mounts.points >= {b"/", b"/proc"}
    assert os.stat("/proc").st_dev in mounts.proc
    descriptor = os.open("/proc/self", os.O_PATH)
    try:
        assert mounts.is_local(descriptor)
    finally:
        os.close(descriptor)
    assert not mounts.is_local(descriptor)


def test_a_mount_is_heard_of(mounts: Mounts, tmp_path: Path) -> None:
    """By an epoll, once for each change; and by who looks again, whatever its place is called."""
    place = tmp_path / "a \\b\n"
    place.mkdir()
    waited = mounts.may_wait
    with select.epoll() as epoll:
        epoll.register(mounts.fileno(), select.EPOLLPRI)
        assert epoll.poll(0) == []
        with filesystem(place):
            assert [number for number, _ in epoll.poll(10)] == [mounts.fileno()]
            assert epoll.poll(0) == []
            assert bytes(place) not in mounts.points
            mounts.look_again()
            assert bytes(place) in mounts.points
            assert mounts.may_wait
            descriptor = openat2.look_at(bytes(place), openat2.CACHED)
            try:
                assert not mounts.is_local(descriptor)
            finally:
                os.close(descriptor)
            with pytest.raises(BlockingIOError):
                openat2.look_at(bytes(place / "x"), openat2.CACHED)
        mounts.look_again()
        assert bytes(place) not in mounts.points
        assert mounts.may_wait is waited


def test_what_is_not_done_on_the_way(tmp_path: Path) -> None:
    """Links are not followed where that is said; what is missing is missing in any case."""
    (tmp_path / "link").symlink_to(".")
    path = bytes(tmp_path / "link")
    assert openat2.failure(path, 0) == openat2.failure(path, openat2.NO_MAGICLINKS) == 0
    assert openat2.failure(path, openat2.NO_SYMLINKS) == ELOOP
    assert openat2.failure(bytes(tmp_path / "none"), openat2.NO_SYMLINKS) == ENOENT
    assert openat2.failure(b"/proc/self/root", openat2.NO_MAGICLINKS) == ELOOP
    assert openat2.failure(bytes(tmp_path / os.urandom(8).hex()), openat2.CACHED) in (EAGAIN, ENOENT)
    descriptor = openat2.look_at(path, openat2.NO_SYMLINKS, follows=False)
    try:
        assert os.readlink("", dir_fd=descriptor) == "."
    finally:
        os.close(descriptor)


def test_pages_that_nobody_serves() -> None:
    """All of them are readable, be they there, not there yet, or no memory at all; of nobody nothing is."""
    memory = mmap.mmap(-1, 4 * PAGE)
    keeper = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(keeper)
    memory[PAGE] = 1
    for at in (address, address + PAGE + 5, 8):
        assert pages.readable(os.getpid(), at, 2 * PAGE) == 2 * PAGE
    assert pages.readable(NOBODY, address, 1) == 0
    del keeper
    memory.close()

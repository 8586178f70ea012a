"""Directories as a process sees them: what a relative path is relative to, wherever that is."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

import os
import threading
from pathlib import Path

from ebpf_calls import call, one, opened, told, two

sys.path.append(str(Path(__file__).parents[1] / "linux"))
from children import CAP_SYS_ADMIN, has_capability

from rprun.backends.ebpf import loops
from rprun.backends.ebpf.walk import join_components

CAP_SYS_CHROOT = 18
CLONE_NEWNS, CLONE_FS, CLONE_FILES = 0x20000, 0x200, 0x400
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2


def test_names() -> None:
    """They come leaf first; without any it is the root."""
    assert join_components(None) is None
    assert join_components(b"") == b"/"
    assert join_components(b"c\0b b\0\xff\0") == b"/\xff/b b/c"


@pytest.mark.parametrize("may_goto", [True, False])
def test_current_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, may_goto: bool) -> None:
    """However deep up to a bound, at the root, with any bytes, renamed; and none that has been removed."""
    if not may_goto:
        monkeypatch.setattr(loops, "has_may_goto", lambda: False)
    here = os.fsencode(tmp_path)
    deep = here + b"/" + b"/".join([b"\xfe" + b"d" * 40] * 30)
    deeper = here + b"/" + b"/".join([b"d"] * 70)
    os.makedirs(deep)
    os.makedirs(deeper)
    os.mkdir(here + b"/old")

    def body() -> None:
        for directory in (b"/", deep, deeper, here + b"/old"):
            os.chdir(directory)
            call("open", b"x", os.O_RDONLY, 0)
        os.rename(here + b"/old", here + b"/new")
        call("open", b"x", os.O_RDONLY, 0)
        os.rmdir(here + b"/new")
        call("open", b"x", os.O_RDONLY, 0)

    result = "ENOENT"
    assert told(body) == [
        opened(b"/x", os.O_RDONLY, result),
        opened(deep + b"/x", os.O_RDONLY, result),
        opened(None, os.O_RDONLY, result),
        opened(here + b"/old/x", os.O_RDONLY, result),
        two("rename", here + b"/old", here + b"/new"),
        opened(here + b"/new/x", os.O_RDONLY, result),
        one("rmdir", here + b"/new"),
        opened(None, os.O_RDONLY, result),
    ]


def test_mounts(tmp_path: Path) -> None:
    """The path leads through mounts and mounts upon mounts, as the process's own namespace has them."""
    here = os.fsencode(tmp_path)
    for name in (b"/source/in/side", b"/target"):
        os.makedirs(here + name)
    if not has_capability(CAP_SYS_ADMIN):
        pytest.skip("CAP_SYS_ADMIN is missing, which only root has")

    def body() -> None:
        target = here + b"/target"
        assert call("unshare", CLONE_NEWNS) == 0
        assert call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
        assert call("mount", here + b"/source", target, None, MS_BIND, None) == 0
        os.chdir(target + b"/in/side")
        call("open", b"x", os.O_RDONLY, 0)
        os.chdir(target)
        call("open", b"x", os.O_RDONLY, 0)
        assert call("mount", b"none", target, b"tmpfs", 0, None) == 0
        os.mkdir(target + b"/t")
        os.chdir(target + b"/t")
        call("open", b"x", os.O_RDONLY, 0)
        assert call("umount2", target, MNT_DETACH) == 0
        call("open", b"x", os.O_RDONLY, 0)

    target = here + b"/target"
    assert told(body) == [
        opened(target + b"/in/side/x", os.O_RDONLY, "ENOENT"),
        opened(target + b"/x", os.O_RDONLY, "ENOENT"),
        one("mkdir", target + b"/t"),
        opened(target + b"/t/x", os.O_RDONLY, "ENOENT"),
        opened(None, os.O_RDONLY, "ENOENT"),
    ]


def test_chroot(tmp_path: Path) -> None:
    """Paths begin at the process's root; a directory outside of it has none."""
    here = os.fsencode(tmp_path)
    os.makedirs(here + b"/root/below")
    if not has_capability(CAP_SYS_CHROOT):
        pytest.skip("CAP_SYS_CHROOT is missing, which only root has")

    def body() -> None:
        outside = os.open(here, os.O_RDONLY)
        os.chdir(here + b"/root/below")
        os.chroot(here + b"/root")
        call("open", b"x", os.O_RDONLY, 0)
        os.chdir(b"/")
        call("open", b"x", os.O_RDONLY, 0)
        call("openat", outside, b"x", os.O_RDONLY, 0)

    assert [fields["path"] for _, fields in told(body)[1:]] == [b"/below/x", b"/x", None]


def test_a_thread_of_its_own(tmp_path: Path) -> None:
    """A thread may have a current directory and descriptors of its own: its own count."""
    here = os.fsencode(tmp_path)
    os.mkdir(here + b"/own")

    def body() -> None:
        os.chdir(here)

        def other() -> None:
            assert call("unshare", CLONE_FS | CLONE_FILES) == 0
            os.chdir(here + b"/own")
            call("open", b"x", os.O_RDONLY, 0)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        call("open", b"x", os.O_RDONLY, 0)

    paths = [fields["path"] for _, fields in told(body)]
    assert paths == [here + b"/own/x", here + b"/x"]

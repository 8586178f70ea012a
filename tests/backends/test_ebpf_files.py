"""The program at the end of calls on files: paths, and what they are relative to."""

from __future__ import annotations

import os
import re
import shutil
import struct
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_calls import AT_FDCWD, BAD, END, Told, attached, call, events, in_tree, one, opened, told, two
from running import wait_until

AT_EMPTY_PATH, AT_REMOVEDIR, RESOLVE_IN_ROOT = 0x1000, 0x200, 0x10


def test_every_call_on_files(tmp_path: Path) -> None:
    """Absolute paths, the current directory and a descriptor's, with success and failure."""
    here = os.fsencode(tmp_path)

    def body() -> None:
        os.chdir(here)
        at = os.open(b"/", os.O_RDONLY)
        relative = here[1:]
        assert call("creat", b"a", 0o644) >= 0
        made = call("open", here + b"/a", os.O_RDWR, 0)
        assert made >= 0
        call("openat", at, relative + b"/a", os.O_RDONLY, 0)
        call("openat", AT_FDCWD, b"none", os.O_WRONLY, 0)
        call("openat", 99, b"a", os.O_RDONLY, 0)
        call("openat", AT_FDCWD, b"a/b", os.O_RDONLY | os.O_PATH, 0)
        call("openat2", at, relative + b"/a", struct.pack("=QQQ", os.O_RDONLY, 0, 0), 24)
        call("truncate", b"a", 5)
        call("ftruncate", made, 7)
        call("ftruncate", 99, 7)
        call("chmod", b"a", 0o600)
        call("fchmod", made, 0o600)
        call("fchmodat", at, relative + b"/a", 0o600)
        call("fchmodat2", AT_FDCWD, b"a", 0o600, 0)
        call("chown", b"a", -1, -1)
        call("lchown", b"a", -1, -1)
        call("fchown", made, -1, -1)
        call("fchownat", at, relative + b"/a", -1, -1, 0)
        call("link", b"a", b"b")
        call("linkat", at, relative + b"/a", AT_FDCWD, b"c", 0)
        call("linkat", AT_FDCWD, b"a", AT_FDCWD, b"c", 0)
        call("symlink", b"../x y", b"s")
        call("symlinkat", b"", at, relative + b"/t")
        call("rename", b"b", b"d")
        call("renameat", at, relative + b"/d", AT_FDCWD, b"e")
        call("renameat2", AT_FDCWD, b"e", at, relative + b"/f", 1)
        call("mkdir", b"m", 0o755)
        call("mkdirat", at, relative + b"/n", 0o755)
        call("mkdirat", at, relative + b"/n", 0o755)
        call("rmdir", b"m")
        call("unlinkat", at, relative + b"/n", AT_REMOVEDIR)
        call("unlinkat", at, relative + b"/f", 0)
        call("unlink", b"c")
        call("unlink", b"c")
        call("rmdir", b"s")

    a = here + b"/a"
    assert told(body) == [
        opened(b"/", os.O_RDONLY | os.O_CLOEXEC | os.O_LARGEFILE),
        opened(a, os.O_CREAT | os.O_WRONLY | os.O_TRUNC),
        opened(a, os.O_RDWR),
        opened(a, os.O_RDONLY),
        opened(here + b"/none", os.O_WRONLY, "ENOENT"),
        opened(None, os.O_RDONLY, "EBADF"),
        opened(a + b"/b", os.O_PATH, "ENOTDIR"),
        opened(a, os.O_RDONLY),
        one("truncate", a),
        one("truncate", a),
        one("truncate", None, "EBADF"),
        *[one("chmod", a)] * 4,
        *[one("chown", a)] * 4,
        two("link", a, here + b"/b"),
        two("link", a, here + b"/c"),
        two("link", a, here + b"/c", "EEXIST"),
        two("symlink", b"../x y", here + b"/s"),
        two("symlink", b"", here + b"/t", "ENOENT"),
        two("rename", here + b"/b", here + b"/d"),
        two("rename", here + b"/d", here + b"/e"),
        two("rename", here + b"/e", here + b"/f"),
        one("mkdir", here + b"/m"),
        one("mkdir", here + b"/n"),
        one("mkdir", here + b"/n", "EEXIST"),
        one("rmdir", here + b"/m"),
        one("rmdir", here + b"/n"),
        one("unlink", here + b"/f"),
        one("unlink", here + b"/c"),
        one("unlink", here + b"/c", "ENOENT"),
        one("rmdir", here + b"/s", "ENOTDIR"),
    ]


def test_descriptors_in_place_of_paths(tmp_path: Path) -> None:
    """AT_EMPTY_PATH is about the descriptor; a file without a name has no path; an empty path is none."""
    here = os.fsencode(tmp_path)

    def body() -> None:
        os.chdir(here)
        made = os.open(b"a", os.O_RDWR | os.O_CREAT)
        call("fchownat", made, b"", -1, -1, AT_EMPTY_PATH)
        call("fchownat", AT_FDCWD, b"", -1, -1, AT_EMPTY_PATH)
        call("fchownat", made, b"", -1, -1, 0)
        call("openat", AT_FDCWD, b"", os.O_RDONLY, 0)
        os.unlink(b"a")
        call("ftruncate", made, 3)
        call("ftruncate", os.memfd_create("m"), 3)
        call("ftruncate", os.pipe()[1], 3)
        call("open", here, os.O_TMPFILE | os.O_RDWR, 0o600)

    assert told(body) == [
        opened(here + b"/a", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_LARGEFILE),
        one("chown", here + b"/a"),
        one("chown", here),
        one("chown", None, "ENOENT"),
        opened(None, os.O_RDONLY, "ENOENT"),
        one("unlink", here + b"/a"),
        one("truncate", None),
        one("truncate", None),
        one("truncate", None, "EINVAL"),
        opened(here, os.O_TMPFILE | os.O_RDWR),
    ]


def test_openat2(tmp_path: Path) -> None:
    """Its flags are in memory; RESOLVE_IN_ROOT makes absolute paths relative; what is unreadable is unknown."""
    here = os.fsencode(tmp_path)

    def body() -> None:
        at = os.open(here, os.O_RDONLY)
        rooted = struct.pack("=QQQ", os.O_RDWR | os.O_CREAT, 0o600, RESOLVE_IN_ROOT)
        call("openat2", at, b"/a", rooted, 24)
        call("openat2", at, b"/", struct.pack("=QQQ", 0, 0, RESOLVE_IN_ROOT), 24)
        call("openat2", at, b"a", BAD, 24)

    unknown: Told = (
        "file-open",
        {"path": here + b"/a", "flags": None, "access": None, "create": None, "result": "EFAULT"},
    )
    assert told(body)[1:] == [
        opened(here + b"/a", os.O_RDWR | os.O_CREAT),
        opened(here + b"/.", os.O_RDONLY),
        unknown,
    ]


def test_paths_as_they_are(tmp_path: Path) -> None:
    """Any bytes, the longest path there can be, and none where nothing can be read or it is too long."""
    here = os.fsencode(tmp_path)
    longest = b"/".ljust(4095, b"x")

    def body() -> None:
        os.chdir(here)
        for path in (b"\xff \n.//../y", longest, longest + b"x", BAD, None):
            call("open", path, os.O_RDONLY, 0)

    assert told(body) == [
        opened(here + b"/\xff \n.//../y", os.O_RDONLY, "ENOENT"),
        opened(longest, os.O_RDONLY, "ENAMETOOLONG"),
        opened(None, os.O_RDONLY, "ENAMETOOLONG"),
        opened(None, os.O_RDONLY, "EFAULT"),
        opened(None, os.O_RDONLY, "EFAULT"),
    ]


def test_what_strace_tells(tmp_path: Path) -> None:
    """The opens of a program, each with its path and result: nothing is missing, nothing invented."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    log = tmp_path / "log"
    # It ends at once: to show an exception, newer versions import a good deal.
    program = f"import os, json, http.client, email.message\nos.path.exists({END!r})\n"
    program += f"try: os.open({END!r}, 0)\nexcept OSError: os._exit(1)"

    def body() -> None:
        # -D: it is not the parent of what it traces, so this process is that.
        os.execv(
            strace,
            [strace, "-D", "-q", "-o", str(log), "-e", "trace=?open,openat", sys.executable, "-S", "-c", program],
        )

    with attached() as maps:
        with in_tree(maps, body, status=1) as pid:
            pass
        assert maps.read_lost() == (0, 0, 0)
        found = [(fields["path"], fields["result"]) for kind, fields in events(maps, pid) if kind == "file-open"]
    wait_until(lambda: "+++ exited" in log.read_text())
    lines = re.findall(r'^open(?:\(|at\(AT_FDCWD, )"([^"]*)".* = (?:\d+|-1 (E\w+).*)$', log.read_text(), re.MULTILINE)
    told_there = [(os.fsencode(os.path.join(Path.cwd(), path)), error or "ok") for path, error in lines]
    assert len(told_there) > 50
    # Before the exec there are those of the strace that becomes it.
    assert told_there[-1] == (END.encode(), "ENOENT")
    assert found[-len(told_there) + 1 :] == told_there[:-1]

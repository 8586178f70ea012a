"""What is read and told of calls on files and of execs, from this process's own memory."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("Linux is what this is about", allow_module_level=True)

import contextlib
import os
import stat
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from seccomp_calls import AT_EMPTY_PATH, AT_FDCWD, Memory, event_of, events_of, record_of
from silent_mounts import filesystem

from rprun.backends.seccomp import decode, record
from rprun.backends.seccomp.capture import Capture
from rprun.backends.seccomp.looking import Looking
from rprun.linux import libc
from rprun.linux.syscalls import AARCH64, I386, X32, X86_64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BAD = 8  # An address in the page that nobody has.
PR_SET_DUMPABLE = 4  # include/uapi/linux/prctl.h
PRCTL = {"x86_64": 157, "aarch64": 167}


@pytest.fixture
def memory() -> Memory:
    """Gives memory that lasts as long as the test."""
    return Memory()


@pytest.mark.parametrize("abi", [X86_64, I386, X32, AARCH64])
def test_open_of_an_absolute_path(memory: Memory, tmp_path: Path, abi: str) -> None:
    """Path, flags, access and whether it exists, whatever the ABI."""
    path = memory.put(bytes(tmp_path / "new"))
    flags = os.O_RDWR | os.O_CREAT
    fields = {"path": bytes(tmp_path / "new"), "flags": flags, "access": "readwrite", "create": True, "exists": False}
    assert event_of("openat", AT_FDCWD, path, flags, abi=abi) == ("file-open", fields)
    (tmp_path / "new").touch()
    assert event_of("openat", AT_FDCWD, path, flags, abi=abi) == ("file-open", fields | {"exists": True})


@pytest.mark.parametrize(
    ("flags", "access", "create"),
    [
        (os.O_WRONLY, "write", False),
        (3, "readwrite", False),
        (os.O_PATH | 2, "read", False),
        (os.O_TMPFILE | os.O_RDWR, "readwrite", True),
        (0xFFFFFFFF00000000, "read", False),
    ],
)
def test_access(memory: Memory, flags: int, access: str, create: bool) -> None:
    """The access is what O_ACCMODE says; O_PATH takes none; only 32 bits of the register count."""
    _, fields = event_of("openat", AT_FDCWD, memory.put(b"/"), flags)
    assert (fields["access"], fields["create"], fields["flags"]) == (access, create, flags & 0xFFFFFFFF)


def test_relative_paths(memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are joined with the directory as they are, be it the current one or a descriptor's."""
    monkeypatch.chdir(tmp_path)
    path = memory.put(b"./a//b/../c")
    assert event_of("open", path, 0)[1]["path"] == bytes(tmp_path) + b"/./a//b/../c"
    directory = os.open("/", os.O_RDONLY)
    try:
        _, fields = event_of("openat", directory, memory.put(b"etc"), 0)
        assert (fields["path"], fields["exists"]) == (b"/etc", True)
        assert event_of("openat", -1, path, 0)[1]["path"] is None
    finally:
        os.close(directory)


def test_paths_that_cannot_be_known(memory: Memory) -> None:
    """Unreadable, too long and empty ones are None, and the event comes."""
    for address in (0, BAD, (1 << 64) - 1, memory.put(b"/" + b"x" * 4096), memory.put(b"")):
        kind, fields = event_of("openat", AT_FDCWD, address, 0)
        assert (kind, fields["path"], "exists" in fields) == ("file-open", None, False)
    assert event_of("unlink", BAD) == ("file-unlink", {"path": None})


def test_a_directory_that_was_removed(memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is relative to it has no path; a directory that is only named like that has one."""
    for name in ("gone", "named (deleted)"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "gone":
            (tmp_path / name).rmdir()
        expected = None if name == "gone" else bytes(tmp_path / name / "a")
        assert event_of("mkdir", memory.put(b"a")) == ("file-mkdir", {"path": expected})


def test_existence_is_that_of_what_would_be_opened(memory: Memory, tmp_path: Path) -> None:
    """A link to nothing exists where links are not followed; O_EXCL does not follow one either."""
    (tmp_path / "link").symlink_to("nothing")
    path = memory.put(bytes(tmp_path / "link"))
    for flags, exists in ((0, False), (os.O_NOFOLLOW, True), (os.O_CREAT, False), (os.O_CREAT | os.O_EXCL, True)):
        assert event_of("openat", AT_FDCWD, path, flags)[1]["exists"] is exists


def test_proc_self_is_the_process(memory: Memory) -> None:
    """The text stays as given, and is looked at under the process's number or not at all."""
    for text in (b"/proc/self/status", b"/proc/thread-self/status"):
        _, fields = event_of("open", memory.put(text), 0)
        assert (fields["path"], fields["exists"]) == (text, True)
    for text in (b"//proc/self/status", b"/dev/fd/0", b"/dev/stdin"):
        assert "exists" not in event_of("open", memory.put(text), 0)[1]


def test_links_that_lead_everybody_elsewhere(memory: Memory, tmp_path: Path) -> None:
    """What is found, or not, behind a link into /proc/self is another thing for the process: it is not known."""
    targets = ("/proc/self/fd/99999", "/proc/thread-self/fd/99999", "/dev/fd/99999", "outer", "/proc/self/fd/99999/x")
    (tmp_path / "outer").symlink_to("/proc/self/fd/99999")
    for number, target in enumerate(targets):
        (tmp_path / f"link{number}").symlink_to(target)
        path = memory.put(bytes(tmp_path / f"link{number}"))
        assert "exists" not in event_of("open", path, 0)[1]
        assert event_of("execve", path, memory.vector(b"x"))[0] == "exec"
    (tmp_path / "links").symlink_to(tmp_path)
    for name in ("links/nothing", "links/links/nothing/x", "nothing/../links"):
        path = memory.put(bytes(tmp_path / name))
        assert event_of("open", path, 0)[1]["exists"] is False
        assert event_of("execve", path, memory.vector(b"x")) is None
    # A program that is what this process's descriptor leads to, and not what the supervisor's does.
    (tmp_path / "program").symlink_to("/proc/self/fd/0")
    assert event_of("execve", memory.put(bytes(tmp_path / "program")), memory.vector(b"x"))[0] == "exec"


@pytest.mark.parametrize("mount", ["/", "/dev/shm"])
def test_programs_behind_links(mount: str, memory: Memory, tmp_path: Path) -> None:
    """A link to a program is one; a link to a directory or to what is no program is none. On any mount."""
    with tempfile.TemporaryDirectory(dir=tmp_path if mount == "/" else mount) as place:
        expect_programs_behind_links(memory, Path(place))


def expect_programs_behind_links(memory: Memory, tmp_path: Path) -> None:
    """Make links of all kinds in a directory, and execute each."""
    (tmp_path / "shell").symlink_to("../" * 9 + "bin/sh")
    (tmp_path / "here").symlink_to(".")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "text").touch()
    for name in ("shell", "here/here/shell"):
        assert event_of("execve", memory.put(bytes(tmp_path / name)), memory.vector(b"x"))[0] == "exec"
    for name in ("here/text", "here", "here/shell/x", "loop"):
        assert event_of("execve", memory.put(bytes(tmp_path / name)), memory.vector(b"x")) is None


@pytest.fixture
def protected_links() -> Iterator[None]:
    """Links in a directory that everybody may write to are followed for their owners only (proc_sys_fs(5))."""
    setting = Path("/proc/sys/fs/protected_symlinks")
    before = setting.read_text(encoding="ascii")
    if before == "0\n":
        try:
            setting.write_text("1", encoding="ascii")
        except OSError as error:
            pytest.skip(f"links may be followed anywhere, and to change that needs root: {error}")
    yield
    if before == "0\n":
        setting.write_text("0", encoding="ascii")


@pytest.mark.usefixtures("protected_links")
def test_programs_behind_links_that_only_their_owner_may_follow(memory: Memory, tmp_path: Path) -> None:
    """They are read, and it is known what is no program."""
    tmp_path.chmod(0o1777)
    (tmp_path / "text").touch()
    for name, target in (("shell", "/bin/sh"), ("here", "text"), ("gone", "nothing"), ("directory", "/bin")):
        (tmp_path / name).symlink_to(target)
        try:
            os.lchown(tmp_path / name, 65534, 65534)
        except PermissionError as error:
            pytest.skip(f"lchown(2), which needs to be root: {error}")
        outcome = event_of("execve", memory.put(bytes(tmp_path / name)), memory.vector(b"x"))
        assert (outcome is not None) == (name == "shell")


def test_dots_behind_what_may_not_be_searched() -> None:
    """They are found in a directory that may be searched, and not in another."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        for name, mode in (("open", 0o755), ("closed", 0o600)):
            os.mkdir(f"{place}/{name}")
            os.chmod(f"{place}/{name}", mode)
        os.symlink("open", f"{place}/link")
        looking, before = Looking(), os.geteuid()
        # Root may search everything, unless it has no capabilities.
        with contextlib.suppress(PermissionError):
            os.seteuid(before or 65534)
        try:
            for end in (".", "..", "../open", "./..", "../link/."):
                path = os.fsencode(f"{place}/open/{end}")
                assert looking._walk(path, follows=True) == os.stat(path).st_mode
                with pytest.raises(PermissionError):
                    looking._walk(os.fsencode(f"{place}/closed/{end}"), follows=True)
            assert stat.S_ISDIR(looking._walk(os.fsencode(f"{place}/closed/"), follows=True))
        finally:
            os.seteuid(before)


def test_who_takes_over(memory: Memory, tmp_path: Path) -> None:
    """Whatever may have been noticed before, is taken for noticed; what can be known is known all the same."""
    capture = Capture()
    capture.distrust([os.getpid()])
    assert (capture.serves_pages, capture.views.looking.is_careful) == (True, True)
    for name, exists in (("", True), ("none", False)):
        assert event_of("open", memory.put(bytes(tmp_path / name)), 0, capture=capture)[1]["exists"] is exists


def test_openat2(memory: Memory) -> None:
    """Its flags are in memory, and it may have a root of its own."""
    path, how = memory.put(b"/etc"), memory.put(struct.pack("=3Q", os.O_WRONLY, 0, 0))
    expected = {"path": b"/etc", "flags": 1, "access": "write", "create": False, "exists": True}
    assert event_of("openat2", AT_FDCWD, path, how, 24) == ("file-open", expected)
    rooted = memory.put(struct.pack("=3Q", 0, 0, 0x10))
    directory = os.open("/usr", os.O_RDONLY)
    try:
        _, fields = event_of("openat2", directory, memory.put(b"/lib"), rooted, 24)
    finally:
        os.close(directory)
    assert (fields["path"], "exists" in fields) == (b"/usr/lib", False)
    _, fields = event_of("openat2", AT_FDCWD, path, BAD, 24)
    assert fields == {"path": b"/etc", "flags": None, "access": None, "create": None}


def test_creat(memory: Memory, tmp_path: Path) -> None:
    """It is an open with flags of its own; its mode has bits that would be flags, and are not."""
    (tmp_path / "link").symlink_to("nothing")
    path = bytes(tmp_path / "link")
    expected = {"path": path, "flags": 0o1101, "access": "write", "create": True, "exists": False}
    assert event_of("creat", memory.put(path), 0o777) == ("file-open", expected)


def test_every_other_call_on_a_path(memory: Memory) -> None:
    """Each has its kind; unlinkat tells the two of its kinds apart."""
    p = memory.put(b"/p")
    for name, arguments, kind in (
        ("truncate", (p,), "truncate"),
        ("unlink", (p,), "unlink"),
        ("unlinkat", (AT_FDCWD, p, 0), "unlink"),
        ("unlinkat", (AT_FDCWD, p, 0x200), "rmdir"),
        ("rmdir", (p,), "rmdir"),
        ("mkdirat", (AT_FDCWD, p), "mkdir"),
        ("chmod", (p,), "chmod"),
        ("fchmodat2", (AT_FDCWD, p, 0, 0), "chmod"),
        ("lchown", (p,), "chown"),
        ("fchownat", (AT_FDCWD, p, 0, 0, 0), "chown"),
    ):
        assert event_of(name, *arguments) == (f"file-{kind}", {"path": b"/p"})
    assert event_of("chown32", p, abi=I386) == ("file-chown", {"path": b"/p"})


def test_two_paths(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own directory; the text of a symbolic link is left alone."""
    monkeypatch.chdir("/usr")
    a, b, empty = memory.put(b"/a"), memory.put(b"b"), memory.put(b"")
    both = {"from": b"/a", "to": b"/usr/b"}
    assert event_of("renameat2", AT_FDCWD, a, AT_FDCWD, b, 0) == ("file-rename", both)
    assert event_of("rename", a, b) == ("file-rename", both)
    assert event_of("linkat", AT_FDCWD, a, AT_FDCWD, b, 0) == ("file-link", both)
    assert event_of("symlinkat", b, AT_FDCWD, a) == ("file-symlink", {"from": b"b", "to": b"/a"})
    assert event_of("symlink", empty, b) == ("file-symlink", {"from": b"", "to": b"/usr/b"})


def test_descriptors(memory: Memory, tmp_path: Path) -> None:
    """A call on a descriptor, or with an empty path, is about the file that it is open on, if that has a name."""
    (tmp_path / "file").touch()
    descriptor, read, write = os.open(tmp_path / "file", os.O_RDWR), *os.pipe()
    empty, path = memory.put(b""), {"path": bytes(tmp_path / "file")}
    try:
        assert event_of("ftruncate", descriptor, 0) == ("file-truncate", path)
        assert event_of("fchownat", descriptor, empty, 0, 0, AT_EMPTY_PATH) == ("file-chown", path)
        assert event_of("fchownat", descriptor, empty, 0, 0, 0) == ("file-chown", {"path": None})
        assert event_of("linkat", descriptor, empty, AT_FDCWD, memory.put(b"/n"), AT_EMPTY_PATH)[1] == {
            "from": path["path"],
            "to": b"/n",
        }
        assert event_of("fchmod", write, 0) == ("file-chmod", {"path": None})
        (tmp_path / "file").unlink()
        assert event_of("fchmod", descriptor, 0) == ("file-chmod", {"path": None})
    finally:
        for number in (descriptor, read, write):
            os.close(number)


def test_exec(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path, argv and directory; bytes stay bytes."""
    monkeypatch.chdir("/usr")
    expected = {"path": b"/bin/sh", "argv": [b"sh", b"", b"\xff\n"], "cwd": b"/usr"}
    argv = memory.vector(b"sh", b"", b"\xff\n")
    assert event_of("execve", memory.put(b"/bin/sh"), argv) == ("exec", expected)
    shell = os.open("/bin/sh", os.O_RDONLY)
    try:
        _, fields = event_of("execveat", shell, memory.put(b""), argv, 0, AT_EMPTY_PATH)
        assert fields == expected | {"path": os.fsencode(os.path.realpath("/bin/sh"))}
    finally:
        os.close(shell)
    assert event_of("execve", memory.put(b"/bin/sh"), 0)[1]["argv"] == []
    assert event_of("execve", memory.put(b"/bin/sh"), BAD)[1]["argv"] is None


def test_exec_of_a_file_without_a_name(memory: Memory) -> None:
    """A program in a memfd has no path, and is an exec all the same."""
    descriptor = os.memfd_create("program")
    try:
        _, fields = event_of("execveat", descriptor, memory.put(b""), memory.vector(b"p"), 0, AT_EMPTY_PATH)
    finally:
        os.close(descriptor)
    assert (fields["path"], fields["argv"]) == (None, [b"p"])


def test_no_exec(memory: Memory, tmp_path: Path) -> None:
    """A search along PATH meets files that are missing, directories, and files that are no programs."""
    (tmp_path / "text").touch(0o644)
    for path in (tmp_path / "missing", tmp_path / "text", tmp_path, tmp_path / "text" / "x"):
        assert event_of("execve", memory.put(bytes(path)), memory.vector(b"x")) is None


def test_a_program_that_is_forbidden_here(memory: Memory, tmp_path: Path) -> None:
    """What the supervisor may not look at the process may be able to execute: that is told."""
    place = tmp_path / "place"
    place.mkdir()
    with filesystem(place, user=1) if os.geteuid() == 0 else contextlib.nullcontext():
        place.chmod(0o600) if os.geteuid() else None
        with pytest.raises(PermissionError):
            (place / "program").stat()
        path = bytes(place / "program")
        kind, fields = event_of("execve", memory.put(path), memory.vector(b"program"))
        place.chmod(0o700) if os.geteuid() else None
    assert (kind, fields["path"]) == ("exec", path)


def test_argv_without_an_end_in_sight(memory: Memory) -> None:
    """It is cut at what a record holds, and its last item says so; many short ones and one long one alike."""
    path = memory.put(b"/bin/sh")
    for texts in ([b"word" * 10] * 20_000, [b"a", b"x" * 2_000_000]):
        data = record_of("execve", path, memory.vector(*texts))
        assert len(data) <= record.LIMIT
        ((_, _, _, fields),) = decode.decode(data)
        argv = fields["argv"]
        assert isinstance(argv, list)
        assert argv.pop() is None
        assert argv == texts[: len(argv)] != texts


def test_short_pointers(memory: Memory) -> None:
    """An i386 program's argv has 4-byte pointers; here they lead nowhere, which is what must be found."""
    argv = memory.put(struct.pack("=2I", BAD, 0))
    for abi in (I386, X32):
        assert event_of("execve", memory.put(b"/bin/sh"), argv, abi=abi)[1]["argv"] is None
    assert event_of("execve", memory.put(b"/bin/sh"), memory.put(bytes(4)), abi=I386)[1]["argv"] == []


def test_set_id_programs(memory: Memory, tmp_path: Path) -> None:
    """A record says whether the program would get another user's or group's rights."""
    program = tmp_path / "program"
    program.touch()
    for mode, expected in ((0o755, False), (0o4755, True), (0o2755, True), (0o2745, False)):
        program.chmod(mode)
        if program.stat().st_mode & 0o7777 != mode:
            pytest.skip("a file's set-ID bits, which this file system or user cannot set")
        seen = record.unpack(record_of("execve", memory.put(bytes(program)), 0))
        assert decode.is_set_id(seen) is expected


def test_a_process_that_is_not_there(memory: Memory) -> None:
    """Everything of it is unknown, and nothing raises."""
    capture = Capture()
    captured = capture.capture(0xC000003E, 257, [AT_FDCWD, BAD, 0, 0, 0, 0], 2**22 + 1, 2**22 + 1)
    assert record.unpack(record.pack(0xC000003E, 257, 1, 1, 0, [0] * 6, captured)).blobs == [b"", None]


@contextlib.contextmanager
def forked(prepare: Callable[[], None]) -> Iterator[int]:
    """Run a child with this process's memory, which does what is said and then stands still."""
    ready, end = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare()
            os.write(ready[1], b"x")
            os.close(end[1])
            os.read(end[0], 1)
        finally:
            os._exit(0)
    try:
        os.close(ready[1])
        assert os.read(ready[0], 1) == b"x"
        yield child
    finally:
        for descriptor in (ready[0], *end):
            os.close(descriptor)
        os.waitpid(child, 0)


def open_of(child: int, address: int) -> record.Record:
    """Return the record of an open in another process."""
    registers = [AT_FDCWD, address, 0, 0, 0, 0]
    captured = Capture().capture(0xC000003E, 257, registers, child, child)
    return record.unpack(record.pack(0xC000003E, 257, child, child, 0, registers, captured))


def test_another_process(memory: Memory, tmp_path: Path) -> None:
    """What is relative is so to its directory, not to the supervisor's."""
    path = memory.put(b"there")
    (tmp_path / "there").touch()
    with forked(lambda: os.chdir(tmp_path)) as child:
        seen = open_of(child, path)
    assert (seen.blobs, seen.marks) == ([bytes(tmp_path), b"there"], record.EXISTS)


def test_another_root(memory: Memory, tmp_path: Path) -> None:
    """In a chroot paths are as the process sees them, and nothing is said of what exists."""
    path = memory.put(b"there")
    (tmp_path / "inside").mkdir()

    def change() -> None:
        os.chroot(tmp_path)
        os.chdir("/inside")

    try:
        with forked(change) as child:
            seen = open_of(child, path)
    except AssertionError:
        pytest.skip("chroot(2), which needs to be root")
    assert (seen.blobs, seen.marks) == ([b"/inside", b"there"], 0)


def test_a_process_that_may_not_be_read(memory: Memory) -> None:
    """One that is not dumpable keeps its memory and its directory to itself, but from the privileged."""
    path = memory.put(b"there")
    with forked(lambda: libc.syscall(PRCTL[os.uname().machine], PR_SET_DUMPABLE, 0) and None) as child:
        seen = open_of(child, path)
        try:
            with open(f"/proc/{child}/mem", "rb"):
                expected: list[bytes | None] = [os.fsencode(os.getcwd()), b"there"]
        except (PermissionError, FileNotFoundError):
            # The latter where /proc hides such processes (hidepid, proc(5)).
            expected = [b"", None]
    assert seen.blobs == expected


def test_io_uring_and_unknown_calls() -> None:
    """What bypasses the filter is said once; what is not known is counted."""
    capture = Capture()
    found = events_of("io_uring_setup", 8, 0, capture=capture)
    assert [(kind, fields["category"]) for kind, fields in found] == [("unobserved", "file"), ("unobserved", "network")]
    assert events_of("io_uring_setup", 8, 0, capture=capture) == []
    lost = [("lost", {"category": category, "count": 1}) for category in ("file", "network", "process")]
    assert events_of("getdents64") == lost

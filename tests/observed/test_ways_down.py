"""Where the kernel refuses something, the command runs all the same, and what is missing is said."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from observing import (
    BACKEND,
    WITHOUT_PRIVILEGE,
    Events,
    capabilities,
    observe,
    of_kind,
    options,
    python,
    read_events,
    reasons,
)
from running import clean_environment, rprun_argv, wait_until

from rprun.linux import syscalls

if TYPE_CHECKING:
    from pathlib import Path

# A filter that gives an errno for one call, where an argument has a value: a policy of a container's or a kernel's.
REFUSE = """
import ctypes, os, struct, sys
number, error, index, value = map(int, sys.argv[1:5])
LOAD, EQUAL, SET, RETURN = 0x20, 0x15, 0x45, 0x06
program = [(LOAD, 0, 0, 0), (EQUAL, 0, 3, number)]
if index < 0:
    program += [(LOAD, 0, 0, 0), (EQUAL, 0, 1, number)]
else:
    program += [(LOAD, 0, 0, 16 + 8 * index), (EQUAL if value > 1 << 16 else SET, 0, 1, value)]
program += [(RETURN, 0, 0, 0x50000 | error), (RETURN, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("=HBBI", *each) for each in program)
buffer = ctypes.create_string_buffer(code, len(code))
header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(header))) == 0, ctypes.get_errno()
os.execv(sys.argv[5], sys.argv[5:])
"""

SCRIPT = ("sh", "-c", "cat /dev/null; (exec 3</dev/null; exit 3); exit 7")
PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
SET_FLAGS = 0x40082104


def refusing(name: str, error: int, *, bits: int = 0, request: int = 0) -> tuple[str, ...]:
    """Words before a command that has one system call refused: always, or with flags, or for one ioctl."""
    numbers = syscalls.NUMBERS[syscalls.native() or ""]
    extra = {"process_vm_readv": {"x86_64": 310, "aarch64": 270}, "ioctl": {"x86_64": 16, "aarch64": 29}}
    number = numbers[name] if name in numbers else extra[name][syscalls.native() or ""]
    index, value = (1, request or bits) if request or bits else (-1, 0)
    return python(REFUSE, str(number), str(error), str(index), str(value))


def refused(tmp_path: Path, before: tuple[str, ...]) -> tuple[dict[str, tuple[str, str]], Events]:
    """The matrix, and the events of a run that must come out as it should."""
    rprun = [shutil.which(rprun_argv()[0]) or "", *rprun_argv()[1:]]
    path = tmp_path / "events"
    result = subprocess.run(
        [*WITHOUT_PRIVILEGE, *before, *rprun, "--observe", "all", "--json", "--events", path, "--", *SCRIPT],
        check=False,
        capture_output=True,
        env=clean_environment(),
        timeout=60,
    )
    assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 7)
    return reasons(capabilities(*WITHOUT_PRIVILEGE, *before, *rprun)), read_events(path)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EBUSY])
def test_no_filter_at_all(number: int, tmp_path: Path) -> None:
    """The kernel refuses the filter: unavailable, with a sentence of its own for each reason; snapshots are left."""
    matrix, events = refused(tmp_path, refusing("seccomp", number))
    words = {
        errno.EINVAL: "gVisor",
        errno.ENOSYS: "no seccomp filters",
        errno.EPERM: "security policy",
        errno.EACCES: "even with no_new_privs",
        errno.EBUSY: "another supervisor",
    }
    assert {support for support, _ in matrix.values()} == {"unavailable"}
    assert all(words[number] in reason for _, reason in matrix.values())
    # What is left is told by snapshots, and of processes by the proc connector, after the fact.
    assert not [event for event in events if "attempt" in event]
    assert of_kind(events, "unobserved") == []


def test_snapshots_are_what_is_left(tmp_path: Path) -> None:
    """Where no filter is to be had, they are chosen for files and network, and what they see is reported."""
    before = [*WITHOUT_PRIVILEGE, *refusing("seccomp", errno.EPERM), shutil.which(rprun_argv()[0]) or ""]
    before += rprun_argv()[1:]
    rows = json.loads(subprocess.run([*before, "capabilities", "--json"], check=True, capture_output=True).stdout)
    chosen = {row["category"]: (row["backend"], row["support"]) for row in rows}
    assert chosen["file"] == chosen["network"] == ("psutil-poll", "partial")
    assert chosen["process"][0] in {"psutil-poll", "proc-connector"}
    path = tmp_path / "events"
    words = [*before, "--observe", "file", "--json", "--events", str(path), "--", "sh", "-c", "exec 3>here; cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env=clean_environment(), cwd=tmp_path) as process:
        wait_until(lambda: path.exists() and f'"{tmp_path.resolve()}/here"' in path.read_text())
        process.communicate()
    assert process.returncode == 0
    assert {event["kind"] for event in read_events(path)} <= {"file-open"}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_no_process_vm_readv(number: int, tmp_path: Path) -> None:
    """Memory is read from /proc/PID/mem instead, and nothing is missing."""
    matrix, events = refused(tmp_path, refusing("process_vm_readv", number))
    assert matrix["file"][0] == "partial"
    assert "cannot be read" not in matrix["file"][1]
    opened = [event["path"] for event in of_kind(events, "file-open")]
    assert "/dev/null" in opened
    assert None not in opened
    assert ["cat", "/dev/null"] in [event["argv"] for event in of_kind(events, "exec")]


def test_no_exit_statuses(tmp_path: Path) -> None:
    """A kernel before 6.15: statuses are null, and the reason says so. Parents are found in /proc."""
    before = refusing("ioctl", errno.ENOTTY, request=PIDFD_GET_INFO)
    matrix, events = refused(tmp_path, before)
    assert "exit statuses are unknown" in matrix["process"][1]
    started = of_kind(events, "descendant-started")
    assert len(started) == 2
    if not [event for event in events if event.get("result")]:
        assert {event["exit_code"] for event in of_kind(events, "descendant-exited")} == {None}
        assert len(of_kind(events, "descendant-exited")) == 2
    assert {event["ppid"] for event in started} == {events[0]["pid"]}


def test_no_sync_wake_up(tmp_path: Path) -> None:
    """A kernel before 6.6: slower, and the reason says so."""
    matrix, events = refused(tmp_path, refusing("ioctl", errno.EINVAL, request=SET_FLAGS))
    assert "slow" in matrix["file"][1]
    assert of_kind(events, "file-open")


def test_no_wait_killable(tmp_path: Path) -> None:
    """A kernel before 5.19: the filter is installed without the flag, and the reason says so."""
    matrix, events = refused(tmp_path, refusing("seccomp", errno.EINVAL, bits=1 << 5))
    assert "5.19" in matrix["file"][1]
    assert of_kind(events, "file-open")


def test_inside_another_rprun(tmp_path: Path) -> None:
    """Without privilege snapshots are left for the inner one; both statuses are right."""
    inner = [
        *WITHOUT_PRIVILEGE,
        *rprun_argv(),
        *options(tmp_path / "inner")[:2],
        *("--json", "--events", str(tmp_path / "inner")),
    ]
    result, outer = observe(tmp_path, *inner, "--", *SCRIPT)
    assert (result.stderr, result.returncode) == (b"", 7)
    events = read_events(tmp_path / "inner")
    assert (events[0]["kind"], events[-1]["exit_code"]) == ("started", 7)
    assert not [event for event in events if "attempt" in event]
    assert of_kind(events, "unobserved") == []
    assert ["cat", "/dev/null"] in [event["argv"] for event in of_kind(outer, "exec")]
    assert 7 in {event["exit_code"] for event in of_kind(outer, "descendant-exited")}


def test_capabilities_inside(tmp_path: Path) -> None:
    """`rprun capabilities` says it as well, and a forced backend is an error that says why."""
    result, _ = observe(tmp_path, *rprun_argv(), "capabilities", "--json", "--all")
    assert {support for support, _ in reasons(json.loads(result.stdout)).values()} == {"unavailable"}
    result, _ = observe(tmp_path, *rprun_argv(), *options("-", "file"), "--", "true")
    assert result.returncode == 125
    assert f"--backend file={BACKEND}: another supervisor" in result.stderr.decode()


def test_a_program_with_its_own_filter(tmp_path: Path) -> None:
    """It installs it and is held to it; what it forbids itself is not seen."""
    command = [*refusing("mkdir", errno.EPERM), "/bin/sh", "-c", "mkdir new; cat /dev/null; exit 5"]
    if "mkdir" not in syscalls.NUMBERS[syscalls.native() or ""]:
        pytest.skip("mkdir(2) is missing on this machine")
    result, events = observe(tmp_path, *command, cwd=tmp_path)
    assert result.returncode == 5
    assert b"not permitted" in result.stderr
    assert not (tmp_path / "new").exists()
    assert of_kind(events, "file-mkdir") == []
    assert ["cat", "/dev/null"] in [event["argv"] for event in of_kind(events, "exec")]


def test_strace_inside(tmp_path: Path) -> None:
    """Plain ptrace works inside, and what it shows is complete."""
    if shutil.which("strace") is None:
        pytest.skip("strace is missing")
    trace = tmp_path / "trace"
    result, events = observe(
        tmp_path,
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=openat,execve",
        "-o",
        str(trace),
        "sh",
        "-c",
        "cat /dev/null; exit 5",
    )
    if b"Operation not permitted" in result.stderr:
        pytest.skip("ptrace(2) is forbidden here")
    assert result.returncode == 5
    assert '"/dev/null"' in trace.read_text()
    assert ["cat", "/dev/null"] in [event["argv"] for event in of_kind(events, "exec")]

"""What `rprun capabilities` reports on each kind of host: every row, and with --all every candidate, as one table.

The command line is run in an interpreter that takes itself for one on that host (see `as_host`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import clean_environment

if sys.platform != "linux":
    pytest.skip("other hosts are stood in for on Linux", allow_module_level=True)

PROGRAM = str(Path(__file__).parent / "as_host.py")

SUPPORTED, PARTIAL, UNAVAILABLE = "supported", "partial", "unavailable"

# Backend, level, and what its reason must say, by what was found out about it.
EBPF = ("ebpf", PARTIAL, "io_uring")
EBPF_ALL = ("ebpf", SUPPORTED, "each start, exec and end is seen in the kernel")
EBPF_EPERM = ("ebpf", UNAVAILABLE, "run rprun as root, or give it CAP_BPF and CAP_PERFMON")
EBPF_ENOSYS = ("ebpf", UNAVAILABLE, "it needs Linux 5.8 with CONFIG_BPF_SYSCALL")
CONNECTOR = ("proc-connector", SUPPORTED, "every start and end of a process is told by the kernel")
CONNECTOR_ALONE = ("proc-connector", PARTIAL, "for want of seccomp user notification: another supervisor")
CONNECTOR_INSIDE = ("proc-connector", UNAVAILABLE, "run rprun on the host itself, outside of a container")
CONNECTOR_EPERM = ("proc-connector", UNAVAILABLE, "before Linux 6.6 the kernel tells only root of processes")
CONNECTOR_NONE = ("proc-connector", UNAVAILABLE, "it needs Linux 6.6 with CONFIG_PROC_EVENTS")
SECCOMP = ("seccomp-user-notify", PARTIAL, "before the kernel acts on")
SECCOMP_USER = ("seccomp-user-notify", PARTIAL, "sudo and set-user-ID programs get no privilege inside")
SECCOMP_OLD = ("seccomp-user-notify", PARTIAL, "exit statuses are unknown (they need Linux 6.15)")
SECCOMP_BUSY = ("seccomp-user-notify", UNAVAILABLE, "run rprun outside of it")
SECCOMP_EINVAL = ("seccomp-user-notify", UNAVAILABLE, "it needs Linux 5.5 with CONFIG_SECCOMP_FILTER")
SECCOMP_EPERM = ("seccomp-user-notify", UNAVAILABLE, "ask who runs this container")
POLL = ("psutil-poll", PARTIAL, "what comes and goes between two looks at the processes is missed")
POLL_NONE = ("psutil-poll", UNAVAILABLE, "on Linux that takes /proc (mount it)")
NOT_HERE = "it works on Linux only"
LINUX_ONLY = [(name, UNAVAILABLE, NOT_HERE) for name in ("ebpf", "seccomp-user-notify")]
LINUX_ONLY_PROCESS = [(name, UNAVAILABLE, NOT_HERE) for name in ("ebpf", "proc-connector", "seccomp-user-notify")]
WINDOWS_ONLY = ("etw", UNAVAILABLE, "not built in this version of rprun; it will work on Windows only")
KQUEUE_ELSEWHERE = ("kqueue", UNAVAILABLE, "not built in this version of rprun; it will work on macOS only")
SECURITY_ELSEWHERE = (
    "endpoint-security",
    UNAVAILABLE,
    "not built in this version of rprun; it will work on macOS only",
)
ETW = ("etw", UNAVAILABLE, "not built in this version of rprun; use Process Monitor until it is")
KQUEUE = ("kqueue", UNAVAILABLE, "not built in this version of rprun; use sudo fs_usage -w -f filesys until it is")
SECURITY_NETWORK = ("endpoint-security", UNAVAILABLE, "use sudo fs_usage -w -f network until it is")
SECURITY_PROCESS = ("endpoint-security", UNAVAILABLE, "use sudo eslogger exec fork exit until it is")


def linux(
    process: list[tuple[str, str, str]], others: list[tuple[str, str, str]]
) -> dict[str, list[tuple[str, str, str]]]:
    """The candidates of a Linux host: those of its own, and behind them those that are for other systems."""
    return {
        "file": [*others, WINDOWS_ONLY, KQUEUE_ELSEWHERE],
        "network": [*others, WINDOWS_ONLY, SECURITY_ELSEWHERE],
        "process": [*process, WINDOWS_ONLY, SECURITY_ELSEWHERE],
    }


BSD = {
    "file": [POLL, *LINUX_ONLY, WINDOWS_ONLY, KQUEUE_ELSEWHERE],
    "network": [POLL, *LINUX_ONLY, WINDOWS_ONLY, SECURITY_ELSEWHERE],
    "process": [POLL, *LINUX_ONLY_PROCESS, WINDOWS_ONLY, SECURITY_ELSEWHERE],
}

CANDIDATES: dict[str, dict[str, list[tuple[str, str, str]]]] = {
    "linux-root": linux([EBPF_ALL, CONNECTOR, SECCOMP, POLL], [EBPF, SECCOMP, POLL]),
    "linux-user": linux([EBPF_EPERM, CONNECTOR, SECCOMP_USER, POLL], [EBPF_EPERM, SECCOMP_USER, POLL]),
    "linux-container": linux([EBPF_EPERM, CONNECTOR_INSIDE, SECCOMP_OLD, POLL], [EBPF_EPERM, SECCOMP_USER, POLL]),
    "linux-watched": linux([EBPF_EPERM, CONNECTOR_ALONE, SECCOMP_BUSY, POLL], [EBPF_EPERM, SECCOMP_BUSY, POLL]),
    "linux-5.4": linux([EBPF_EPERM, CONNECTOR_EPERM, SECCOMP_EINVAL, POLL], [EBPF_EPERM, SECCOMP_EINVAL, POLL]),
    "linux-locked-down": linux([EBPF_ENOSYS, CONNECTOR_NONE, SECCOMP_EPERM, POLL], [EBPF_ENOSYS, SECCOMP_EPERM, POLL]),
    "linux-without-proc": linux(
        [EBPF_EPERM, CONNECTOR_EPERM, SECCOMP_EPERM, POLL_NONE], [EBPF_EPERM, SECCOMP_EPERM, POLL_NONE]
    ),
    "macos": {
        "file": [KQUEUE, POLL, *LINUX_ONLY, WINDOWS_ONLY],
        "network": [SECURITY_NETWORK, POLL, *LINUX_ONLY, WINDOWS_ONLY],
        "process": [SECURITY_PROCESS, POLL, *LINUX_ONLY_PROCESS, WINDOWS_ONLY],
    },
    "windows": {
        "file": [ETW, POLL, *LINUX_ONLY, KQUEUE_ELSEWHERE],
        "network": [ETW, POLL, *LINUX_ONLY, SECURITY_ELSEWHERE],
        "process": [ETW, POLL, *LINUX_ONLY_PROCESS, SECURITY_ELSEWHERE],
    },
    "freebsd": BSD,
    "openbsd": BSD,
}

# What is chosen for file, network and process.
CHOSEN = {
    "linux-root": (EBPF, EBPF, EBPF_ALL),
    "linux-user": (SECCOMP_USER, SECCOMP_USER, CONNECTOR),
    "linux-container": (SECCOMP_USER, SECCOMP_USER, SECCOMP_OLD),
    "linux-watched": (POLL, POLL, CONNECTOR_ALONE),
    "linux-5.4": (POLL, POLL, POLL),
    "linux-locked-down": (POLL, POLL, POLL),
    "linux-without-proc": (("none", UNAVAILABLE, "ebpf: "),) * 3,
    "macos": (POLL, POLL, POLL),
    "windows": (POLL, POLL, POLL),
    "freebsd": (POLL, POLL, POLL),
    "openbsd": (POLL, POLL, POLL),
}
LIFECYCLE = ("portable-lifecycle", SUPPORTED, "the exit status itself")


def capabilities(host: str, *options: str) -> list[dict[str, str]]:
    """What `rprun capabilities --json` prints on a host."""
    done = subprocess.run(
        [sys.executable, PROGRAM, host, "capabilities", "--json", *options],
        env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    rows: list[dict[str, str]] = json.loads(done.stdout)
    assert all(list(row) == ["category", "support", "backend", "reason"] for row in rows)
    return rows


def agree(rows: list[dict[str, str]], table: list[tuple[str, tuple[str, str, str]]]) -> None:
    """The rows are those of the table, in its order, and each reason says what it must."""
    assert [(row["category"], row["backend"], row["support"]) for row in rows] == [
        (category, backend, support) for category, (backend, support, _) in table
    ]
    for row, (_, (_, _, said)) in zip(rows, table, strict=True):
        assert said in row["reason"], row


@pytest.mark.parametrize("host", CHOSEN)
def test_what_a_host_is_said_to_observe(host: str) -> None:
    """One row a category, in order: how much is seen, by what, and why no more."""
    categories = ("lifecycle", "file", "network", "process")
    agree(capabilities(host), list(zip(categories, (LIFECYCLE, *CHOSEN[host]), strict=True)))


@pytest.mark.parametrize("host", CANDIDATES)
def test_all_that_there_is_and_will_be(host: str) -> None:
    """With --all every candidate is there, best first and foreign ones last, also those that are planned only."""
    table = [("lifecycle", LIFECYCLE)]
    table += [(category, row) for category, rows in CANDIDATES[host].items() for row in rows]
    agree(capabilities(host, "--all"), table)


@pytest.mark.parametrize("host", ["linux-without-proc", "linux-user", "macos", "freebsd"])
def test_a_requirement_that_cannot_be_met_has_that_reason(host: str) -> None:
    """--require ends with 125 before the start, and its line has the reason of the matrix."""
    level = "partial" if host == "linux-without-proc" else "supported"
    (row,) = (row for row in capabilities(host) if row["category"] == "file")
    done = subprocess.run(
        [sys.executable, PROGRAM, host, "--require", f"file={level}", "--", "echo", "started"],
        env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.decode() == f"rprun: --require file={level}: it is {row['support']} here: {row['reason']}\n"

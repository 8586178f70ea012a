"""Namespaces, capabilities and limits: where eBPF works, and what is said where it does not."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ebpf_observing import ALL, kinds, needs_ebpf, observe, options, works
from observing import capabilities, lost, of_kind, python, read_events
from running import (
    rprun_argv,
    run,
)

if TYPE_CHECKING:
    pass


def test_in_a_pid_namespace(tmp_path: Path) -> None:
    """Numbers are those of rprun's own namespace, also of processes in one further down."""
    needs_ebpf()
    words = ("unshare", "--pid", "--fork", "--mount-proc")
    if not works(*words):
        pytest.skip("root is needed to make pid namespaces")
    result, events = observe(tmp_path, *words, "sh", "-c", "sh -c 'exit 3'; echo $$; :", before=words)
    assert (result.stdout, result.stderr) == (b"1\n", b"")
    started = of_kind(events, "descendant-started")
    assert [event["ppid"] for event in started] == [events[0]["pid"], started[0]["pid"]]
    assert max(event["pid"] for event in events) < 100
    ended = [(event["pid"], event["exit_code"]) for event in of_kind(events, "descendant-exited")]
    assert ended == [(started[1]["pid"], 3), (started[0]["pid"], 0)]


REUSE = """
import os
open("/proc/sys/kernel/pid_max", "w").write("301")
for i in range(1000):
    pid = os.fork()
    if not pid:
        os.close(os.open("/dev/null", 0))
        os._exit(i % 50)
    os.waitpid(pid, 0)
"""


def test_reused_numbers(tmp_path: Path) -> None:
    """Numbers that come back within milliseconds belong to new processes."""
    needs_ebpf()
    words = ("unshare", "--pid", "--fork", "--mount-proc")
    narrow = subprocess.run(
        [*words, "sh", "-c", "echo 301 >/proc/sys/kernel/pid_max"], check=False, capture_output=True
    )
    # Since Linux 6.14 each pid namespace has a pid_max of its own. Before, this would be the host's.
    if narrow.returncode or Path("/proc/sys/kernel/pid_max").read_text() == "301\n":
        pytest.skip("a pid namespace's own pid_max is missing, or root is needed for it")
    result, events = observe(tmp_path, *python(REUSE), before=words, categories=("file", "process"))
    assert (result.stderr, result.returncode) == (b"", 0)
    opened = Counter(event["pid"] for event in of_kind(events, "file-open") if event["path"] == "/dev/null")
    started = Counter(event["pid"] for event in of_kind(events, "descendant-started"))
    assert started == opened
    assert len(started) < 301 < started.total() == 1000
    assert [event["exit_code"] for event in of_kind(events, "descendant-exited")] == [i % 50 for i in range(1000)]


def test_in_a_time_namespace(tmp_path: Path) -> None:
    """The clock of the programs is the host's, whatever CLOCK_MONOTONIC is here."""
    needs_ebpf()
    words = ("unshare", "--time", "--monotonic", "100000", "--fork")
    if not works(*words):
        pytest.skip("root is needed to make time namespaces, and Linux 5.6")
    _, events = observe(tmp_path, "true", before=words)
    now = time.time() * 1000
    assert all(abs(event["timestamp_ms"] - now) < 60_000 for event in events)


def test_a_changed_root_and_mounts(tmp_path: Path) -> None:
    """Paths are as the process sees them; what it cannot reach by any path has none."""
    needs_ebpf()
    if os.geteuid() or not works("unshare", "--mount"):
        pytest.skip("root is needed for chroot and mount")
    (tmp_path / "root" / "sub").mkdir(parents=True)
    for name in ("root/file", "root/sub/file", "outside"):
        (tmp_path / name).touch()
    program = (
        "import os, sys\nos.chdir(sys.argv[1])\nos.chroot('root')\nos.open('outside', 0)\n"
        "os.chdir('/sub')\nos.open('file', 0)\nos.open('/file', 0)"
    )
    _, events = observe(tmp_path, *python(program, str(tmp_path)), categories=["file"])
    assert [event["path"] for event in of_kind(events, "file-open")][-3:] == [None, "/sub/file", "/file"]
    script = 'mount -t tmpfs none "$0" && cd "$0" && : >new && umount -l "$0" && : >new'
    place = tmp_path / "root"
    result, events = observe(tmp_path, "unshare", "--mount", "sh", "-c", script, str(place), categories=["file"])
    if result.returncode:
        pytest.skip("root is not allowed to mount here")
    assert [event["path"] for event in of_kind(events, "file-open") if event["create"]] == [f"{place}/new", None]


CAPABILITIES = {"": False, ",+bpf": False, ",+perfmon": False, ",+bpf,+perfmon": True, ",+sys_admin": True}


@pytest.mark.parametrize("given", CAPABILITIES)
def test_capabilities(given: str, tmp_path: Path) -> None:
    """CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, are what it takes; the reason for less is that."""
    needs_ebpf()
    words = ("setpriv", f"--bounding-set=-all{given}", f"--inh-caps=-all{given}")
    if not works(*words):
        pytest.skip("setpriv(1) is missing, or root is without its capabilities")
    rows = capabilities(*words, *rprun_argv())
    found = {row["category"]: (row["support"], row["reason"]) for row in rows if row["backend"] == "ebpf"}
    if CAPABILITIES[given]:
        assert [found[category][0] for category in ALL] == ["partial", "partial", "supported"]
        result, events = observe(tmp_path, "sh", "-c", "cat /dev/null; exit 7", before=words)
        assert (result.returncode, kinds(events)["exec"], lost(events)) == (7, 2, 0)
    else:
        assert {support for support, _ in found.values()} == {"unavailable"}
        assert all("CAP_BPF and CAP_PERFMON" in reason for _, reason in found.values())


def test_in_a_user_namespace(tmp_path: Path) -> None:
    """Its root has no such privilege: the reason says so, and another backend is used."""
    words = ("unshare", "--user", "--map-root-user")
    if not works(*words):
        pytest.skip("unprivileged user namespaces are forbidden here")
    command = [*words, *rprun_argv(), *options(tmp_path / "events", "file"), "--", "true"]
    result = subprocess.run(command, check=False, capture_output=True)
    assert (result.returncode, result.stderr.count(b"\n")) == (125, 1)
    assert b"user namespace" in result.stderr
    command = [*words, *rprun_argv(), "--observe", "file", "--json", "--events", str(tmp_path / "events"), "--", "true"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert {event["attempt"] for event in of_kind(read_events(tmp_path / "events"), "file-open")} == {True}


def test_required(tmp_path: Path) -> None:
    """What it does not see all of is not `supported`."""
    needs_ebpf()
    result = run("--require", "file=supported", "--", "true")
    assert (result.returncode, result.stderr.count(b"\n")) == (125, 1)
    assert run("--require", "process=supported,file,network", "--", "true", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("place", ["/proc", "/sys"])
def test_without_a_file_system(place: str) -> None:
    """The reason names what is missing."""
    needs_ebpf()
    if not works("unshare", "--mount"):
        pytest.skip("root is needed to mount")
    words = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {place} && exec "$@"', "sh", *rprun_argv()]
    result = subprocess.run(
        [*words, "--observe", "file", "--backend", "file=ebpf", "--", "true"], check=False, capture_output=True
    )
    if result.returncode != 125:
        pytest.skip("root is not allowed to mount here")
    assert place.encode() in result.stderr.split(b"is missing")[0]

"""The command is as ever under eBPF: bytes, statuses, signals, descriptors, privilege."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ebpf_observing import needs_ebpf, observe, works
from observing import of_kind
from running import (
    TRANSPORTS,
    clean_environment,
    transport_id,
)

if TYPE_CHECKING:
    pass


@pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
def test_a_run(transport: tuple[str, ...], tmp_path: Path) -> None:
    """The first exec is there, the search along PATH and the monitor are not, and all have their outcomes."""
    environment = clean_environment(PATH=f"{tmp_path}/one:{tmp_path}/two:{os.environ['PATH']}")
    result, events = observe(tmp_path, "sh", "-c", "cat /dev/null; exit 7", more=transport, env=environment)
    assert (result.stderr, result.returncode) == (b"", 7)
    assert [event["argv"] for event in of_kind(events, "exec")] == [
        ["sh", "-c", "cat /dev/null; exit 7"],
        ["cat", "/dev/null"],
    ]
    (child,) = of_kind(events, "descendant-started")
    assert child["ppid"] == events[0]["pid"]
    assert {event["pid"] for event in events} == {events[0]["pid"], child["pid"]}
    assert not [event for event in events if str(event.get("path")).startswith(str(tmp_path))]
    assert {event["result"] for event in of_kind(events, "file-open", "exec")} <= {"ok", "ENOENT"}
    assert (events[0]["kind"], events[-1]["kind"], events[-1]["exit_code"]) == ("started", "exited", 7)
    result, events = observe(tmp_path, "sh", "-c", "kill -TERM $$", more=transport)
    assert (result.returncode, events[-1]["exit_code"]) == (-signal.SIGTERM, -signal.SIGTERM)


def test_nothing_is_changed(tmp_path: Path) -> None:
    """Privilege, signals, descriptors and environment are those of a bare run."""
    words = (
        "sh",
        "-c",
        "grep -E 'Sec|Priv|Cap|Sig[^Q]|Shd' /proc/self/status; ls /proc/self/fd; env | sort; exec cat $0",
        "/dev/null",
    )
    environment = clean_environment()
    bare = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True, env=environment)
    result, _ = observe(tmp_path, *words, env=environment)
    assert (_without_internal(result.stdout), result.stderr) == (_without_internal(bare.stdout), b"")


def _without_internal(status: bytes) -> bytes:
    """Take out 32 and 33, the C library's own: its posix_spawn, by which Python starts some programs, ignores them."""
    return re.sub(rb"(?<=SigIgn:\t)\w+", lambda found: b"%x" % (int(found[0], 16) & ~(3 << 31)), status)


def test_set_user_id(tmp_path: Path) -> None:
    """Such a program gets its privilege, as nothing of no_new_privs is needed."""
    needs_ebpf()
    words = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(tmp_path / "id"), "-un")
    if not works(*words[:4]):
        pytest.skip("root is missing, or setpriv(1)")
    shutil.copy(shutil.which("id") or "", tmp_path / "id")
    (tmp_path / "id").chmod(0o4755)
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & 1:
            directory.chmod(directory.stat().st_mode | 0o111)
    if subprocess.check_output(words) != b"root\n":
        pytest.skip("set-user-ID programs need root to own a file system without nosuid")
    result, events = observe(tmp_path, *words)
    assert (result.stdout, result.stderr) == (b"root\n", b"")
    assert of_kind(events, "exec")[-1]["argv"][1:] == ["-un"]

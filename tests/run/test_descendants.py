"""Who is in a tree that changes while it is looked at."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from running import kill_quietly, wait_gone

from rprun.runner.tree import descendants

# A child subreaper, whose child starts another and ends, once it may.
GATHERS = """
import os, sys
from rprun.linux.process import set_child_subreaper
set_child_subreaper()
if os.fork() == 0:
    os.read(0, 1)
    pid = os.fork()
    if pid == 0:
        os.read(0, 1)
        os._exit(0)
    print(pid, flush=True)
    os._exit(0)
os.wait()
print("reaped", flush=True)
os.wait()
"""


def test_who_ends_after_it_has_been_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has started meanwhile is found all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", GATHERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as gathers:
        assert gathers.stdin
        assert gathers.stdout
        started: list[int] = []
        real = psutil._pslinux.pids

        def pids() -> list[int]:
            found: list[int] = real()
            if not started and gathers.stdin and gathers.stdout:
                gathers.stdin.write(b"\n")
                started.append(int(gathers.stdout.readline()))
                assert gathers.stdout.readline() == b"reaped\n"
            return found

        monkeypatch.setattr(psutil._pslinux, "pids", pids)
        try:
            assert [each.pid for each in descendants(gathers.pid)] == started
            assert started
        finally:
            for each in started:
                kill_quietly(each)
                wait_gone(each)

"""What /proc says of processes: living, ended, gone, and with names that are made to mislead."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from running import wait_until

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from rprun.linux import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator

# A process of a session of its own with two threads and a child of the second one; its name looks like other fields.
ODD = """
import os, subprocess, sys, threading
os.setsid()
open("/proc/self/comm", "w").write(") Z 1 2 (3")
def second():
    child = subprocess.Popen(["cat"])
    print(child.pid, threading.get_native_id(), flush=True)
    child.wait()
threading.Thread(target=second).start()
"""


@pytest.fixture
def odd() -> Iterator[tuple[int, int, int]]:
    """The odd process, its child and its second thread."""
    with subprocess.Popen([sys.executable, "-c", ODD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child, thread = map(int, process.stdout.readline().split())
        yield process.pid, child, thread
    assert process.returncode == 0


@pytest.fixture
def zombie() -> Iterator[int]:
    """A process that has ended and is not reaped before the end of the test."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    yield pid
    os.waitpid(pid, 0)


@pytest.fixture
def gone() -> int:
    """The number of a process that is there no more."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_a_living_process(odd: tuple[int, int, int]) -> None:
    """Threads, children of any of them, session, numbers, arguments and directory; its name misleads nobody."""
    process, child, thread = odd
    assert {process, child, os.getpid()} <= set(procfs.processes())
    assert sorted(procfs.threads(process)) == sorted((process, thread))
    assert procfs.children(process) == [child]
    assert procfs.lives(process, process)
    assert procfs.lives(process, thread)
    assert not procfs.lives(process, child)
    assert procfs.session(process) == procfs.session(child) == process
    assert procfs.status(process, "PPid") == os.getpid()
    assert procfs.status(thread, "Tgid") == process
    assert procfs.status(process, "Name") == procfs.status(process, "Threa") == -1
    assert procfs.command_line(process) == [os.fsencode(sys.executable), b"-c", ODD.encode()]
    assert procfs.link(process, "cwd") == os.getcwdb()
    assert procfs.link(process, "fd/999") is None


def test_what_a_process_sleeps_in(odd: tuple[int, int, int]) -> None:
    """The call's number, and its arguments in hexadecimal."""
    _, child, _ = odd
    call = wait_until(lambda: (found := procfs.system_call(child))[:1] not in ([], [b"running"]) and found)
    assert len(call) == 9
    wait_until(lambda: procfs.system_call(child)[1:2] == [b"0x0"], "cat's read of its stdin")


def test_a_zombie(zombie: int) -> None:
    """It is there and does not live; what it ran as is not known any more."""
    assert zombie in procfs.processes()
    assert procfs.threads(zombie) == [zombie]
    assert not procfs.lives(zombie, zombie)
    assert procfs.session(zombie) == os.getsid(0)
    assert procfs.status(zombie, "PPid") == os.getpid()
    assert procfs.command_line(zombie) is None
    assert procfs.link(zombie, "exe") is None


def test_one_that_is_gone(gone: int) -> None:
    """Nothing is known, and nothing raises."""
    assert gone not in procfs.processes()
    assert procfs.threads(gone) == procfs.children(gone) == procfs.system_call(gone) == []
    assert not procfs.lives(gone, gone)
    assert procfs.session(gone) == procfs.status(gone, "PPid") == -1
    assert procfs.command_line(gone) is None
    assert procfs.link(gone, "cwd") is None


def test_the_status_of_a_zombie(zombie: int, gone: int) -> None:
    """It is told of who has ended and is still there, and of nobody else."""
    pid = os.fork()
    if pid == 0:
        os._exit(9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert procfs.exit_status(pid) == 9 << 8
        assert procfs.exit_status(zombie) == 0
        assert procfs.exit_status(os.getpid()) is None
        assert procfs.exit_status(gone) is None
    finally:
        os.waitpid(pid, 0)


def test_numbers_are_those_of_this_namespace() -> None:
    """As they are where /proc was mounted in it."""
    assert procfs.is_own()

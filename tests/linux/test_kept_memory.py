"""Memory that is kept open is never that of the program before."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from children import exit_code, forked
from running import wait_until

from rprun.linux.kept_memory import KeptMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = b"the program before"


@pytest.fixture
def kept() -> Iterator[KeptMemory]:
    """Nothing kept yet, by a process with one thread; and nothing left open."""
    # A thread that has been joined is still there for a moment.
    wait_until(lambda: len(os.listdir("/proc/self/task")) == 1)
    made = KeptMemory()
    yield made
    for process in list(made.descriptors):
        made.forget(process)


def test_not_before_an_exec(kept: KeptMemory) -> None:
    """A process that has not executed a program yet may share its parent's memory."""
    kept.open(os.getpid(), os.getpid())
    assert not kept.descriptors


def test_it_is_read_and_forgotten(kept: KeptMemory) -> None:
    """What is at an address is read; after the next exec, and after the end, nothing is kept."""
    me, buffer = os.getpid(), ctypes.create_string_buffer(TEXT)
    for end in (kept.expect_exec, kept.forget):
        kept.expect_exec(me)
        kept.open(me, me)
        assert os.pread(kept.descriptors[me], len(TEXT), ctypes.addressof(buffer)) == TEXT
        end(me)
        assert not kept.descriptors
    kept.open(me, me)
    assert not kept.descriptors


def test_not_while_another_thread_may_execute(kept: KeptMemory) -> None:
    """With two threads, or from one that is not the first, nothing is opened."""
    me, done = os.getpid(), threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        kept.expect_exec(me)
        kept.open(thread.native_id or 0, me)
        assert not kept.descriptors
        kept.open(me, me)
        assert not kept.descriptors
    finally:
        done.set()
        thread.join()


def test_what_an_unannounced_exec_leaves(kept: KeptMemory) -> None:
    """The memory of the program before is gone, and reading says so; it is not that of the next one."""
    buffer = ctypes.create_string_buffer(TEXT)
    ready, go = os.pipe(), os.pipe()

    def child() -> None:
        os.read(go[0], 1)
        os.dup2(go[0], 0)
        os.dup2(ready[1], 1)
        os.execvp("sh", ["sh", "-c", "echo up; read line"])

    pid = forked(child)
    kept.expect_exec(pid)
    kept.open(pid, pid)
    assert os.pread(kept.descriptors[pid], len(TEXT), ctypes.addressof(buffer)) == TEXT
    os.write(go[1], b"1")
    assert os.read(ready[0], 3) == b"up\n"
    assert os.pread(kept.descriptors[pid], len(TEXT), ctypes.addressof(buffer)) == b""
    os.write(go[1], b"\n")
    assert exit_code(pid) == 0
    for descriptor in (*ready, *go):
        os.close(descriptor)


def test_few_are_kept(kept: KeptMemory) -> None:
    """Whoever was first gives way; nothing of a process that has ended is opened."""
    before = len(os.listdir("/proc/self/fd"))
    processes = [subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(70)]
    pipes = len(os.listdir("/proc/self/fd")) - before
    for process in processes:
        kept.expect_exec(process.pid)
        kept.open(process.pid, process.pid)
    assert len(os.listdir("/proc/self/fd")) - before - pipes == len(kept.descriptors) == 64
    assert processes[0].pid not in kept.descriptors
    for process in processes:
        process.communicate()
        kept.forget(process.pid)
        kept.expect_exec(process.pid)
        kept.open(process.pid, process.pid)
    assert not kept.descriptors

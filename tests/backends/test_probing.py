"""What is found out about the host, and when: beside other threads, and only as far as it is asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from running import PATIENCE, clean_environment

from rprun import EventCategory, ObserverCapabilities
from rprun.linux.syscalls import NUMBERS, X86_64, native

if TYPE_CHECKING:
    from pathlib import Path

# Another thread is busy and has a lock, which a child of a fork would wait for: its owner is not there.
THREADS = """
import os, sys, threading
from rprun import ObserverCapabilities
from rprun.backends.connector import probing as connector
from rprun.backends.seccomp import probing as seccomp
from rprun.observe import capabilities

def negotiate():
    for cache in (capabilities._choices, capabilities._negotiated, connector._found, seccomp._found):
        cache.clear()
    return ObserverCapabilities.negotiate().to_candidate_rows()

def work():
    with lock:
        holds.set()
        while not done.is_set():
            sum(range(1000))

lock, holds, done, forks = threading.Lock(), threading.Event(), threading.Event(), []
os.register_at_fork(after_in_child=lock.acquire)
sys.addaudithook(lambda event, _: forks.append(event) if event == "os.fork" else None)
before = os.listdir("/proc/self/fd")
thread = threading.Thread(target=work, daemon=True)
thread.start()
holds.wait()
beside = [negotiate() for _ in range(3)]
assert not forks, forks
done.set()
thread.join()
alone = negotiate()
assert forks
assert beside == [alone] * 3, (beside, alone)
assert os.listdir("/proc/self/fd") == before
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(len(alone))
"""

# A thread that the module `threading` does not know of, as those of libraries are. From 3.12 on Python warns of a fork
# beside one, and everywhere of what is not closed.
UNKNOWN_THREAD = """
import _thread
from rprun import ObserverCapabilities
lock = _thread.allocate_lock()
lock.acquire()
for _ in range(4 if beside else 0):
    _thread.start_new_thread(lock.acquire, ())
print(ObserverCapabilities.negotiate().to_candidate_rows())
"""

# The first call of a child that is put under a filter is one that musl makes where glibc makes openat(2).
OLD_CALL = """
import ctypes, os
from rprun.backends.seccomp import probing
from rprun.linux import libc, syscalls
def open_as_musl_does(path, flags):
    kept = ctypes.create_string_buffer(path)
    return libc.syscall(syscalls.NUMBERS[syscalls.native()]["open"], ctypes.addressof(kept), flags, 0)
os.open = open_as_musl_does
answer = probing.try_out()
print(answer.refused, answer.works, answer.reads_memory)
"""

# Writes a line for each netlink socket that this process opens: the proc connector is the one user.
NETLINK = """
import os, socket, sys
told = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def note(event, arguments):
    if event == "socket.__new__" and arguments[1] == socket.AF_NETLINK:
        os.write(told, b"netlink\\n")
sys.addaudithook(note)
from rprun.__main__ import main
sys.exit(main())
"""


def test_beside_a_busy_thread() -> None:
    """No Python code runs after a fork there, whatever locks are held; the answers are those of a single thread."""
    done = subprocess.run(
        [sys.executable, "-c", THREADS],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 3


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])
def test_nothing_to_warn_of(beside: bool) -> None:
    """A program that takes warnings for errors gets none for what rprun does, alone or beside threads of libraries."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"beside = {beside}{UNKNOWN_THREAD}"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.skipif("open" not in NUMBERS[native() or X86_64], reason="no such call on this architecture")
def test_the_c_library_chooses_the_call() -> None:
    """A file that is opened by open(2), as musl does it, proves as much as one by openat(2)."""
    found = []
    for program in (OLD_CALL, OLD_CALL.replace("os.open =", "_ =")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        found.append(done.stdout)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "is_tried"),
    [
        (("--observe", "file,network"), False),
        (("--observe", "file", "--backend", "file=seccomp-user-notify"), False),
        (("--observe", "process", "--backend", "process=seccomp-user-notify"), False),
        (("--observe", "lifecycle", "--require", "file"), False),
        (("--observe", "lifecycle", "--require", "process"), True),
        (("--observe", "file,process", "--backend", "file=seccomp-user-notify"), True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_only_what_is_asked_for_is_tried_out(options: tuple[str, ...], is_tried: bool, tmp_path: Path) -> None:
    """The proc connector, which in containers takes a while, is tried where processes are asked for and it counts.

    It does not count where eBPF sees all there is of them.
    """
    told = tmp_path / "told"
    subprocess.run(
        [sys.executable, "-c", NETLINK, told, *options, "--events", tmp_path / "events", "--", "true"],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert (tmp_path / "events").exists() or "--require" in options
    by_ebpf = ObserverCapabilities.negotiate_row(EventCategory.PROCESS).backend == "ebpf"
    assert bool(told.read_text()) == (is_tried and not by_ebpf)

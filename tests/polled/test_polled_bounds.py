"""What looking costs: a bounded share of one processor, and no delay of the command's bytes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from polling import Polled, of_kind, python
from running import PATIENCE, wait_until

import rprun
from rprun.backends.psutil_poll import host
from rprun.backends.psutil_poll.host_linux import LinuxHost

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rprun.backends.psutil_poll.host import Opened

MANY = 2000

CROWD = """
import os, sys
reader, writer = os.pipe()
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
print("all", flush=True)
"""
# Then gives back each line that it gets.
ECHO = (
    CROWD
    + """
for line in sys.stdin:
    print(line, end="", flush=True)
"""
)
IDLE = CROWD + "sys.stdin.readline()"
# Some of them at a time, each of which opens a file; as fast as can be.
BUSY = """
import os, select, sys
print("all", flush=True)
while not select.select([0], [], [], 0)[0]:
    for _ in range(3):
        if os.fork() == 0:
            kept = open("/etc/passwd")
            select.select([], [], [], 0.002)
            os._exit(0)
    for _ in range(3):
        os.wait()
"""


def used(pid: int) -> float:
    """The seconds of processor time that a process has used, all of its threads that live (proc_pid_schedstat(5))."""
    tasks = [(path / "schedstat").read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(text.split()[0]) for text in tasks) / 1e9


def share(pid: int) -> float:
    """The share of one processor that it uses in the next seconds: what is measured is time, and takes time."""
    before, began = used(pid), time.monotonic()
    time.sleep(2.0)
    return (used(pid) - before) / (time.monotonic() - began)


@pytest.mark.parametrize("count", [1, 50, 500])
def test_an_idle_tree_costs_little(count: int, tmp_path: Path) -> None:
    """At most 3% of a processor, rprun as a whole, however many processes there are to be looked at."""
    with Polled(tmp_path, *python(IDLE, str(count))) as polled:
        assert polled.line() == "all"
        wait_until(lambda: len(of_kind(polled.events(), "descendant-started")) == count, "all of them", 3 * PATIENCE)
        assert share(polled.process.pid) <= 0.03
        polled.end()


def test_a_busy_tree_costs_a_tenth(tmp_path: Path) -> None:
    """At most 10%, with all that is written of what comes and goes."""
    with Polled(tmp_path, *python(BUSY)) as polled:
        assert polled.line() == "all"
        polled.until_seen(kind="descendant-exited")
        before = len(polled.events())
        assert share(polled.process.pid) <= 0.10
        assert len(polled.events()) > before + 20
        polled.go_on()
        polled.end()


def test_thousands_of_processes_do_not_hold_up_bytes(tmp_path: Path) -> None:
    """While looks go on that take tenths of a second, lines come back at once: all delays are less than one look."""
    with Polled(tmp_path, *python(ECHO, str(MANY)), more=("--idle-timeout", "60")) as polled:
        assert polled.line() == "all"
        taken = []
        seen = 0
        while seen < MANY:
            for _ in range(20):
                began = time.monotonic()
                polled.go_on()
                assert polled.line() == ""
                taken.append(time.monotonic() - began)
            seen = len(of_kind(polled.events(), "descendant-started"))
        polled.end()
    assert sum(delay for delay in taken if delay > 0.05) < 0.2


class Stuck(LinuxHost):
    """A system where it takes as long as a test wants to say which files are open, as on a file system that hangs."""

    released = threading.Event()
    asked = threading.Event()

    def open_files(self, process: int, known: Collection[Opened] = ()) -> list[Opened]:
        """Answer when it is time."""
        if process != os.getpid():
            self.asked.set()
            self.released.wait()
        return super().open_files(process, known)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stuck]]:
    """Such a system, and the end of it."""
    before = threading.active_count()
    Stuck.released.clear()
    Stuck.asked.clear()
    monkeypatch.setattr(host, "here", Stuck)
    yield Stuck
    Stuck.released.set()
    wait_until(lambda: threading.active_count() == before, "end of the thread")


def test_a_look_that_is_held_up_holds_nobody_up(stuck: type[Stuck]) -> None:
    """The command's bytes go on, and so does its end; that the last look is not over is said."""
    config = rprun.ObserverConfig.with_categories(["file"], backends={"file": "psutil-poll"})
    process, events = rprun.Process.with_observer(["cat"], config, transport="pipe", output=rprun.CAPTURE)
    with process:
        assert stuck.asked.wait(PATIENCE)
        process.write(b"some bytes\n")
        wait_until(lambda: process.stdout == b"some bytes\n", "the bytes")
        process.close_stdin()
    assert process.returncode == 0
    records = [event for event in events if event.kind == "unobserved"]
    assert [event.category for event in records] == ["file"]
    assert "in time" in records[0].reason

"""Two threads of the supervisor answer where calls of several threads come mixed: all is told once, and in order."""

from __future__ import annotations

import os
import random
import signal
import time
from itertools import groupby
from typing import TYPE_CHECKING

import pytest
from observing import REPEAT, lost, observe, of_kind, options, paths, python, read_events, supervisor_of
from running import is_running, read_until, start, stat_fields, wait_until

from rprun.backends.seccomp.ring import _BUSY, _READ, DATA_OFFSET, DATA_SIZE, Ring

if TYPE_CHECKING:
    from pathlib import Path

if os.uname().machine != "x86_64":
    pytest.skip("there is machine code for x86_64 only", allow_module_level=True)
if len(os.sched_getaffinity(0)) != 2:
    pytest.skip("needs just two processors", allow_module_level=True)

# Several processes open files of their own at the same time, each in its order.
TOGETHER = """
import os, sys
directory, processes, files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
children = []
for name in range(processes):
    pid = os.fork()
    if pid == 0:
        for number in range(files):
            os.close(os.open(f"{directory}/{name}-{number}", os.O_CREAT | os.O_WRONLY))
            if number % 50 == 0:
                os.rename(f"{directory}/{name}-{number}", f"{directory}/{name}-{number}-also")
        os._exit(0)
    children.append(pid)
status = [os.waitpid(pid, 0)[1] for pid in children]
sys.exit(5 if not any(status) else 1)
"""

# Two processes take turns, each of which opens a file; others keep both answering threads busy meanwhile.
IN_TURNS = """
import os, signal, sys
directory, turns = sys.argv[1], int(sys.argv[2])
others = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        while True:
            os.close(os.open("/dev/null", 0))
    others.append(pid)
down, up = os.pipe(), os.pipe()
partner = os.fork()
def take_turns(name, source, sink):
    for number in range(turns):
        os.read(source, 1)
        os.close(os.open(f"{directory}/{number}-{name}", os.O_CREAT))
        os.write(sink, b"x")
if partner == 0:
    take_turns("b", down[0], up[1])
    os._exit(0)
os.write(up[1], b"x")
take_turns("a", up[0], down[1])
os.waitpid(partner, 0)
for pid in others:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""

# Two at the same time, which are killed in the midst of it, with the command's own end behind that.
KILLED = """
import os, signal
source, sink = os.pipe()
others = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        for number in range(1 << 60):
            os.close(os.open("/dev/null", 0))
            if number == 1000:
                os.write(sink, b"x")
    others.append(pid)
for _ in others:
    os.read(source, 1)
for pid in others:
    os.kill(pid, signal.SIGKILL)
"""

# Two at the same time, until there is a line; then one alone, until there is another one.
THEN_ALONE = """
import os, signal, sys
other = os.fork()
if other == 0:
    while True:
        os.close(os.open("/dev/null", 0))
import select
def until_line():
    while not select.select([0], [], [], 0)[0]:
        os.close(os.open("/dev/null", 0))
    os.read(0, 1)
until_line()
os.kill(other, signal.SIGKILL)
os.waitpid(other, 0)
os.write(1, b"alone\\n")
until_line()
"""

# Once there is a line, opens files, and says so.
UPON_A_LINE = """
import os, sys, time
directory, files = sys.argv[1], int(sys.argv[2])
os.write(1, b"%d ready\\n" % os.getpid())
os.read(0, 1)
for number in range(files):
    os.close(os.open(f"{directory}/{number}", os.O_CREAT))
os.write(1, b"done\\n")
time.sleep(60)
"""


def threads_of(supervisor: int) -> list[int]:
    """The threads of a supervisor, the first one first."""
    return sorted(int(name) for name in os.listdir(f"/proc/{supervisor}/task"))


def test_each_is_told_once_and_in_order(tmp_path: Path) -> None:
    """Of each process all that it opens, in its order; the supervisor's two threads have both answered."""
    work = tmp_path / "work"
    work.mkdir()
    processes, files = 3, 1500 * REPEAT
    result, events = observe(tmp_path, *python(TOGETHER, str(work), str(processes), str(files)))
    assert (result.returncode, result.stderr) == (5, b"")
    assert not lost(events)
    opened = paths(events, "file-open", work)
    assert len(opened) == processes * files
    for name in range(processes):
        assert [path for path in opened if path.startswith(f"{name}-")] == [
            f"{name}-{number}" for number in range(files)
        ]
    # The rename of what was just opened, which is the interpreter's, comes after the open, which is not.
    for pid, of_process in groupby(sorted(events, key=lambda event: int(event["pid"])), lambda event: event["pid"]):
        last = ""
        for event in of_process:
            if event["kind"] == "file-open":
                last = event["path"]
            elif event["kind"] == "file-rename":
                assert event["from"] == last, pid
    ended: set[int] = set()
    for event in events:
        assert event["pid"] not in ended
        if event["kind"] == "descendant-exited":
            ended.add(event["pid"])


def test_what_comes_of_another_comes_after_it(tmp_path: Path) -> None:
    """What a process opens once it has heard of another's open is told after that."""
    work = tmp_path / "work"
    work.mkdir()
    turns = 800 * REPEAT
    result, events = observe(tmp_path, *python(IN_TURNS, str(work), str(turns)))
    assert (result.returncode, result.stderr) == (0, b"")
    assert not lost(events)
    assert paths(events, "file-open", work) == [f"{number}-{name}" for number in range(turns) for name in "ab"]


@pytest.mark.parametrize("turn", range(8 * REPEAT))
def test_who_is_killed_loses_nothing(turn: int, tmp_path: Path) -> None:
    """A call that its caller did not live to make is neither told nor lost, whichever of the threads had it in hand."""
    result, events = observe(tmp_path, *python(KILLED))
    assert (result.returncode, result.stderr) == (0, b"")
    assert not lost(events)
    assert len(of_kind(events, "file-open")) > 2000


def test_there_are_two_as_long_as_there_is_need(tmp_path: Path) -> None:
    """With two processes at work each thread has a processor of its own, and with one the first one has both."""
    both = os.sched_getaffinity(0)
    with start(*options(tmp_path / "events"), "--", *python(THEN_ALONE), stdin=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        supervisor = wait_until(lambda: supervisor_of(process.pid))

        def places() -> list[set[int]]:
            return [os.sched_getaffinity(thread) for thread in threads_of(supervisor)]

        wait_until(lambda: sorted(map(sorted, places())) == [[processor] for processor in sorted(both)], "two")
        process.stdin.write(b"x")
        process.stdin.flush()
        read_until(process.stdout.fileno(), b"alone")
        wait_until(lambda: places()[0] == both, "one")
        assert os.sched_getscheduler(supervisor) == os.SCHED_OTHER
        process.stdin.close()
        assert process.wait(20) == 0
    assert not lost(read_events(tmp_path / "events"))


@pytest.mark.parametrize("policy", ["batch", "idle"])
def test_another_scheduling_policy_is_kept(policy: str, tmp_path: Path) -> None:
    """What somebody has chosen for all of it (chrt(1)) holds for the supervisor too, which leaves its threads alone."""
    chosen = {"batch": os.SCHED_BATCH, "idle": os.SCHED_IDLE}[policy]
    path = tmp_path / "events"
    command = python(THEN_ALONE)

    def choose() -> None:
        os.sched_setscheduler(0, chosen, os.sched_param(0))

    with start(*options(path), "--", *command, stdin=-1, preexec_fn=choose) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        # Long enough for a second thread to be wanted.
        wait_until(lambda: path.stat().st_size > 300_000, timeout=60)
        assert os.sched_getscheduler(supervisor) == chosen
        assert os.sched_getaffinity(supervisor) == os.sched_getaffinity(0)
        assert threads_of(supervisor) == [supervisor]
        process.stdin.write(b"x")
        process.stdin.flush()
        read_until(process.stdout.fileno(), b"alone")
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize("turn", range(5 * REPEAT))
def test_killed_while_both_are_busy(turn: int, tmp_path: Path) -> None:
    """The calls that they have in hand are answered; of them no more is missing than is counted, nothing told twice."""
    work = tmp_path / "work"
    work.mkdir()
    processes, files = 3, 3000
    chance = random.Random(turn)
    with start(
        *options(tmp_path / "events"), "--", *python(TOGETHER, str(work), str(processes), str(files))
    ) as process:
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        wait_until(lambda: len(threads_of(supervisor)) == 2 or process.poll() is not None)
        # Any moment will do.
        time.sleep(chance.random() * 0.02)
        os.kill(supervisor, signal.SIGKILL)
        assert (process.communicate(timeout=60), process.returncode) == ((b"", b""), 5)
    events = read_events(tmp_path / "events")
    opened = paths(events, "file-open", work)
    assert len(set(opened)) == len(opened)
    assert lost(events) <= 2
    assert processes * files - lost(events) <= len(opened) <= processes * files
    assert len(of_kind(events, "descendant-exited")) == processes


def test_all_killed_while_one_had_not_told(tmp_path: Path) -> None:
    """What one thread has told is told, also if the other one was stopped before that and nobody is left at all."""
    work = tmp_path / "work"
    work.mkdir()
    files = 300
    command = python(UPON_A_LINE, str(work), str(files))
    with start(*options(tmp_path / "events"), "--", *command, stdin=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        descriptors = [f"/proc/{supervisor}/fd/{name}" for name in os.listdir(f"/proc/{supervisor}/fd")]
        memory = next(each for each in descriptors if "rprun-observation" in os.readlink(each))
        shared = Ring(os.open(memory, os.O_RDWR), os.eventfd(0))
        pid = int(read_until(process.stdout.fileno(), b"ready").split()[0])
        wait_until(lambda: not shared.has_records())
        os.kill(process.pid, signal.SIGSTOP)
        process.stdin.write(b"x")
        process.stdin.flush()
        read_until(process.stdout.fileno(), b"done")
        wait_until(lambda: not shared.in_hand())
        os.kill(supervisor, signal.SIGSTOP)
        wait_until(lambda: stat_fields(supervisor)[0] == "T")
        # As the other thread would have left it.
        words = memoryview(shared.memory).cast("Q")
        words[(DATA_OFFSET + words[_READ] % DATA_SIZE) // 8] |= _BUSY
        words.release()
        shared.close()
        for each in (pid, supervisor):
            os.kill(each, signal.SIGKILL)
            wait_until(lambda each=each: not is_running(each))
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(20) == -signal.SIGKILL
    events = read_events(tmp_path / "events")
    assert paths(events, "file-open", work) == [str(number) for number in range(1, files)]

"""Each process that is told of is started and ended once, with the right status and at the right time, or counted."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Self

import pytest
from observing import REPEAT, Events, compile_c, lost, of_kind, options, python, read_events, supervisor_of
from running import descendants_of, kill_quietly, read_until, run, start, wait_gone, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("answered_by")

# Children that end with statuses of their own; says when all have, and waits without a call.
SHORT = """
import os, sys
os.write(1, b"ready")
os.read(0, 1)
for i in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        os.close(os.open("/dev/null", 0))
        os._exit(i % 251)
    os.waitpid(pid, 0)
os.write(1, b"done")
os.read(0, 1)
"""

# The same, of children that live at the same time, and make a call before they end.
TOGETHER = """
import os, sys
hold, let_go = os.pipe()
told, tell = os.pipe()
os.write(1, b"ready")
os.read(0, 1)
for i in range(int(sys.argv[1])):
    if not os.fork():
        os.close(let_go)
        os.close(os.open("/dev/null", 0))
        os.write(tell, b".")
        os.read(hold, 1)
        os.close(os.open("/dev/null", 0))
        os._exit(i % 251)
    os.read(told, 1)
os.write(1, b"done")
os.read(0, 1)
os.close(let_go)
for i in range(int(sys.argv[1])): os.wait()
os.write(1, b"over")
os.read(0, 1)
"""


class Program:
    """An observed program that says where it is, and is told to go on."""

    def __init__(self, path: Path, text: str, count: int, categories: str = "all", **settings: object) -> None:
        self.path = path
        words = (*options(path, categories), "--", *python(text, str(count)))
        self.process: subprocess.Popen[bytes] = start(*words, stdin=subprocess.PIPE, **settings)

    def __enter__(self) -> Self:
        self.process.__enter__()
        self.expect(b"ready")
        return self

    def __exit__(self, *what: object) -> None:
        for pid in [*descendants_of(self.process.pid), self.process.pid]:
            kill_quietly(pid)
        self.process.__exit__(None, None, None)

    def expect(self, marker: bytes) -> None:
        """Wait until it says so."""
        assert self.process.stdout is not None
        read_until(self.process.stdout.fileno(), marker, 60)

    def go_on(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def kinds(self, kind: str) -> int:
        """Count the events of a kind that have been written by now."""
        return self.path.read_bytes().count(f'"{kind}"'.encode())

    def finish(self) -> Events:
        """Let it end; its events."""
        self.process.communicate(b"\n", 60)
        assert self.process.returncode == 0
        return read_events(self.path)


def check(events: Events, count: int) -> None:
    """Check that so many have started, in order, and ended as they did, each once."""
    started = [event["pid"] for event in of_kind(events, "descendant-started")]
    ended = [(event["pid"], event["exit_code"]) for event in of_kind(events, "descendant-exited")]
    assert sorted(ended) == sorted((pid, number % 251) for number, pid in enumerate(started))
    assert (len(started), lost(events)) == (count, 0)


def test_ends_while_rprun_stands_still(tmp_path: Path) -> None:
    """More than have room on their way to it; it hears of all ends, also if no call is made any more."""
    count = 1500 * REPEAT
    with Program(tmp_path / "events", SHORT, count) as program:
        os.kill(program.process.pid, signal.SIGSTOP)
        program.go_on()
        program.expect(b"done")
        os.kill(program.process.pid, signal.SIGCONT)
        wait_until(lambda: program.kinds("descendant-exited") == count)
        check(program.finish(), count)


def test_ends_of_those_that_live_while_rprun_stands_still(tmp_path: Path) -> None:
    """The same of processes that have ended only after it has gone on."""
    with Program(tmp_path / "events", TOGETHER, 600) as program:
        os.kill(program.process.pid, signal.SIGSTOP)
        program.go_on()
        program.expect(b"done")
        os.kill(program.process.pid, signal.SIGCONT)
        program.go_on()
        program.expect(b"over")
        wait_until(lambda: program.kinds("descendant-exited") == 600)
        check(program.finish(), 600)


def test_more_alive_than_descriptors(tmp_path: Path) -> None:
    """Where rprun has not got a descriptor for each, they wait until others have ended."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Program(
        tmp_path / "events", TOGETHER, 400, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    ) as program:
        program.go_on()
        program.expect(b"done")
        program.go_on()
        program.expect(b"over")
        check(program.finish(), 400)


def test_the_supervisor_is_killed_while_rprun_stands_still(tmp_path: Path) -> None:
    """What it could not send is found again: nobody is started twice, and who lives has an end."""
    with Program(tmp_path / "events", TOGETHER, 600) as program:
        supervisor = wait_until(lambda: supervisor_of(program.process.pid))
        os.kill(program.process.pid, signal.SIGSTOP)
        program.go_on()
        program.expect(b"done")
        os.kill(supervisor, signal.SIGKILL)
        os.kill(program.process.pid, signal.SIGCONT)
        program.go_on()
        program.expect(b"over")
        events = program.finish()
        assert lost(events, "file") <= 1
        started = [event["pid"] for event in of_kind(events, "descendant-started")]
        assert (len(started), len(set(started))) == (600, 600)
        assert len(of_kind(events, "descendant-exited")) + lost(events, "process") >= 600


def test_the_supervisor_is_killed_with_few_descriptors(tmp_path: Path) -> None:
    """There are enough for the next one, nobody is started twice, and who has no end is lost."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))  # noqa: E731 - it is short
    with Program(tmp_path / "events", TOGETHER, 300, preexec_fn=limit) as program:
        supervisor = wait_until(lambda: supervisor_of(program.process.pid))
        program.go_on()
        program.expect(b"done")
        kill_quietly(supervisor)
        program.go_on()
        program.expect(b"over")
        events = program.finish()
    started = [event["pid"] for event in of_kind(events, "descendant-started")]
    assert (len(started), len(set(started))) == (300, 300)
    assert len(of_kind(events, "descendant-exited")) + lost(events, "process") >= 300


UNREAPED = """
import ctypes, os, sys, threading
told, tell = os.pipe()
if os.fork():
    os.close(tell)
    os.read(told, 1)
    os._exit(0)
def work():
    os._exit(77)
for i in range(20):
    pid = os.fork()
    if not pid:
        os.close(os.open("/dev/null", 0))
        if i == 7: os.abort()
        if i == 8:
            threading.Thread(target=work).start()
            ctypes.CDLL(None).pthread_exit(None)
        os._exit(i)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
os.close(1)
os.close(2)
os.write(tell, b".")
os.close(tell)
os.read(0, 1)
"""


def test_ends_that_nobody_has_waited_for(tmp_path: Path) -> None:
    """How they ended is told all the same when the run ends."""
    path = tmp_path / "events"
    words = (*options(path), "--", sys.executable, "-S", "-c", UNREAPED)
    with start(*words, stdin=subprocess.PIPE) as process:
        assert process.wait(60) == 0
        events = read_events(path)
        assert process.stdin is not None
        process.stdin.close()
    statuses = [event["exit_code"] for event in of_kind(events, "descendant-exited")]
    assert sorted(statuses) == sorted({*range(20), 77, -signal.SIGABRT} - {7, 8})
    assert lost(events) == 0


KILLED = """
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    for (int each = 0; each < atoi(argv[1]); each++) {
        int told[2], status;
        char text;
        if (pipe(told)) return 1;
        pid_t pid = fork();
        if (!pid) {
            close(open("/dev/null", O_RDONLY));
            if (write(told[1], ".", 1) != 1) return 1;
            for (;;) close(open("/dev/null", O_RDONLY));
        }
        if (read(told[0], &text, 1) != 1) return 1;
        usleep(each * 37 % 400);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        close(told[0]);
        close(told[1]);
    }
    return 0;
}
"""


def test_killed_in_a_call(tmp_path: Path) -> None:
    """Whose call is in hand when it is killed is not taken for a new process."""
    count = 800 * REPEAT
    path = tmp_path / "events"
    assert run(*options(path), "--", compile_c(tmp_path, KILLED, "-w"), str(count)).returncode == 0
    events = read_events(path)
    started = [event["pid"] for event in of_kind(events, "descendant-started")]
    assert len(started) == len(set(started)) == count
    ended = [(event["pid"], event["exit_code"]) for event in of_kind(events, "descendant-exited")]
    assert sorted(ended) == sorted((pid, -signal.SIGKILL) for pid in started)


TIMES = """
import os, time
for i in range(50):
    pid = os.fork()
    if not pid:
        os.close(os.open("/dev/null", 0))
        until = time.monotonic() + 0.003
        while time.monotonic() < until: pass
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(os.open("/dev/zero", 0))
"""


def test_the_time_of_an_end(tmp_path: Path) -> None:
    """It is behind what the process did, and before what its parent did when it knew; not when it was told of."""
    path = tmp_path / "events"
    assert run(*options(path), "--", *python(TIMES)).returncode == 0
    events = read_events(path)
    own: dict[int, list[int]] = {}
    for event in events:
        own.setdefault(event["pid"], []).append(event["timestamp_ms"])
    command = events[0]["pid"]
    heard = iter(event for event in of_kind(events, "file-open") if event["path"] == "/dev/zero")
    started = of_kind(events, "descendant-started")
    assert len(started) == 50
    for event in started:
        first, *others, end = own[event["pid"]]
        assert first <= min(others)
        assert max(others) <= end
        known = next(heard)
        assert known["pid"] == command
        assert end <= known["timestamp_ms"]


@pytest.mark.parametrize(("categories", "count"), [("file", 0), ("file,network", 0), ("file,process", 10)])
def test_descriptors_only_for_who_wants_ends(categories: str, count: int, tmp_path: Path) -> None:
    """Where processes are not observed rprun has no descriptor for each; the tree survives the supervisor's end."""
    with Program(tmp_path / "events", TOGETHER, 9, categories) as program:
        program.go_on()
        program.expect(b"done")
        wait_until(lambda: program.kinds("file-open") > 9)
        wait_until(lambda: _pidfds(program.process.pid) == count)
        supervisor = wait_until(lambda: supervisor_of(program.process.pid))
        kill_quietly(supervisor)
        wait_gone(supervisor)
        program.go_on()
        program.expect(b"over")
        assert _pidfds(program.process.pid) <= count
        events = program.finish()
        opened = [event for event in of_kind(events, "file-open") if event["path"] == "/dev/null"]
        assert len(opened) + lost(events, "file") == 18
        assert lost(events, "file") <= 1


def _pidfds(process: int) -> int:
    links = [os.readlink(f"/proc/{process}/fd/{name}") for name in os.listdir(f"/proc/{process}/fd")]
    return len([link for link in links if "pidfd" in link])

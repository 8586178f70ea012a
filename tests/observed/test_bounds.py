"""Nothing grows without bound, and nothing waits for who does not read."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from observing import REPEAT, compile_c, lost, observe, of_kind, options, python, read_events
from running import read_until, run, start

if TYPE_CHECKING:
    from pathlib import Path

OPENS = """
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    for (long i = atol(argv[1]); i; i--) close(open("/dev/null", O_RDONLY));
    write(1, "done\\n", 5);
    return 3;
}
"""
COUNT = 60_000 * REPEAT
MEGABYTE = 1 << 20


def test_a_consumer_that_never_reads(tmp_path: Path) -> None:
    """The command is not slower for it, what was dropped is counted to the last event, and memory is bounded."""
    program = compile_c(tmp_path, OPENS, "-static")
    before = time.monotonic()
    assert run(*options("/dev/null", "file"), "--", program, str(COUNT)).returncode == 3
    usual = time.monotonic() - before
    read, write = os.pipe()
    with start(*options(f"fd:{write}", "file"), "--", program, str(COUNT), pass_fds=(write,)) as process:
        os.close(write)
        before = time.monotonic()
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        took = time.monotonic() - before
        peak = _peak(process.pid)
        with open(read, "rb") as file:
            events = [json.loads(line) for line in file]
        assert process.wait(20) == 3
    assert took < 3 * usual + 2
    assert peak < 80 * MEGABYTE
    made = [event for event in events if event["kind"] == "file-open"]
    assert len(made) + lost(events) == COUNT
    assert lost(events) > 0


def _peak(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(dict(line.split(":", 1) for line in file)["VmHWM"].split()[0]) * 1024


FULL = """
import os, socket
os.write(1, b"ready")
os.read(0, 1)
for turn in range(100_000):
    os.close(os.open("/dev/null", 0))
address = "127.0.0.1", 9
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for turn in range(30):
        sender.connect(address)
for turn in range(3):
    pid = os.fork() or os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)
os.write(1, b"done")
"""


def test_a_reader_that_stands_still(tmp_path: Path) -> None:
    """What finds no room is counted, once for each category that it may have been of: none lacks more than it says."""
    path = tmp_path / "events"
    with start(*options(path), "--", *python(FULL), stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        read_until(process.stdout.fileno(), b"ready")
        os.kill(process.pid, signal.SIGSTOP)
        process.stdin.write(b"\n")
        process.stdin.flush()
        read_until(process.stdout.fileno(), b"done", 60)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0
    events = read_events(path)
    opened = len([event for event in of_kind(events, "file-open") if event["path"] == "/dev/null"])
    assert opened < 100_000
    missing = lost(events, "file")
    assert missing == lost(events, "network")
    assert opened + missing >= 100_000
    assert len(of_kind(events, "net-connect")) + missing >= 30
    for kind in ("exec", "descendant-started", "descendant-exited"):
        assert len(of_kind(events, kind)) + lost(events, "process") >= 3


@pytest.mark.parametrize("limit", [20, *range(22, 32), 40, 64])
def test_few_descriptors(limit: int, tmp_path: Path) -> None:
    """With a low limit a sentence says what to raise, or the command runs, and what is not known is said or counted."""
    path = tmp_path / "events"
    result = run(
        *options(path),
        "--",
        "sh",
        "-c",
        "i=0; while [ $i -lt 30 ]; do sleep 0.1 & i=$((i + 1)); done; wait; exit 6",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )
    if result.returncode == 125:
        assert b"ulimit -n" in result.stderr
        assert limit < 32
        return
    assert (result.returncode, result.stderr) == (6, b"")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    if unobserved := of_kind(events, "unobserved"):
        # The one limit at which all but the filter itself has been opened.
        assert len(unobserved) == 3
        assert "ulimit -n" in unobserved[0]["reason"]
        assert limit < 32
        return
    assert len([event for event in of_kind(events, "exec") if event["argv"][0] == "sleep"]) == 30
    ended = len(of_kind(events, "descendant-exited"))
    assert ended + lost(events) >= 30


CROWD = """
import os, sys, threading
os.close(os.open("/dev/null", 0))
hold, let_go = os.pipe()
told, tell = os.pipe()
for _ in range(100):
    if not os.fork():
        os.close(let_go)
        os.close(os.open("/dev/null", 0))
        os.write(tell, b".")
        os.read(hold, 1)
        os.close(os.open("/dev/null", 0))
        os._exit(0)
    os.read(told, 1)
def work():
    for _ in range(20):
        os.close(os.open("/dev/null", 0))
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
os.close(let_go)
for _ in range(100): os.wait()
print(os.getpid())
"""


def test_threads_without_a_descriptor_left(tmp_path: Path) -> None:
    """A thread whose process cannot be found out is none of its own: what it did is lost, and no start told twice."""
    path = tmp_path / "events"
    result = run(
        *options(path), "--", *python(CROWD), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    )
    assert (result.returncode, result.stderr) == (0, b"")
    events = read_events(path)
    started = [event["pid"] for event in of_kind(events, "descendant-started")]
    assert (len(started), len(set(started))) == (100, 100)
    opened = [event["pid"] for event in of_kind(events, "file-open") if event["path"] == "/dev/null"]
    assert set(opened) <= {int(result.stdout), *started}
    assert len(opened) + lost(events, "file") == 1 + 2 * 100 + 60
    # Any call may have been an exec.
    assert len(of_kind(events, "descendant-exited")) + lost(events, "process") - lost(events, "file") == 100


def test_many_alive_at_once(tmp_path: Path) -> None:
    """200 processes at the same time; each has its own start and end."""
    program = "i=0; while [ $i -lt 200 ]; do cat </dev/null & i=$((i + 1)); done; wait; exit 4"
    result, events = observe(tmp_path, "sh", "-c", program)
    assert result.returncode == 4
    started, ended = of_kind(events, "descendant-started"), of_kind(events, "descendant-exited")
    assert len(started) == len(ended) == len({event["pid"] for event in started}) == 200
    assert {event["exit_code"] for event in ended} == {0}
    assert lost(events) == 0


CHILDREN = """
import os, sys
read, write = os.pipe()
children = []
for i in range(200):
    pid = os.fork()
    if not pid:
        os.close(os.open("/dev/null", 0))
        os.close(write)
        os.read(read, 1)
        os._exit(i % 100)
    children.append(pid)
os.close(write)
for pid in children:
    os.waitpid(pid, 0)
"""


def test_all_waiting(tmp_path: Path) -> None:
    """200 that really live at the same time, with 100 different statuses."""
    result, events = observe(tmp_path, *python(CHILDREN))
    assert result.returncode == 0
    assert sorted(event["exit_code"] for event in of_kind(events, "descendant-exited")) == sorted([*range(100)] * 2)


REUSE = """
import os, sys
open("/proc/sys/kernel/pid_max", "w").write("301")
for i in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        os.close(os.open("/dev/null", 0))
        os._exit(i % 50)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == i % 50
"""


def test_reused_numbers(tmp_path: Path) -> None:
    """Numbers that come back within milliseconds belong to new processes: each is started and ended once, in turn."""
    count = 5000 * REPEAT
    before = ("unshare", "--pid", "--fork", "--mount-proc")
    if os.geteuid():
        before = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
    wrapper = "import os, subprocess, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    probe = subprocess.run(
        [*before, "sh", "-c", "echo 301 >/proc/sys/kernel/pid_max"], check=False, capture_output=True
    )
    # Since Linux 6.14 each pid namespace has a pid_max of its own. Before, this would be the host's.
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        own = int(file.read()) != 301
    if probe.returncode or not own:
        pytest.skip("a pid namespace's own pid_max is missing, or root is needed for it")
    path = tmp_path / "events"
    result = subprocess.run(
        [
            *before,
            *python(wrapper),
            sys.executable,
            "-m",
            "rprun",
            *options(path, "process,file"),
            "--",
            *python(REUSE, str(count)),
        ],
        check=False,
        capture_output=True,
        timeout=100,
    )
    assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 0)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    started, ended = of_kind(events, "descendant-started"), of_kind(events, "descendant-exited")
    assert len({event["pid"] for event in started}) < count
    assert (len(started), len(ended), lost(events)) == (count, count, 0)
    # Ends that are told at the same time are in no order; each belongs to the last start of its number.
    alive: dict[int, int] = {}
    turn = 0
    for event in events:
        if event["kind"] == "descendant-started":
            assert event["pid"] not in alive
            alive[event["pid"]] = turn % 50
            turn += 1
        elif event["kind"] == "descendant-exited":
            assert event["exit_code"] == alive.pop(event["pid"])
    assert not alive

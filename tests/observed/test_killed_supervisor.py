"""Killing rprun's helper or rprun itself never harms the command's tree."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from typing import TYPE_CHECKING

import pytest
from observing import REPEAT, lost, maps_of, of_kind, options, paths, python, read_events, supervisor_of
from running import is_running, kill_quietly, read_until, start, wait_gone, wait_until

from rprun.backends.seccomp.ring import REQUEST_OFFSET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("answered_by")

COUNT = 120
BUILD = f"""
i=0
while [ $i -lt {COUNT} ]; do
    cat /dev/null >"$0/file$i" || exit 1
    i=$((i + 1))
done
exit 7
"""


@pytest.mark.parametrize("turn", range(2 * REPEAT))
def test_at_random_moments(turn: int, tmp_path: Path) -> None:
    """The work succeeds, nothing is told twice, and what may be missing is counted."""
    chance = random.Random(turn)
    kills = 0
    with start(*options(tmp_path / "events"), "--", "sh", "-c", BUILD, str(tmp_path)) as process:
        while process.poll() is None:
            supervisor = supervisor_of(process.pid)
            if supervisor is not None:
                kill_quietly(supervisor)
                kills += 1
            time.sleep(chance.random() * 0.02)
        assert (process.communicate(timeout=20), process.returncode) == ((b"", b""), 7)
    events = read_events(tmp_path / "events")
    assert kills > 1
    made = paths(events, "file-open", tmp_path)
    assert len(set(made)) == len(made)
    missing = lost(events)
    # A record that was cut short may also be of another call, or one that was told of all the same.
    assert COUNT - missing <= len(made) <= COUNT
    assert missing <= kills
    alive: set[int] = set()
    for event in of_kind(events, "descendant-started", "descendant-exited"):
        if event["kind"] == "descendant-started":
            # On a busy machine a number comes back, but not before its process has ended.
            assert event["pid"] not in alive
            alive.add(event["pid"])
        else:
            alive.remove(event["pid"])
    assert not alive
    assert COUNT - missing <= len(of_kind(events, "descendant-started")) <= COUNT
    assert {event["exit_code"] for event in of_kind(events, "descendant-exited")} == {0}


@pytest.mark.parametrize("turn", range(3 * REPEAT))
def test_with_a_call_in_hand(turn: int, tmp_path: Path) -> None:
    """The caller of the call that it was about to answer does not wait for ever, and one event is lost."""
    # So many that it goes on for as long as one has to be caught.
    program = "import os\nfor i in range(20000): os.close(os.open('/dev/null', 0))\nos.write(1, b'done')"
    with start(*options(tmp_path / "events"), "--", *python(program)) as process:
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        in_hand = _stop_with_a_call_in_hand(supervisor, lambda: process.poll() is not None)
        os.kill(supervisor, signal.SIGKILL)
        output = process.communicate(timeout=20)[0]
    assert (output, process.returncode) == (b"done", 0)
    events = read_events(tmp_path / "events")
    if in_hand:
        assert lost(events) == 1
        opened = [event for event in of_kind(events, "file-open") if event["path"] == "/dev/null"]
        assert 19999 <= len(opened) <= 20000


@pytest.mark.parametrize("turn", range(2 * REPEAT))
def test_with_the_tree_gone_too(turn: int, tmp_path: Path) -> None:
    """The call that it had in hand is counted as lost, also where nobody is left to be supervised."""
    program = "import os\nos.write(1, b'%d\\n' % os.getpid())\nwhile True: os.close(os.open('/dev/null', 0))"
    with start(*options(tmp_path / "events"), "--", *python(program)) as process:
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        assert process.stdout is not None
        command = int(read_until(process.stdout.fileno(), b"\n"))
        _stop_with_a_call_in_hand(supervisor)
        os.kill(command, signal.SIGKILL)
        os.kill(supervisor, signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
    assert lost(read_events(tmp_path / "events")) == 1


def _stop_with_a_call_in_hand(supervisor: int, is_over: Callable[[], object] = lambda: False) -> int:
    """Stop a supervisor between a call and the next one; return the call's number, 0 if it is over."""
    in_hand, tries = 0, 0
    while not in_hand and not is_over():
        tries += 1
        time.sleep(0.001 * (tries % 7))
        os.kill(supervisor, signal.SIGSTOP)
        wait_until(lambda: _state(supervisor) == "T")
        in_hand = _request_of(supervisor)
        if not in_hand:
            os.kill(supervisor, signal.SIGCONT)
    return in_hand


BACKLOG = """
import os
open("/dev/null")
for turn in range(6000):
    if turn == 3000:
        os.write(1, b"many")
    pid = os.fork() if turn % 3 == 0 else -1
    if pid <= 0:
        os.close(os.open("/dev/null", 0))
        if not pid:
            os._exit(3)
    if pid > 0:
        os.waitpid(pid, 0)
"""


def test_with_many_records_to_be_told(tmp_path: Path) -> None:
    """What is left of it is told before what the next one notes, and no process has ended before its last call."""
    with start(*options(tmp_path / "events"), "--", *python(BACKLOG)) as process:
        assert process.stdout is not None
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        os.kill(process.pid, signal.SIGSTOP)
        read_until(process.stdout.fileno(), b"many")
        os.kill(supervisor, signal.SIGKILL)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(30) == 0
    ended: set[int] = set()
    events = read_events(tmp_path / "events")
    for event in events:
        if event["kind"] == "descendant-started":
            ended.discard(event["pid"])
        assert event["pid"] not in ended, event
        if event["kind"] == "descendant-exited":
            ended.add(event["pid"])
    started, exited = of_kind(events, "descendant-started"), of_kind(events, "descendant-exited")
    assert 2000 - lost(events) <= len(exited) <= len(started) <= 2000


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


def _request_of(supervisor: int) -> int:
    for name in os.listdir(f"/proc/{supervisor}/fd"):
        if "rprun-observation" in os.readlink(f"/proc/{supervisor}/fd/{name}"):
            with open(f"/proc/{supervisor}/fd/{name}", "rb", buffering=0) as file:
                file.seek(REQUEST_OFFSET)
                return int(struct.unpack("=Q", file.read(8))[0])
    raise AssertionError("no shared memory")


@pytest.mark.parametrize("turn", range(10 * REPEAT))
def test_at_the_very_start(turn: int, tmp_path: Path) -> None:
    """Killed before, while, or just after the listener comes: the command's own exec waits for the next one."""
    with start(*options(tmp_path / "events"), "--", "sh", "-c", "cat /dev/null; exit 6") as process:
        deadline = time.monotonic() + 5
        while (supervisor := supervisor_of(process.pid)) is None and process.poll() is None:
            assert time.monotonic() < deadline
        if supervisor is not None:
            time.sleep(turn % 10 * 0.0007)
            kill_quietly(supervisor)
        assert (process.communicate(timeout=20), process.returncode) == ((b"", b""), 6)


def test_again_and_again(tmp_path: Path) -> None:
    """There is always a next one."""
    with start(
        *options(tmp_path / "events"), "--", "sh", "-c", "echo ready; read line; cat /dev/null", stdin=-1
    ) as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"ready")
        for _ in range(20):
            supervisor = wait_until(lambda: supervisor_of(process.pid))
            os.kill(supervisor, signal.SIGKILL)
            wait_gone(supervisor)
        process.communicate(b"\n", timeout=20)
    assert process.returncode == 0
    assert [event["argv"][0] for event in of_kind(read_events(tmp_path / "events"), "exec")] == ["sh", "cat"]


WORKER = """
trap '' HUP TERM
echo $$
read line <"$0/go"
i=0
while [ $i -lt 200 ]; do : <"$0/go.file" || exit 1; i=$((i + 1)); done
cat "$0/go.file" >"$0/result.new" && mv "$0/result.new" "$0/result"
read line <"$0/go"
"""


@pytest.mark.parametrize("transport", [(), ("--pty",)], ids=["default", "pty"])
def test_rprun_killed(transport: tuple[str, ...], tmp_path: Path) -> None:
    """A descendant in a session of its own works on; the supervisor ends with it, and its memory is gone."""
    os.mkfifo(tmp_path / "go")
    (tmp_path / "go.file").write_text("result")
    words = ("sh", "-c", 'setsid sh -c "$1" "$0" & wait', str(tmp_path), WORKER)
    with start(*options(tmp_path / "events"), *transport, "--", *words) as process:
        assert process.stdout is not None
        worker = int(read_until(process.stdout.fileno(), b"\n").split()[0])
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        memory = next(line for line in maps_of(supervisor).splitlines() if "rprun-observation" in line)
        memory = " ".join(memory.split()[3:])
        process.kill()
        process.wait(10)
        assert is_running(worker)
        with open(tmp_path / "go", "w", encoding="ascii") as file:
            file.write("go\n")
        wait_until((tmp_path / "result").exists)
        assert (tmp_path / "result").read_text() == "result"
        assert is_running(supervisor)
        with open(tmp_path / "go", "w", encoding="ascii") as file:
            file.write("end\n")
        wait_gone(worker)
        wait_gone(supervisor)
    # A memfd is gone with the last descriptor and mapping, and those are counted by process.
    others = map(maps_of, map(int, filter(str.isdigit, os.listdir("/proc"))))
    assert not [line for maps in others for line in maps.splitlines() if " ".join(line.split()[3:]) == memory]

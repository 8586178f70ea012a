"""Processes that are hard to look at: dead and not reaped, secret, hidden, gone meanwhile, under another's number."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from polling import ALL, WITHOUT_PRIVILEGE, Polled, about, of_kind, options, python
from running import clean_environment, rprun_argv, run

ZOMBIE = """
import os, sys
child = os.fork()
if child == 0:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
print(child, flush=True)
sys.stdin.readline()
kept = open("mark", "w")
sys.stdin.readline()
os.waitpid(child, 0)
"""

# The first thread ends, which makes a zombie of the process by its state, and another one goes on.
HEADLESS = """
import ctypes, os, sys, threading
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    def go_on():
        os.read(reader, 1)
        os._exit(0)
    thread = threading.Thread(target=go_on)
    thread.start()
    ctypes.CDLL(None).pthread_exit(None)
print(child, flush=True)
while open(f"/proc/{child}/stat").read().rpartition(")")[2].split()[0] != "Z":
    pass
kept = open("mark", "w")
sys.stdin.readline()
also = open("later", "w")
sys.stdin.readline()
os.write(writer, b"!")
os.waitpid(child, 0)
sys.stdin.readline()
"""

# Keeps others from looking into it (PR_SET_DUMPABLE, prctl(2)), and has a file and a socket.
SECRET = """
import ctypes, os, socket, sys
assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
server = socket.create_server(("127.0.0.1", 0))
child = os.fork()
if child == 0:
    os.execv("/bin/cat", ["cat"])
print(child, flush=True)
os.waitpid(child, 0)
"""

# As many processes as can be, none of which is there for long.
FLEETING = """
import os
for _ in range(400):
    for _ in range(4):
        if os.fork() == 0:
            file = open("/dev/null")
            os._exit(0)
    for _ in range(4):
        os.wait()
"""

# A number is given to a second process when the first one has been reaped, but not within the clock tick in which that
# was created: the two would be told apart by nothing (BUGS). A tick is what both are counted in: proc_pid_stat(5), 22.
REUSE = """
import os, sys, time
def started(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])
def ticks():
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
def child():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    return pid, writer
pid, writer = child()
print(pid, flush=True)
sys.stdin.readline()
first = started(pid)
os.close(writer)
os.waitpid(pid, 0)
while ticks() <= first:
    pass
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(pid - 1))
again, writer = child()
print(again, flush=True)
sys.stdin.readline()
os.close(writer)
os.waitpid(again, 0)
"""


def test_a_zombie_has_ended_once(tmp_path: Path) -> None:
    """A process has ended when it has, whoever waits for it and when; it is not found again as a new one."""
    with Polled(tmp_path, *python(ZOMBIE), cwd=tmp_path) as polled:
        child = int(polled.line())
        polled.until_seen(kind="descendant-exited", pid=child, exit_code=None)
        polled.go_on()
        polled.until_seen(kind="file-open", path=str(tmp_path.resolve() / "mark"))
        events = polled.end()
    assert about(events, child) == ["descendant-started", "descendant-exited"]


def test_a_process_without_its_first_thread_goes_on(tmp_path: Path) -> None:
    """Its state says that it has ended, and it has not: no end is told before its last thread's."""
    with Polled(tmp_path, *python(HEADLESS), cwd=tmp_path) as polled:
        child = int(polled.line())
        for name in ("mark", "later"):
            mark = polled.until_seen(kind="file-open", path=str(tmp_path.resolve() / name))
            polled.go_on()
        ended = polled.until_seen(kind="descendant-exited", pid=child)
        events = polled.end()
    # A whole look lies between the two marks.
    assert ended["seq"] > mark["seq"]
    assert about(events, child) == ["descendant-started", "descendant-exited"]
    assert not of_kind(events, "unobserved")


def test_a_secret_process(tmp_path: Path) -> None:
    """What may not be looked into is said once for each category; of the others of its tree all is seen."""
    with Polled(tmp_path, *python(SECRET), before=WITHOUT_PRIVILEGE) as polled:
        child = int(polled.line())
        command = polled.until_seen(kind="started")["pid"]
        for category in ALL:
            record = polled.until_seen(kind="unobserved", category=category, pid=command)
            assert record["backend"] == "psutil-poll"
            # The latter where /proc hides such processes (hidepid, proc(5)).
            assert "cannot be read" in record["reason"] or "hidepid" in record["reason"]
        polled.until_seen(kind="exec", pid=child, path=os.path.realpath("/bin/cat"))
        events = polled.end()
    said = [event["category"] for event in of_kind(events, "unobserved") if event["pid"] == command]
    assert sorted(said) == sorted(ALL)


def test_a_hidden_process(tmp_path: Path) -> None:
    """With hidepid a secret process is gone from /proc: it is said to be out of sight and not to have ended."""
    if os.geteuid():
        pytest.skip("to mount /proc takes root")
    mount = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", mount, "sh", "setpriv", "--reuid=65534", "--regid=65534"]
    before += ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    script = SECRET.replace("assert ctypes", 'print("here", flush=True); sys.stdin.readline()\nassert ctypes')
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o777)
    try:
        with Polled(directory, *_python_of_all(script), before=before, cwd="/") as polled:
            command = polled.until_seen(kind="exec")["pid"]
            assert polled.line() == "here"
            polled.go_on()
            child = int(polled.line())
            for category in ALL:
                record = polled.until_seen(kind="unobserved", category=category, pid=command)
                assert "hidepid" in record["reason"]
            polled.until_seen(kind="exec", pid=child)
            events = polled.end()
    finally:
        shutil.rmtree(directory)
    assert about(events, command)[-1] == "exited"
    assert "descendant-exited" not in about(events, command)


def test_a_number_that_comes_back(tmp_path: Path) -> None:
    """Two processes that follow each other under one number are two: each starts, and each ends."""
    if os.geteuid():
        pytest.skip("to choose a process's number takes root")
    before = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with Polled(tmp_path, *python(REUSE), before=before, categories=["process"]) as polled:
        number = int(polled.line())
        first = polled.until_seen(kind="descendant-started", pid=number)
        polled.go_on()
        assert int(polled.line()) == number
        polled.until(lambda event: event["kind"] == "descendant-started" and event["seq"] > first["seq"])
        events = polled.end()
    assert about(events, number) == ["descendant-started", "descendant-exited"] * 2
    assert len(of_kind(events, "exec")) == 1


def test_processes_that_end_while_they_are_looked_at(tmp_path: Path) -> None:
    """They are seen or missed; nothing fails, nothing is made up, and who has started has ended."""
    path = tmp_path / "events"
    result = run(*options(path), "--", *python(FLEETING))
    assert (result.returncode, result.stderr) == (0, b"")
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert not of_kind(events, "unobserved", "lost")
    started = [event["pid"] for event in of_kind(events, "descendant-started")]
    ended = [event["pid"] for event in of_kind(events, "descendant-exited")]
    assert sorted(started) == sorted(ended)
    assert len(of_kind(events, "exec")) <= 1


def test_no_table_of_processes() -> None:
    """Without /proc it is unavailable, and the reason says what to do."""
    if os.geteuid():
        pytest.skip("to hide /proc takes root")
    words = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh", *rprun_argv()]
    result = subprocess.run(
        [*words, "--backend", "process=psutil-poll", "--", "true"],
        capture_output=True,
        env=clean_environment(),
        timeout=60,
        check=False,
    )
    assert result.returncode == 125
    assert b"/proc (mount it)" in result.stderr


def _python_of_all(program: str) -> tuple[str, ...]:
    """A command that runs a Python program by an interpreter that every user may run; skips where there is none."""
    found = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
    if not found:
        pytest.skip(f"an interpreter for all users is missing beside {sys.executable}")
    return found, "-I", "-S", "-c", program

"""What outlives the command goes on undisturbed, and rprun does not wait for it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from observing import compile_c, options, python, read_events, supervisor_of
from running import is_running, kill_quietly, start, wait_gone, wait_until

if TYPE_CHECKING:
    from pathlib import Path

DAEMON = """
import os, sys
directory = sys.argv[1]
if os.fork():
    os._exit(8)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
for number in range(3):
    os.dup2(null, number)
with open(directory + "/pid.new", "w") as file:
    file.write(str(os.getpid()))
os.rename(directory + "/pid.new", directory + "/pid")
for turn in range(3):
    with open(directory + "/go") as file:
        file.read()
    for i in range(500):
        open("/dev/null").close()
    with open(f"{directory}/done{turn}", "w"):
        pass
"""


def test_a_daemon_outlives_the_run(tmp_path: Path) -> None:
    """rprun ends with the command; the daemon's calls are answered; the supervisor ends after the daemon."""
    os.mkfifo(tmp_path / "go")
    with start(
        *options(tmp_path / "events"),
        "--",
        "sh",
        "-c",
        'read line; exec "$@"',
        "sh",
        *python(DAEMON, str(tmp_path)),
        stdin=-1,
    ) as process:
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        process.communicate(b"\n", timeout=10)
        assert process.returncode == 8
        daemon = int(wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
        for turn in range(3):
            assert is_running(daemon)
            assert is_running(supervisor)
            with open(tmp_path / "go", "w", encoding="ascii") as file:
                file.write("go")
            wait_until(lambda turn=turn: (tmp_path / f"done{turn}").exists())
        wait_gone(daemon)
        wait_gone(supervisor)


OPENS = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("%d\\n", getpid()); fflush(stdout); for (;;) close(open("/dev/null", O_RDONLY)); }
"""


def test_a_daemon_that_never_rests(tmp_path: Path) -> None:
    """Descendants that make calls faster than they can be told of do not keep rprun from ending."""
    program = compile_c(tmp_path, OPENS)
    words = ("sh", "-c", 'setsid "$0" & setsid "$0" & setsid "$0" & read line; exit 5', program)
    with start(*options(tmp_path / "events"), "--", *words, stdin=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        daemons = [int(process.stdout.readline()) for _ in range(3)]
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        try:
            os.write(process.stdin.fileno(), b"\n")
            before = time.monotonic()
            process.wait(10)
            assert time.monotonic() - before < 4
        finally:
            for daemon in daemons:
                kill_quietly(daemon)
        assert process.returncode == 5
        wait_gone(supervisor)
    assert read_events(tmp_path / "events")[-1]["kind"] == "exited"

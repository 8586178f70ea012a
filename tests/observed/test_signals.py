"""Signals and job control while calls are being watched."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest
from observing import REPEAT, compile_c, observe, of_kind, options, python, read_events
from running import clean_environment, read_until, rprun_argv, start, stat_fields

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("answered_by")

TIMER = """
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>
static volatile long ticks;
static void tick(int number) { (void)number; ticks++; }
int main(int argc, char **argv) {
    struct sigaction action = { .sa_handler = tick };
    struct itimerval interval = { { 0, 1000 }, { 0, 1000 } };
    long interrupted = 0, failed = 0, count = atol(argv[1]);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &interval, NULL);
    for (long i = 0; i < count; i++) {
        int descriptor = open("/dev/null", O_RDONLY);
        if (descriptor >= 0) close(descriptor);
        else if (errno == EINTR) interrupted++;
        else failed++;
    }
    printf("%ld %ld %ld\\n", interrupted, failed, ticks);
    return 0;
}
"""


def test_interrupted_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A timer of a millisecond without SA_RESTART makes few opens fail, and none with anything but EINTR."""
    count = 5000 * REPEAT
    result, events = observe(tmp_path, compile_c(tmp_path, TIMER), str(count), categories="file")
    interrupted, failed, ticks = map(int, result.stdout.split())
    with capsys.disabled():
        print(f"\nEINTR: {interrupted} of {count} opens with {ticks} signals")  # noqa: T201 - the figure is asked for
    assert failed == 0
    assert interrupted <= count * 0.02
    opened = [event for event in of_kind(events, "file-open") if event["path"] == "/dev/null"]
    # What was interrupted has not happened. What had been answered may have been interrupted all the same.
    assert count - interrupted <= len(opened) + sum(event["count"] for event in of_kind(events, "lost"))
    assert len(opened) <= count


def test_pipelines(tmp_path: Path) -> None:
    """Hundreds of pipelines of a shell that takes every EINTR for a failure: none fails."""
    shell = "dash" if os.path.exists("/bin/dash") else "sh"
    program = "i=0; while [ $i -lt $1 ]; do echo $i | cat | cat >/dev/null || exit 1; i=$((i + 1)); done; echo all"
    result, events = observe(tmp_path, shell, "-c", program, "name", str(300 * REPEAT))
    assert (result.stdout, result.stderr, result.returncode) == (b"all\n", b"", 0)
    assert len([event for event in of_kind(events, "exec") if event["argv"] == ["cat"]]) == 600 * REPEAT


STEPS = "import os, sys\nfor i in range(3000 * int(sys.argv[1])): os.close(os.open('/dev/null', 0))\nprint('end')"


def test_stopped_and_continued(tmp_path: Path) -> None:
    """SIGSTOP and SIGCONT at any moment neither fail a call nor double an event."""
    # Not the command itself: rprun stops with that, as a job of a shell does.
    words = ("sh", "-c", '"$@" & echo $!; wait $!', "sh", *python(STEPS, str(REPEAT)))
    with start(*options(tmp_path / "events", "file"), "--", *words) as process:
        assert process.stdout is not None
        command = int(process.stdout.readline())
        stops = 0
        while process.poll() is None and "Z" not in stat_fields(command)[:1]:
            try:
                os.kill(command, signal.SIGSTOP)
                os.kill(command, signal.SIGCONT)
            except ProcessLookupError:
                break
            stops += 1
        assert process.communicate(timeout=20)[0] == b"end\n"
    assert process.returncode == 0
    assert stops > 10
    events = read_events(tmp_path / "events")
    opened = [event for event in of_kind(events, "file-open") if event["path"] == "/dev/null"]
    # The shell opens it too, but without this flag.
    assert len([event for event in opened if event["flags"] & os.O_CLOEXEC]) == 3000 * REPEAT


def test_suspended_and_resumed_at_a_terminal(tmp_path: Path) -> None:
    """^Z stops rprun and the command, `fg` has both go on; the supervisor is not stopped with them."""
    master, slave = pty.openpty()
    words = [
        *rprun_argv(),
        *options(tmp_path / "events"),
        "--",
        "sh",
        "-c",
        "echo ready; read line; cat /dev/null; exit 4",
    ]
    shell = subprocess.Popen(
        ["bash", "--norc", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env=clean_environment(PS1="prompt", TERM="dumb"),
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - there is one thread
    )
    os.close(slave)
    try:
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        os.write(master, f"{quoted}\n".encode())
        read_until(master, b"ready\r\n")
        os.write(master, b"\x1a")
        read_until(master, b"Stopped")
        os.write(master, b"fg\n")
        os.write(master, b"\n")
        os.write(master, b"echo status=$?\n")
        read_until(master, b"status=4\r\n")
        os.write(master, b"exit\n")
        shell.wait(10)
    finally:
        shell.kill()
        shell.wait()
        os.close(master)
    names = [event["argv"][0] for event in of_kind(read_events(tmp_path / "events"), "exec")]
    assert names == ["sh", "cat"]


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """SIGKILL to the command in the middle of its calls ends the run with that signal, at once."""
    program = "import os\nprint(os.getpid(), flush=True)\nwhile True: os.close(os.open('/dev/null', 0))"
    with start(*options(tmp_path / "events"), "--", *python(program)) as process:
        assert process.stdout is not None
        os.kill(int(process.stdout.readline()), signal.SIGKILL)
        process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL

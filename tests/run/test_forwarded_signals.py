"""A signal to rprun reaches the command as itself and once, and rprun ends, stops and goes on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from running import (
    PATIENCE,
    TRANSPORTS,
    is_running,
    read_until,
    start,
    stat_fields,
    transport_id,
    wait_gone,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path

FORWARDED = [
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGURG, signal.SIGRTMIN, signal.SIGRTMIN + 5,
]  # fmt: skip
FENCE = int(signal.SIGRTMAX)
# Says each signal it gets as a line, and ends with its stdin. Without the descriptor that a signal makes readable, one
# that comes just before CPython enters a blocking read is not handled until that read ends: with a SIGCONT the kernel
# begins the read again, and what comes with it is before it.
COUNTER = f"""
import os, select, signal
told, tell = os.pipe()
os.set_blocking(tell, False)
signal.set_wakeup_fd(tell)
for number in {[int(number) for number in FORWARDED] + [FENCE]}:
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
os.write(1, b"ready")
while 0 not in (ready := select.select([told, 0], [], [])[0]):
    os.write(1, b"".join(b"<%d>" % number for number in os.read(told, 4096)))
"""
COMMAND = (sys.executable, "-I", "-S", "-c", COUNTER)

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)


class Counting:
    """rprun with a command that says which signals it gets."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        self.process = process
        self.output = process.stdout.fileno()
        read_until(self.output, b"ready")

    def answers(self, number: int, *, to_group: bool) -> bytes:
        """Send a signal and return what the command says up to the second of two fences behind it.

        rprun takes signals that come together in no certain order; what it does with those before the first fence
        it has done by the second.
        """
        (os.killpg if to_group else os.kill)(self.process.pid, number)
        said = b""
        for _ in range(2):
            os.kill(self.process.pid, FENCE)
            said += read_until(self.output, b"<%d>" % FENCE)
        return said.replace(b"<%d>" % FENCE, b"")

    def end(self) -> int:
        """Let the command end; return rprun's return code."""
        self.process.communicate()
        return self.process.returncode


@every_transport
@pytest.mark.parametrize("to_group", [False, True], ids=["to-rprun", "to-its-group"])
def test_as_itself_and_exactly_once(transport: tuple[str, ...], *, to_group: bool) -> None:
    """Sent to rprun alone or to its whole group, the command, which may be in that group, gets each one time."""
    with start(*transport, *COMMAND, stdin=subprocess.PIPE, process_group=0) as process:
        counting = Counting(process)
        for _ in range(3):
            for number in FORWARDED:
                assert counting.answers(number, to_group=to_group) == b"<%d>" % number
        assert counting.end() == 0


@every_transport
def test_one_that_rprun_was_told_to_ignore_is_not_forwarded(transport: tuple[str, ...]) -> None:
    """Ignored for rprun, it stays ignored by the command and goes nowhere."""

    def ignore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with start(*transport, *COMMAND, stdin=subprocess.PIPE, preexec_fn=ignore) as process:
        counting = Counting(process)
        assert counting.answers(signal.SIGTERM, to_group=False) == b""
        assert counting.answers(signal.SIGHUP, to_group=False) == b""
        assert counting.answers(signal.SIGINT, to_group=False) == b"<2>"
        assert counting.end() == 0


@every_transport
@pytest.mark.parametrize("to_group", [False, True], ids=["to-rprun", "to-its-group"])
def test_rprun_dies_the_death_it_passed_on(transport: tuple[str, ...], tmp_path: Path, *, to_group: bool) -> None:
    """Whoever waits for rprun sees the command's wait status."""
    for number in (*FORWARDED[:7], signal.SIGRTMIN + 5):
        with start(*transport, "sh", "-c", "echo ready; exec sleep 1000", process_group=0, cwd=tmp_path) as process:
            assert process.stdout
            read_until(process.stdout.fileno(), b"ready")
            (os.killpg if to_group else os.kill)(process.pid, number)
            assert process.wait(PATIENCE) == -number


@every_transport
def test_a_command_that_handles_it_decides(transport: tuple[str, ...]) -> None:
    """The status after a handled signal is what the handler makes it."""
    script = "trap 'echo handled; exit 7' TERM; echo ready; read x"
    with start(*transport, "sh", "-c", script, stdin=subprocess.PIPE) as process:
        assert process.stdout
        read_until(process.stdout.fileno(), b"ready")
        process.send_signal(signal.SIGTERM)
        read_until(process.stdout.fileno(), b"handled")
        process.communicate()
        assert process.returncode == 7


@every_transport
def test_a_killed_rprun_takes_the_command_along(transport: tuple[str, ...]) -> None:
    """SIGKILL to rprun is SIGKILL to the command."""
    script = "trap '' HUP TERM INT; echo ready $$; exec sleep 1000"
    with start(*transport, "sh", "-c", script) as process:
        assert process.stdout
        pid = int(read_until(process.stdout.fileno(), b"\n").split()[1])
        process.kill()
        process.wait(PATIENCE)
        wait_gone(pid)


@every_transport
def test_signals_at_any_moment_of_the_start(transport: tuple[str, ...]) -> None:
    """TERM while rprun starts ends it, and leaves no command behind."""
    for reads in range(12):
        with start(*transport, "sh", "-c", "echo ready; exec sleep 1000") as process:
            # As many looks at /proc as the turn says: a different moment each time, without a clock.
            for _ in range(reads * 40):
                stat_fields(process.pid)
            process.terminate()
            assert process.wait(PATIENCE) in (-signal.SIGTERM, 128 + signal.SIGTERM)


def stopped(process: subprocess.Popen[bytes]) -> int:
    """Wait until a process has stopped; return the signal."""
    status = wait_until(lambda: os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)[1], "rprun is stopped")
    assert os.WIFSTOPPED(status), status
    return os.WSTOPSIG(status)


@every_transport
def test_rprun_stops_with_a_command_that_stops_itself(transport: tuple[str, ...]) -> None:
    """The shell sees a stopped job; SIGCONT to rprun continues the command."""
    with start(*transport, "sh", "-c", "echo ready $$; kill -STOP $$; echo again; exit 6", process_group=0) as process:
        assert process.stdout
        pid = int(read_until(process.stdout.fileno(), b"\n").split()[1])
        stopped(process)
        assert stat_fields(pid)[0] == "T"
        process.send_signal(signal.SIGCONT)
        assert read_until(process.stdout.fileno(), b"again")
        assert process.wait(PATIENCE) == 6


@every_transport
@pytest.mark.parametrize("to_group", [False, True], ids=["to-rprun", "to-its-group"])
def test_a_stop_signal_stops_both(transport: tuple[str, ...], *, to_group: bool) -> None:
    """SIGTSTP to rprun stops the command, and then rprun; SIGCONT continues both, and they stay continued."""
    send = os.killpg if to_group else os.kill
    with start(*transport, *COMMAND, stdin=subprocess.PIPE, process_group=0) as process:
        try:
            counting = Counting(process)
            for _ in range(5):
                send(process.pid, signal.SIGTSTP)
                assert stopped(process) == signal.SIGTSTP
                send(process.pid, signal.SIGCONT)
                assert counting.answers(signal.SIGUSR1, to_group=False) == b"<%d>" % signal.SIGUSR1
            assert counting.end() == 0
        finally:
            process.kill()


@every_transport
@pytest.mark.parametrize("to_group", [False, True], ids=["to-rprun", "to-its-group"])
def test_one_that_is_continued_at_once_runs(transport: tuple[str, ...], *, to_group: bool) -> None:
    """SIGCONT comes while a SIGTSTP is on its way, or the stop is being followed: nobody stays stopped."""
    send = os.killpg if to_group else os.kill
    with start(*transport, *COMMAND, stdin=subprocess.PIPE, process_group=0) as process:
        try:
            counting = Counting(process)
            for _ in range(20):
                for _ in range(10):
                    send(process.pid, signal.SIGTSTP)
                    send(process.pid, signal.SIGCONT)
                assert counting.answers(signal.SIGUSR1, to_group=False) == b"<%d>" % signal.SIGUSR1
            assert counting.end() == 0
        finally:
            process.kill()


@every_transport
def test_a_stopped_rprun_loses_nothing(transport: tuple[str, ...]) -> None:
    """`kill -STOP` of rprun alone holds up the relay, not the bytes."""
    with start(*transport, "sh", "-c", "echo ready; read x; seq 1 20000; exit 6", stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        read_until(process.stdout.fileno(), b"ready")
        process.send_signal(signal.SIGSTOP)
        stopped(process)
        process.stdin.write(b"go\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        output = process.communicate()[0]
    assert output.split() == [b"%d" % number for number in range(1, 20_001)]
    assert process.returncode == 6


@every_transport
def test_a_killed_monitor_is_reported(transport: tuple[str, ...]) -> None:
    """Without its parent the command's status is lost: rprun says so and fails, and does not hang."""
    with start(*transport, "sh", "-c", "trap '' HUP; echo $$ $PPID; exec sleep 1000") as process:
        assert process.stdout
        assert process.stderr
        pid, monitor = map(int, read_until(process.stdout.fileno(), b"\n").split())
        assert monitor != process.pid
        os.kill(monitor, signal.SIGKILL)
        assert process.wait(PATIENCE) == 125
        message = process.stderr.readline()
        assert message.startswith(b"rprun: ")
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid)

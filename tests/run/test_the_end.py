"""When a run is over: the command has ended and its output is read, whoever else still holds its terminal or pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from running import (
    PATIENCE,
    TRANSPORTS,
    is_running,
    kill_quietly,
    read_until,
    rprun_argv,
    run,
    start,
    transport_id,
    wait_gone,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
RELAYED = pytest.mark.parametrize("transport", TRANSPORTS[1:], ids=transport_id)

# A grandchild that keeps the command's streams and writes when the FIFO says so.
KEEPER = "trap '' HUP; (read x <fifo; echo late) & echo $!; exit 3"
# A daemon of a session of its own, whose parents are gone; the command knows its pid before it ends.
DAEMON = "(setsid sh -c 'echo $$; exec sleep 1000 </dev/null >/dev/null 2>&1' &) | { read pid; echo $pid; }; exit 3"


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Path]:
    """A FIFO by which the keeper is let go on."""
    os.mkfifo(tmp_path / "fifo")
    yield tmp_path / "fifo"
    # Nobody may be waiting for it any more: opening it for writing only would block then.
    descriptor = os.open(tmp_path / "fifo", os.O_RDWR)
    os.write(descriptor, b"end\n")
    os.close(descriptor)


def exited(events: Path) -> dict[str, Any]:
    """Return the record of the command's end."""
    record = json.loads(events.read_text().splitlines()[-1])
    assert record["kind"] == "exited"
    return dict(record)


@RELAYED
def test_without_a_drain_the_commands_end_is_the_end(transport: tuple[str, ...], fifo: Path) -> None:
    """`--drain 0` waits for nobody, keeps what the command wrote, and says that it was cut short."""
    events = fifo.with_name("events")
    options = (*transport, "--drain", "0", "--json", "--events", str(events))
    result = run(*options, "sh", "-c", KEEPER, cwd=fifo.parent, timeout=PATIENCE)
    assert result.returncode == 3
    pid = int(result.stdout)
    assert is_running(pid)
    assert exited(events)["drained"] is False
    kill_quietly(pid)
    wait_gone(pid)


@RELAYED
def test_by_default_the_wait_is_bounded(transport: tuple[str, ...], fifo: Path) -> None:
    """A second after the command's end rprun leaves with its status."""
    before = time.monotonic()
    result = run(*transport, "sh", "-c", KEEPER, cwd=fifo.parent, timeout=PATIENCE)
    assert result.returncode == 3
    assert time.monotonic() - before >= 1
    kill_quietly(int(result.stdout))


@RELAYED
def test_an_endless_drain_reads_to_the_end(transport: tuple[str, ...], fifo: Path) -> None:
    """`--drain inf` stays until nobody has the other end any more."""
    events = fifo.with_name("events")
    options = (*transport, "--drain", "inf", "--json", "--events", str(events))
    with start(*options, "sh", "-c", KEEPER, cwd=fifo.parent) as process:
        assert process.stdout
        pid = int(read_until(process.stdout.fileno(), b"\n"))
        assert is_running(pid)
        fifo.write_text("go\n")
        assert process.communicate()[0].strip() == b"late"
    assert process.returncode == 3
    assert "drained" not in exited(events)


@RELAYED
def test_a_drain_can_be_interrupted(transport: tuple[str, ...], fifo: Path) -> None:
    """TERM ends the wait for others' output; the status is still the command's."""
    events = fifo.with_name("events")
    options = (*transport, "--drain", "inf", "--json", "--events", str(events), "--orphans", "leave")
    with start(*options, "sh", "-c", KEEPER, cwd=fifo.parent) as process:
        assert process.stdout
        pid = int(read_until(process.stdout.fileno(), b"\n"))
        # The command is a zombie or gone once its own child has another parent.
        process.send_signal(signal.SIGCONT)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.stdout.read(0)
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        assert process.returncode in (3, -signal.SIGTERM)
        kill_quietly(pid)


def test_a_stream_that_passes_through_is_not_waited_for(fifo: Path) -> None:
    """By default a pipe is the command's own: rprun ends with the command, the reader when the last writer does."""
    with start("sh", "-c", KEEPER, cwd=fifo.parent) as process:
        assert process.stdout
        assert process.wait(PATIENCE) == 3
        assert int(process.stdout.readline()) > 0
        fifo.write_text("go\n")
        assert process.stdout.read() == b"late\n"


def test_a_command_may_close_its_terminal(fifo: Path) -> None:
    """The end of a terminal's output is not the end of the command: its status, signals and limits still count."""
    script = "exec </dev/null >/dev/null 2>&1; read x <fifo; exit 5"
    with start("--pty", "sh", "-c", script, cwd=fifo.parent) as process:
        fifo.write_text("go\n")
        assert process.wait(PATIENCE) == 5
    script = "exec </dev/null >/dev/null 2>&1; echo ready >fifo; exec sleep 1000"
    with start("--pty", "sh", "-c", script, cwd=fifo.parent) as process:
        assert fifo.read_text() == "ready\n"
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM


def test_waiting_for_it_costs_no_time(fifo: Path) -> None:
    """A terminal that nobody has open does not make rprun spin."""
    script = "exec </dev/null >/dev/null 2>&1; exec sleep 1000"
    words = [*rprun_argv(), "--pty", "--timeout", "0.6", "sh", "-c", script]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=fifo.parent)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 124
    assert usage.ru_utime + usage.ru_stime < 0.4


def test_a_terminal_may_be_opened_again(fifo: Path) -> None:
    """What is written to /dev/tty after everybody had closed the terminal still comes."""
    script = "echo one; exec </dev/null >/dev/null 2>&1; read x <fifo; echo two >/dev/tty; exit 5"
    with start("--pty", "sh", "-c", script, cwd=fifo.parent) as process:
        assert process.stdout
        read_until(process.stdout.fileno(), b"one")
        fifo.write_text("go\n")
        assert process.communicate()[0].split() == [b"two"]
    assert process.returncode == 5


@every_transport
def test_orphans_are_left_alone(transport: tuple[str, ...]) -> None:
    """By default a daemon survives, as it would have."""
    result = run(*transport, "sh", "-c", DAEMON)
    pid = int(result.stdout)
    assert result.returncode == 3
    assert is_running(pid)
    kill_quietly(pid)


@every_transport
def test_orphans_can_be_reported(transport: tuple[str, ...], tmp_path: Path) -> None:
    """The record of the end names who is left, daemons included, and leaves them."""
    events = tmp_path / "events"
    result = run(*transport, "--orphans", "report", "--json", "--events", str(events), "sh", "-c", DAEMON)
    pid = int(result.stdout)
    assert result.returncode == 3
    assert [orphan["pid"] for orphan in exited(events)["orphans"]] == [pid]
    assert exited(events)["orphans"][0]["name"] in ("sleep", "sh")
    assert is_running(pid)
    kill_quietly(pid)
    result = run(*transport, "--orphans", "report", "--json", "--events", str(events), "true")
    assert exited(events)["orphans"] == []


@every_transport
def test_orphans_can_be_killed(transport: tuple[str, ...]) -> None:
    """A daemon does not get away, and the status is the command's."""
    result = run(*transport, "--orphans", "kill", "sh", "-c", DAEMON, timeout=PATIENCE)
    assert result.returncode == 3
    assert not is_running(int(result.stdout))


@every_transport
def test_orphans_can_be_waited_for(transport: tuple[str, ...], fifo: Path) -> None:
    """rprun ends when the last descendant has."""
    script = "(setsid sh -c 'echo $$; exec <&- >&- 2>&-; read x <fifo' &) | { read pid; echo $pid; }; exit 3"
    with start(*transport, "--orphans", "wait", "sh", "-c", script, cwd=fifo.parent) as process:
        assert process.stdout
        pid = int(read_until(process.stdout.fileno(), b"\n"))
        assert is_running(pid)
        assert process.poll() is None
        fifo.write_text("go\n")
        assert process.wait(PATIENCE) == 3
        assert not is_running(pid)

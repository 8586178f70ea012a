"""Runs as on Windows without a console of their own: pipes, limits, the tree, events, and what cannot be started."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE, read_until, wait_gone
from windows_running import program, rprun, start_as_windows

if TYPE_CHECKING:
    from pathlib import Path

# Leaves a descendant behind that lives for a while; it says its number.
LEAVES = "sleep 60 >/dev/null 2>&1 & echo $!"


def test_bytes_are_untouched() -> None:
    """All bytes go through pipes in both directions as they are, whether rprun carries them or they pass through."""
    data = bytes(range(256)) * 4000
    for options in ((), ("--pipe",), ("--idle-timeout", "30s")):
        done = rprun(*options, "--", "cat", input=data)
        assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


def test_stdout_and_stderr_stay_apart() -> None:
    """With pipes each arrives where it belongs."""
    done = rprun("--pipe", "--", "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"out\n", b"err\n")


@pytest.mark.parametrize("transport", ["--pipe", "--pty"])
@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("no-such-command", 127, b"rprun: cannot run no-such-command: command not found"),
        ("./no-such-file", 127, b"rprun: cannot run ./no-such-file: No such file or directory"),
        ("/tmp", 126, b"rprun: cannot run /tmp: Is a directory"),
        ("/etc/passwd", 126, b"rprun: cannot run /etc/passwd: "),
    ],
)
def test_what_cannot_be_started(transport: str, command: str, status: int, message: bytes) -> None:
    """127 for what is not there, 126 for what is no program, and one line that says so."""
    done = rprun(transport, "--", command)
    assert done.returncode == status
    assert done.stderr.startswith(message)
    assert done.stderr.count(b"\n") == 1


def test_a_directory_that_is_not_there() -> None:
    """It is rprun's failure, and not the command's."""
    done = rprun("--cwd", "/no/such/directory", "--", "true")
    assert (done.returncode, done.stderr.split(b":")[1]) == (125, b" cannot change to directory /no/such/directory")


def test_environment(tmp_path: Path) -> None:
    """Variables are set and unset without regard to case, and the command is looked for in what its PATH is then."""
    (tmp_path / "mine").write_text("#!/bin/sh\n/usr/bin/env\n")
    (tmp_path / "mine").chmod(0o755)
    changes = ["--env", f"path={tmp_path}", "--env-unset", "home", "--env", "A=1", "--env", "a=2"]
    lines = rprun("--pipe", *changes, "--", "mine").stdout.decode().splitlines()
    assert f"PATH={tmp_path}" in lines
    assert "A=2" in lines
    assert not [line for line in lines if line.startswith(("HOME=", "path=", "a="))]


def test_no_command_runs_the_shell() -> None:
    """%COMSPEC% is what runs where no command is named."""
    done = rprun("--pipe", input=b"echo from the shell\nexit 3\n", variables={"COMSPEC": "/bin/sh"})
    assert (done.returncode, done.stdout) == (3, b"from the shell\n")


def test_the_command_line_goes_on_as_it_was_typed() -> None:
    """What the words do not show, such as where a quote stood, reaches the command."""
    # The stand-in takes the line apart as a program of the C runtime does: here only the line has two words.
    line = 'rprun --pipe -- printf %s,%s "a"  b'
    done = rprun("--pipe", "--", "printf", "%s,%s", "a", "b", variables={"RPRUN_COMMAND_LINE": line})
    assert done.stdout == b"a,b"


@pytest.mark.parametrize("transport", ["--pipe", "--pty"])
@pytest.mark.parametrize("limit", ["--timeout", "--idle-timeout"])
def test_limits_end_the_tree(transport: str, limit: str) -> None:
    """The command and its descendants are asked to end, and 124 says why."""
    with start_as_windows("cli", transport, limit, "300ms", "--json", "--", "sh", "-c", f"{LEAVES}; wait") as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 124
    wait_gone(int(output))
    last = json.loads(errors.splitlines()[-1])
    assert last["limit"] == limit.lstrip("-")
    # ^Break has ended it, and not TerminateProcess.
    assert last["exit_code"] == 0xC000013A


@pytest.mark.parametrize("transport", ["--pipe", "--pty"])
def test_who_does_not_listen_is_terminated(transport: str) -> None:
    """After the grace the tree is ended with exit code 1, as taskkill does it."""
    started = time.monotonic()
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    done = rprun(transport, "--timeout", "300ms", "--kill-after", "200ms", "--json", "--", "sh", "-c", script)
    assert (done.returncode, json.loads(done.stderr.splitlines()[-1])["exit_code"]) == (124, 1)
    assert time.monotonic() - started < PATIENCE


@pytest.mark.parametrize("transport", ["--pipe", "--pty"])
def test_orphans(transport: str) -> None:
    """What outlives the command is left, named, or ended."""
    # With its own output, a descendant does not hold the command's.
    done = rprun(transport, "--orphans", "report", "--json", "--", "sh", "-c", f"setsid sh -c '{LEAVES}'")
    pid = int(done.stdout)
    (orphan,) = json.loads(done.stderr.splitlines()[-1])["orphans"]
    assert orphan == {"pid": pid, "name": "sleep"}
    os.kill(pid, signal.SIGKILL)
    done = rprun(transport, "--orphans", "kill", "--", "sh", "-c", f"setsid sh -c '{LEAVES}'")
    assert done.returncode == 0
    wait_gone(int(done.stdout))
    started = time.monotonic()
    done = rprun(transport, "--orphans", "wait", "--", "sh", "-c", "setsid sh -c 'sleep 0.5 >/dev/null 2>&1 &'; echo x")
    assert done.returncode == 0
    assert time.monotonic() - started >= 0.5


def test_a_held_pipe_is_left() -> None:
    """A descendant that holds the output is read for as long as asked, and the event says that reading was cut."""
    started = time.monotonic()
    done = rprun("--pipe", "--drain", "200ms", "--json", "--", "sh", "-c", "echo first; sleep 60 & echo $!")
    assert time.monotonic() - started < PATIENCE
    first, pid = done.stdout.split()
    assert first == b"first"
    assert json.loads(done.stderr.splitlines()[-1])["drained"] is False
    os.kill(int(pid), signal.SIGKILL)


# A shell that looks for signals before it waits for the next of its children: with one child only, a signal that comes
# between these two steps would wait for that child's end.
COUNTS = "trap 'exit 5' INT; echo ready; while :; do sleep 0.02; done"


def test_interrupts_are_the_commands() -> None:
    """^C in a console that both share ends whom it ends, and rprun is there to say how it went."""
    with start_as_windows("cli", "--pipe", "--", "sh", "-c", COUNTS, stdin=-1) as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"ready\n")
        # To both, as a console does; the command alone then decides.
        os.kill(process.pid, signal.SIGINT)
        for child in os.listdir(f"/proc/{process.pid}/task"):
            with open(f"/proc/{process.pid}/task/{child}/children", encoding="ascii") as file:
                for pid in file.read().split():
                    os.kill(int(pid), signal.SIGINT)
        assert process.wait(PATIENCE) == 5


def test_break_is_passed_on_to_a_console_of_its_own() -> None:
    """A command in a pseudo console hears nothing of this one's ^C, so it is typed there."""
    with start_as_windows("cli", "--pty", "--", "sh", "-c", COUNTS, stdin=-1) as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"ready")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 5


def test_events_go_where_they_are_sent(tmp_path: Path) -> None:
    """Start and end, to a file or a descriptor; nothing of them is on the command's streams."""
    file = tmp_path / "events.jsonl"
    done = rprun("--json", "--events", str(file), "--", "echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")
    kinds = [json.loads(line)["kind"] for line in file.read_text().splitlines()]
    assert kinds == ["started", "exited"]
    done = rprun("--json", "--events", str(tmp_path / "no" / "file"), "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (125, b"")


def test_events_do_not_cut_lines() -> None:
    """Where they share a destination with the command's output, each event has a line of its own."""
    read, write = os.pipe()
    script = "printf no-newline; printf more >&2"
    with start_as_windows("cli", "--json", "--pipe", "--", "sh", "-c", script, stdout=write, stderr=write) as process:
        os.close(write)
        with os.fdopen(read, "rb") as file:
            lines = file.read().splitlines()
    assert process.returncode == 0
    assert [json.loads(line)["kind"] for line in lines if line.startswith(b"{")] == ["started", "exited"]
    assert b"".join(line for line in lines if not line.startswith(b"{")).count(b"more") == 1


def test_a_reader_that_left_is_no_failure() -> None:
    """`| head -1` ends the run without a word, and the command finds its pipe broken."""
    read, write = os.pipe()
    with start_as_windows("cli", "--pipe", "--", "sh", "-c", "while echo x; do :; done", stdout=write) as process:
        os.close(write)
        os.read(read, 1)
        os.close(read)
        _, errors = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in errors
    assert b"rprun" not in errors


def test_a_slow_reader_gets_everything() -> None:
    """Output that nobody takes for a while holds the command up, not the limit on the drain; none of it is lost."""
    with start_as_windows("cli", "--pipe", "--drain", "0", "--", "head", "-c", "3000000", "/dev/zero") as process:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)
        time.sleep(1.5)  # Longer than silence takes to be an end.
        assert len(first + process.stdout.read()) == 3000000
    assert process.returncode == 0


def test_the_python_interface() -> None:
    """`run`, `Process` and its events work as elsewhere; what has no meaning here says so."""
    source = """
import rprun
assert rprun.run(["sh", "-c", "echo out; echo err >&2"], output=rprun.CAPTURE).stdout == b"out\\n"
with rprun.Process(["cat"], output=rprun.CAPTURE, timeout=60) as process:
    process.write(b"some input\\n" * 100000)
    process.close_stdin()
assert (process.returncode, process.stdout) == (0, b"some input\\n" * 100000)
process, events = rprun.Process.with_observer(["sh", "-c", "exit 3"], rprun.ObserverConfig.lifecycle())
with process:
    kinds = [event.kind.value for event in events]
assert (kinds, process.returncode) == (["started", "exited"], 3)
with rprun.Process(["sleep", "60"], output=rprun.CAPTURE) as process:
    process.kill()
assert process.returncode == 1
with rprun.Process(["sleep", "60"], output=rprun.CAPTURE) as process:
    assert process.poll() is None
    process.terminate()
assert process.returncode == 0xC000013A, process.returncode
process = rprun.Process(["sleep", "60"], output=rprun.CAPTURE).start()
process.close()
assert process.poll() == 1
try:
    rprun.run(["no-such-command"])
except rprun.NotFound as error:
    assert error.status == 127
with rprun.Process(["sleep", "0.2"], stdin="inherit") as process:
    try:
        process.send_signal(2)
    except rprun.UsageError as error:
        assert "share" in str(error)
def output(name, data):
    raise ValueError(name)
try:
    rprun.run(["echo", "x"], output=output)
except ValueError as error:
    print(error)
"""
    assert program(source) == "stdout\n"


def test_what_is_not_observed_is_said() -> None:
    """Categories that no backend sees here are named, and the command runs."""
    done = rprun("--observe", "lifecycle,network", "--backend", "network=etw", "--json", "--", "true")
    assert done.returncode in (0, 125)
    if done.returncode == 125:
        assert b"etw" in done.stderr

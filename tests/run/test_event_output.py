"""Events reach their destination in whole lines and cut nobody else's; not asked for, there is nothing of them."""

from __future__ import annotations

import importlib.resources
import json
import os
import pty
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from running import PATIENCE, TRANSPORTS, clean_environment, read_all, rprun_argv, run, start, transport_id

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = json.loads((importlib.resources.files("rprun") / "observe" / "event.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
RELAYED = pytest.mark.parametrize("transport", TRANSPORTS[1:], ids=transport_id)


def parsed(data: bytes) -> list[dict[str, Any]]:
    """Return the events of whole lines, each checked against the schema and numbered from 1."""
    assert data == b"" or data.endswith(b"\n")
    events = [json.loads(line) for line in data.decode().splitlines()]
    for number, event in enumerate(events, 1):
        VALIDATOR.validate(event)
        assert event["seq"] == number
    return events


@every_transport
@pytest.mark.parametrize("destination", ["stderr", "file", "descriptor", "pipe"])
def test_start_and_end_are_told_once(transport: tuple[str, ...], destination: str, tmp_path: Path) -> None:
    """Two lines, to stderr, a file or a descriptor, with the command's pid, status and the time."""
    read, write = os.pipe()
    file = os.open(tmp_path / "fd", os.O_RDWR | os.O_CREAT)
    where = {"stderr": "-", "file": str(tmp_path / "events"), "descriptor": f"fd:{file}", "pipe": f"fd:{write}"}
    before = int(time.time() * 1000)
    result = run(
        *transport, "--json", "--events", where[destination], "sh", "-c", "echo $$; exit 9", pass_fds=(write, file)
    )
    os.close(write)
    data = result.stderr + read_all(read) + (tmp_path / "fd").read_bytes()
    if destination == "file":
        data += (tmp_path / "events").read_bytes()
    os.close(read)
    os.close(file)
    started, exited = parsed(data)
    pid = int(result.stdout)
    assert (started["kind"], started["pid"]) == ("started", pid)
    assert (exited["kind"], exited["pid"], exited["exit_code"]) == ("exited", pid, 9)
    assert before - 1 <= started["timestamp_ms"] <= exited["timestamp_ms"] <= time.time() * 1000 + 1
    assert result.returncode == 9
    if destination != "stderr":
        assert result.stderr == b""


@every_transport
def test_nothing_is_said_when_nothing_is_asked(transport: tuple[str, ...]) -> None:
    """Without an option for it there is no event, and no module of observation is imported."""
    result = run(*transport, "sh", "-c", "exit 0")
    assert (result.stdout, result.stderr) == (b"", b"")
    watched = run(*transport, "true", env=clean_environment(PYTHONVERBOSE="1"))
    assert b"import 'rprun.runner.process'" in watched.stderr
    assert b"rprun.observe" not in watched.stderr


@every_transport
def test_a_signal_is_a_negative_exit_code(transport: tuple[str, ...]) -> None:
    """A death by SIGKILL is -9."""
    result = run(*transport, "--json", "--events", "fd:2", "sh", "-c", "kill -9 $$")
    assert parsed(result.stderr)[-1]["exit_code"] == -9
    assert result.returncode == -signal.SIGKILL


@every_transport
def test_a_command_that_cannot_start_has_no_events(transport: tuple[str, ...], tmp_path: Path) -> None:
    """What has not begun has no end."""
    result = run(*transport, "--json", "--events", str(tmp_path / "events"), "no-such-command-anywhere")
    assert result.returncode == 127
    assert (tmp_path / "events").read_bytes() == b""


@pytest.mark.parametrize("transport", TRANSPORTS[:2], ids=transport_id)
def test_an_event_starts_a_line_of_its_own(transport: tuple[str, ...]) -> None:
    """After half a line of the command's on stderr comes a newline first."""
    result = run(*transport, "--json", "sh", "-c", "printf partial >&2")
    lines = result.stderr.split(b"\n")
    # The event of the start may come before, after, or between.
    assert [line for line in lines if not line.startswith(b"{")] == [b"partial", b""]
    assert [json.loads(line)["kind"] for line in lines if line.startswith(b"{")] == ["started", "exited"]


@every_transport
def test_both_streams_and_events_in_one_file(transport: tuple[str, ...], tmp_path: Path) -> None:
    """`rprun --json ... >log 2>&1`: every line of everybody's is whole and the command's are in order."""
    script = "i=0; while [ $i -lt 300 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; "
    # Through two pipes, half a line of one stream may be followed by the other's.
    script += "echo tail" if transport == ("--pipe",) else "printf tail"
    with (tmp_path / "log").open("wb") as log:
        assert run(*transport, "--json", "sh", "-c", script, stdout=log, stderr=log).returncode == 0
    lines = (tmp_path / "log").read_bytes().replace(b"\r", b"").split(b"\n")
    events = [line for line in lines if line.startswith(b"{")]
    assert [json.loads(line)["kind"] for line in events] == ["started", "exited"]
    others = [line for line in lines if line not in events and line]
    for name in (b"out", b"err"):
        assert [line for line in others if line.startswith(name)] == [b"%s %d" % (name, i) for i in range(300)]
    assert len(others) == 601
    assert b"tail" in others
    if transport != ("--pipe",):
        # One pipe or one terminal for both keeps the order between them.
        assert others[:4] == [b"out 0", b"err 0", b"out 1", b"err 1"]


@every_transport
def test_lines_on_a_raw_terminal_end_in_cr_lf(transport: tuple[str, ...]) -> None:
    """With the terminal raw for the run, a bare newline would make stairs."""
    master, slave = pty.openpty()
    words = [*rprun_argv(), *transport, "--json", "sh", "-c", "echo hello; exit 3"]
    process = subprocess.Popen(
        words, stdin=slave, stdout=slave, stderr=slave, env=clean_environment(), start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # noqa: PLW1509
    )  # fmt: skip
    os.close(slave)
    data = read_all(master)
    os.close(master)
    assert process.wait(PATIENCE) == 3
    assert data.count(b"\n") == data.count(b"\r\n") == 3
    assert b"\r\r" not in data
    assert len(parsed(b"".join(line + b"\n" for line in data.splitlines() if line.startswith(b"{")))) == 2


@every_transport
def test_a_consumer_that_reads_nothing_holds_nobody_up(transport: tuple[str, ...]) -> None:
    """A full pipe for events costs the command nothing; rprun says at the end what was not written."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    while True:
        try:
            os.write(write, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(write, True)
    options = (*transport, "--json", "--events", f"fd:{write}")
    with start(*options, "sh", "-c", "echo hello; exit 6", pass_fds=(write,)) as process:
        os.close(write)
        output, errors = process.communicate(timeout=PATIENCE)
    os.close(read)
    assert (process.returncode, output.strip()) == (6, b"hello")
    assert errors.startswith(b"rprun: events: 2 events not written")


@every_transport
def test_a_consumer_that_leaves_holds_nobody_up(transport: tuple[str, ...]) -> None:
    """A broken pipe for events is said once, and the run goes on."""
    read, write = os.pipe()
    os.close(read)
    result = run(*transport, "--json", "--events", f"fd:{write}", "sh", "-c", "echo hello; exit 6", pass_fds=(write,))
    os.close(write)
    assert (result.returncode, result.stdout.strip()) == (6, b"hello")
    assert result.stderr.count(b"rprun: events:") == 1
    assert result.stderr.count(b"\n") == 1


def test_a_requirement_that_is_not_met_keeps_the_command_from_starting(tmp_path: Path) -> None:
    """`--require` of what cannot be observed here is 125, one line, before anything has run."""
    table = json.loads(run("capabilities", "--json").stdout)
    short = [row["category"] for row in table if row["support"] != "supported"]
    result = run("--require", f"{short[0]}=supported", "touch", str(tmp_path / "ran"))
    assert result.returncode == 125
    assert result.stderr.count(b"\n") == 1
    assert short[0].encode() in result.stderr
    assert not (tmp_path / "ran").exists()
    assert run("--require", "lifecycle=supported", "true").returncode == 0


@every_transport
def test_what_cannot_be_observed_is_said_once(transport: tuple[str, ...]) -> None:
    """A category that was asked for and is unavailable gives one record; one that was not asked for gives none."""
    table = {row["category"]: row for row in json.loads(run("capabilities", "--json").stdout)}
    result = run(*transport, "--observe", "all", "--json", "true")
    events = parsed(result.stderr)
    unobserved = [event for event in events if event["kind"] == "unobserved"]
    unavailable = {category for category, row in table.items() if row["support"] == "unavailable"}
    assert sorted(event["category"] for event in unobserved) == sorted(unavailable)
    assert all(event["reason"] == table[event["category"]]["reason"] for event in unobserved)
    assert [event["kind"] for event in events].count("started") == 1
    assert [event["kind"] for event in events].count("exited") == 1


@every_transport
def test_readable_lines(transport: tuple[str, ...]) -> None:
    """Without `--json` events are short lines of text."""
    result = run(*transport, "--observe", "lifecycle", "sh", "-c", "exit 4")
    first, second = result.stderr.decode().splitlines()
    assert "started" in first
    assert "exited" in second
    assert "4" in second


@pytest.mark.parametrize("destination", ["/no/such/directory/file", "/tmp", "fd:99", "/dev/full/x"])
def test_a_destination_that_cannot_be_opened(destination: str, tmp_path: Path) -> None:
    """rprun fails before the start, in one line."""
    result = run("--json", "--events", destination, "touch", str(tmp_path / "ran"))
    assert result.returncode in (2, 125)
    assert result.stderr.count(b"\n") == 1
    assert not (tmp_path / "ran").exists()

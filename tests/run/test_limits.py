"""Limits end the whole tree by a ladder, and the status says 124."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE, TRANSPORTS, is_running, read_until, run, start, transport_id, wait_gone

if TYPE_CHECKING:
    from pathlib import Path

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
SOON = ("--timeout", "300ms")


@every_transport
@pytest.mark.parametrize("limit", ["timeout", "idle-timeout"])
def test_a_limit_ends_a_command_that_does_nothing(transport: tuple[str, ...], limit: str, tmp_path: Path) -> None:
    """The status is 124, and the record of the end says which limit it was."""
    events = tmp_path / "events"
    result = run(*transport, f"--{limit}", "0.2", "--json", "--events", str(events), "sleep", "1000", timeout=PATIENCE)
    assert (result.returncode, result.stdout, result.stderr) == (124, b"", b"")
    record = json.loads(events.read_text().splitlines()[-1])
    assert (record["limit"], record["exit_code"]) == (limit, -signal.SIGTERM)


@every_transport
def test_a_limit_that_is_not_reached_changes_nothing(transport: tuple[str, ...], tmp_path: Path) -> None:
    """Output, status and record are those of a run without."""
    events = tmp_path / "events"
    options = ("--timeout", "1h", "--idle-timeout", "1h", "--json", "--events", str(events))
    result = run(*transport, *options, "sh", "-c", "echo out; exit 5")
    assert (result.returncode, result.stdout.replace(b"\r", b""), result.stderr) == (5, b"out\n", b"")
    assert "limit" not in json.loads(events.read_text().splitlines()[-1])


@every_transport
def test_what_was_written_before_is_there(transport: tuple[str, ...]) -> None:
    """A limit loses no output."""
    result = run(*transport, *SOON, "sh", "-c", "seq 1 1000; exec sleep 1000", timeout=PATIENCE)
    assert result.returncode == 124
    assert result.stdout.split() == [b"%d" % number for number in range(1, 1001)]


@every_transport
def test_output_keeps_an_idle_limit_away(transport: tuple[str, ...]) -> None:
    """Silence is counted from the last byte, on stderr or stdout."""
    script = "for i in 1 2 3 4 5; do echo $i >&$((1 + i % 2)); sleep 0.3; done; exit 4"
    before = time.monotonic()
    result = run(*transport, "--idle-timeout", "1.2", "sh", "-c", script, timeout=PATIENCE)
    assert time.monotonic() - before > 1.2
    assert result.returncode == 4


@every_transport
def test_the_first_signal_can_be_chosen(transport: tuple[str, ...]) -> None:
    """`--signal INT` lets a command clean up its way; 124 it is all the same."""
    script = "trap 'echo interrupted; exit 0' INT; echo ready; while :; do sleep 0.05; done"
    result = run(*transport, *SOON, "--signal", "INT", "sh", "-c", script, timeout=PATIENCE)
    assert result.returncode == 124
    assert result.stdout.split() == [b"ready", b"interrupted"]


@every_transport
def test_who_ignores_it_is_killed(transport: tuple[str, ...], tmp_path: Path) -> None:
    """SIGKILL comes `--kill-after` later."""
    events = tmp_path / "events"
    options = (*SOON, "--kill-after", "0.2", "--json", "--events", str(events))
    script = "trap '' TERM; echo $$; while :; do sleep 1000; done"
    result = run(*transport, *options, "sh", "-c", script, timeout=PATIENCE)
    assert result.returncode == 124
    assert not is_running(int(result.stdout))
    assert json.loads(events.read_text().splitlines()[-1])["exit_code"] == -signal.SIGKILL


TREES = {
    "child": "sleep 1000 & echo $!; wait",
    "daemon": "(setsid sh -c 'echo $$; exec sleep 1000 </dev/null >/dev/null 2>&1' &); sleep 1000",
    "stubborn-daemon": (
        "(setsid sh -c 'trap \"\" TERM HUP; echo $$; exec sleep 1000 </dev/null >/dev/null 2>&1' &); exec sleep 1000"
    ),
    "stopped-child": "sh -c 'echo $$; kill -STOP $$' & wait",
    "stopped-stubborn-child": "sh -c 'trap \"\" TERM; echo $$; kill -STOP $$; exec sleep 1000' & wait",
    "outlives-the-command": "(setsid sh -c 'trap \"\" TERM HUP; echo $$; exec sleep 1000' &); exec sleep 1000",
}


@every_transport
@pytest.mark.parametrize("tree", TREES)
def test_the_whole_tree_ends(transport: tuple[str, ...], tree: str) -> None:
    """Children, daemons of sessions of their own, those that ignore TERM, and stopped ones."""
    options = ("--timeout", "0.5", "--kill-after", "0.2")
    result = run(*transport, *options, "sh", "-c", TREES[tree], timeout=PATIENCE)
    assert result.returncode == 124
    assert not is_running(int(result.stdout))


@every_transport
def test_a_stopped_command_does_not_outlive_its_limit(transport: tuple[str, ...]) -> None:
    """A command that has stopped itself is ended in time although nobody continues it."""
    script = "echo $$; kill -STOP $$"
    with start(*transport, *SOON, "--kill-after", "0.2", "sh", "-c", script, process_group=0) as process:
        try:
            assert process.stdout
            pid = int(read_until(process.stdout.fileno(), b"\n"))
            assert process.wait(PATIENCE) == 124
            wait_gone(pid)
        finally:
            process.kill()


@every_transport
def test_a_limit_counts_while_output_waits(transport: tuple[str, ...]) -> None:
    """A reader that does not read cannot keep a command alive beyond its limit."""
    with start(*transport, *SOON, "sh", "-c", "echo $$; exec yes") as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        wait_gone(pid)
        process.communicate()
    assert process.returncode == 124


@every_transport
def test_a_terminal_held_open_does_not_delay_a_limit(transport: tuple[str, ...]) -> None:
    """The drain after a limit is bounded even where `--drain inf` was asked for: the tree is gone."""
    options = (*transport, *SOON, "--drain", "inf", "--kill-after", "0.2")
    result = run(*options, "sh", "-c", "trap '' HUP TERM; sleep 1000 & wait; wait", timeout=PATIENCE)
    assert result.returncode == 124

"""rprun without anything that only Linux has, over what is documented of macOS and the BSDs: see `as_posix.py`."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from other_systems import SYSTEMS, executable, run, start, suite
from running import TRANSPORTS, is_running, kill_quietly, transport_id, wait_gone, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

every_system = pytest.mark.parametrize("system", SYSTEMS)
every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
# A child that ignores what a limit sends first, and outlives the command.
CHILD = "trap '' TERM HUP; sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; "


@pytest.fixture(scope="module")
def rprun(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """`rprun(system)`: its executable there."""
    directory = tmp_path_factory.mktemp("systems")
    return lambda system: executable(directory, system)


@every_system
@every_transport
def test_a_run(rprun: Callable[..., str], system: str, transport: tuple[str, ...]) -> None:
    """Output, status, and the end of what is on stdin."""
    result = run([rprun(system), *transport, "sh", "-c", "cat; echo end; exit 5"], input=b"some\nlines\n")
    assert (result.returncode, result.stderr) == (5, b"")
    assert result.stdout.replace(b"\r", b"") == b"some\nlines\nend\n"
    result = run([rprun(system), *transport, "sh", "-c", "kill -USR1 $$"])
    assert (result.returncode, result.stderr) == (-signal.SIGUSR1, b"")


@every_system
@pytest.mark.parametrize("source", ["pipe", "file"])
def test_binary_data_through_a_terminal(rprun: Callable[..., str], system: str, source: str, tmp_path: Path) -> None:
    """It arrives whole, NUL and 0xFF included, in lines that no terminal there could hold."""
    data = bytes(range(256)) + b"long " * 3000 + b"\n" + random.Random(3).randbytes(50_000)
    (tmp_path / "data").write_bytes(data)
    words = [rprun(system), "--pty", "sha256sum"]
    with open(tmp_path / "data", "rb") as file:
        result = run(words, stdin=file) if source == "file" else run(words, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


@every_system
def test_output_that_is_read_after_the_end(rprun: Callable[..., str], system: str) -> None:
    """What the command has left in its terminal is there although the command is gone and nobody has read it yet."""
    script = "echo $$; stty -opost; head -c 67000 /dev/zero | tr '\\0' x; echo; printf last"
    # Unbuffered: `communicate` does not know what `readline` has read ahead.
    with start([rprun(system), "--pty", "sh", "-c", script], bufsize=0) as process:
        assert process.stdout
        wait_gone(int(process.stdout.readline()))
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert output == b"x" * 67000 + b"\nlast"


@every_transport
def test_a_limit_ends_the_tree(rprun: Callable[..., str], transport: tuple[str, ...]) -> None:
    """Orphans go to init there; those that have been seen before are ended all the same."""
    options = ("--timeout", "0.5", "--kill-after", "0.1")
    result = run([rprun("darwin"), *transport, *options, "sh", "-c", CHILD + "wait; exec sleep 1000"])
    assert (result.returncode, result.stderr) == (124, b"")
    wait_gone(int(result.stdout))


@every_system
def test_orphans_of_the_terminal_are_reported(rprun: Callable[..., str], system: str, tmp_path: Path) -> None:
    """They are found by their session; that there are none is not said, as others may have left it."""
    events = tmp_path / "events"
    options = ("--pty", "--orphans", "report", "--json", "--events", str(events))
    result = run([rprun(system), *options, "sh", "-c", f"({CHILD}) &"])
    pid = int(result.stdout)
    try:
        assert pid in [each["pid"] for each in json.loads(events.read_text().splitlines()[-1])["orphans"]]
        assert is_running(pid)
    finally:
        kill_quietly(pid)
        wait_gone(pid)
    assert run([rprun(system), *options, "true"]).returncode == 0
    assert "orphans" not in json.loads(events.read_text().splitlines()[-1])


@every_system
def test_what_is_observed(rprun: Callable[..., str], system: str, tmp_path: Path) -> None:
    """Snapshots are what there is, and are told of; the matrix says so, with what is planned for that system."""
    rows = json.loads(run([rprun(system), "capabilities", "--json"]).stdout)
    assert {row["backend"] for row in rows} == {"portable-lifecycle", "psutil-poll"}
    events = tmp_path / "events"
    with start(
        [rprun(system), "--observe", "all", "--json", "--events", str(events), "sh", "-c", "read x; exit 3"],
        stdin=subprocess.PIPE,
    ) as process:
        wait_until(lambda: events.exists() and '"exec"' in events.read_text())
        assert process.communicate(b"x\n") == (b"", b"")
    seen = [json.loads(line) for line in events.read_text().splitlines()]
    assert (seen[0]["kind"], seen[-1]["exit_code"]) == ("started", 3)
    assert [event["argv"] for event in seen if event["kind"] == "exec"] == [["sh", "-c", "read x; exit 3"]]
    assert not [event for event in seen if event["kind"] == "unobserved"]


# Every number below is taken, and goes on to who is executed.
FILL = """
import os, sys
while (number := os.dup(0)) < 1100:
    os.set_inheritable(number, True)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_too_many_descriptors_for_select(rprun: Callable[..., str]) -> None:
    """On macOS no descriptor from 1,024 on can be waited for: that is one line, and the command is not started."""
    result = run([sys.executable, "-I", "-S", "-c", FILL, rprun("darwin"), "--pty", "echo", "started"])
    assert (result.returncode, result.stdout) == (125, b"")
    assert result.stderr.count(b"\n") == 1
    assert b"descriptors" in result.stderr


def test_another_room(rprun: Callable[..., str], tmp_path: Path) -> None:
    """What holds of keys on Linux holds there; `rooms.py` runs all of the tests of runs and terminals."""
    done = suite(rprun("darwin"), f"--basetemp={tmp_path / 'inner'}", "tests/terminal/test_keys.py")
    assert done.returncode == 0, done.stdout[-5000:]

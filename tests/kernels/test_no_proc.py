"""Without /proc, and with one that hides other users' processes: what can be done is done, and the rest is said."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from typing import TYPE_CHECKING

import pytest
from old_kernels import assert_no_other_copy, run_on
from running import TRANSPORTS, transport_id, wait_gone

if TYPE_CHECKING:
    from pathlib import Path

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
NOWHERE = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
ANOTHER_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
HIDDEN = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh", *ANOTHER_USER)


@pytest.fixture(autouse=True)
def mounts() -> None:
    """Skip where nothing can be mounted."""
    if os.geteuid() or subprocess.run([*NOWHERE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("to mount something takes root")


@every_transport
def test_a_run(transport: tuple[str, ...]) -> None:
    """Output, status, and the end of what is on stdin."""
    result = run_on(NOWHERE, *transport, "sh", "-c", "cat; echo end; exit 5", input=b"some\nlines\n")
    assert (result.returncode, result.stderr) == (5, b"")
    assert result.stdout.replace(b"\r", b"") == b"some\nlines\nend\n"


def test_binary_data_through_a_terminal() -> None:
    """It arrives whole."""
    data = random.Random(7).randbytes(100_000)
    result = run_on(NOWHERE, "--pty", "sha256sum", input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


@every_transport
def test_nobody_else_keeps_a_descriptor(transport: tuple[str, ...]) -> None:
    """Descriptors that rprun was given are found without a list of them, and closed in all but the command."""
    assert_no_other_copy(NOWHERE, *transport)


@every_transport
def test_a_limit(transport: tuple[str, ...], tmp_path: Path) -> None:
    """The command itself is ended; who its descendants are cannot be known, and no list of them is given."""
    events = tmp_path / "events"
    options = ("--timeout", "0.3", "--orphans", "report", "--json", "--events", str(events))
    result = run_on(NOWHERE, *transport, *options, "sh", "-c", "echo $$; exec sleep 1000")
    assert (result.returncode, result.stderr) == (124, b"")
    wait_gone(int(result.stdout))
    assert json.loads(events.read_text().splitlines()[-1])["limit"] == "timeout"


def test_observation() -> None:
    """What needs /proc is unavailable, the reason names it, and the command runs."""
    rows = json.loads(run_on(NOWHERE, "capabilities", "--json", "--all").stdout)
    snapshots = [row for row in rows if row["backend"] == "psutil-poll"]
    assert {row["support"] for row in snapshots} == {"unavailable"}
    assert all("/proc (mount it)" in row["reason"] for row in snapshots)
    result = run_on(NOWHERE, "--observe", "all", "--json", "--events", "/dev/null", "--", "sh", "-c", "exit 3")
    assert (result.returncode, result.stdout, result.stderr) == (3, b"", b"")


@every_transport
@pytest.mark.usefixtures("readable")
def test_hidden_processes(transport: tuple[str, ...]) -> None:
    """One's own are there, so that limits end them and snapshots show them."""
    options = ("--timeout", "0.3", "--kill-after", "0.1")
    script = "trap '' TERM HUP; sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; exec sleep 1000"
    result = run_on(HIDDEN, *transport, *options, "sh", "-c", script)
    assert (result.returncode, result.stderr) == (124, b"")
    wait_gone(int(result.stdout))
    rows = json.loads(run_on(HIDDEN, "capabilities", "--json", "--all").stdout)
    assert {row["support"] for row in rows if row["backend"] == "psutil-poll"} == {"partial"}
    result = run_on(
        HIDDEN, "--backend", "process=psutil-poll", "--observe", "process", *transport, "sleep", "0.3", cwd="/"
    )
    assert result.returncode == 0
    assert b"exec" in result.stderr


@pytest.fixture
def readable() -> None:
    """Skip where another user may not read the package."""
    if run_on(ANOTHER_USER, "true", cwd="/").returncode:
        pytest.skip("the package cannot be read by who is not root")

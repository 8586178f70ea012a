"""Kernels that lack calls which rprun makes use of: each run comes out as anywhere, and what is missing is said."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from old_kernels import KERNELS, OF_THREADS, assert_no_other_copy, before, run_on
from running import TRANSPORTS, is_running, kill_quietly, transport_id, wait_gone

if TYPE_CHECKING:
    from pathlib import Path

every_kernel = pytest.mark.parametrize("kernel", KERNELS)
# The one that lacks most; the others come after it where runs are short.
OLDEST = "3.2"
every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
DAEMON = "(setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000 </dev/null >/dev/null 2>&1' &)"
CHILD = "trap '' TERM HUP; sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; "


@every_kernel
@every_transport
def test_a_run(kernel: str, transport: tuple[str, ...]) -> None:
    """Output, status and the end of what is on stdin are there, and nothing is said."""
    result = run_on(before(kernel), *transport, "sh", "-c", "cat; echo end; exit 5", input=b"some\nlines\n")
    assert (result.returncode, result.stderr) == (5, b"")
    assert result.stdout.replace(b"\r", b"") == b"some\nlines\nend\n"


@every_kernel
def test_binary_data_through_a_terminal(kernel: str) -> None:
    """It arrives whole."""
    data = random.Random(5).randbytes(200_000)
    result = run_on(before(kernel), "--pty", "sha256sum", input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


@every_transport
def test_death_by_a_signal(transport: tuple[str, ...]) -> None:
    """rprun dies of the command's signal."""
    assert run_on(before(OLDEST), *transport, "sh", "-c", "kill -USR1 $$").returncode == -signal.SIGUSR1


@every_transport
def test_descriptors(transport: tuple[str, ...]) -> None:
    """The command gets the descriptors that rprun was given, and nobody else keeps them."""
    assert_no_other_copy(before(OLDEST), *transport)


@every_transport
def test_a_limit_ends_the_tree(transport: tuple[str, ...]) -> None:
    """So much of it as was seen before its parent ended: there is no more where orphans go elsewhere."""
    options = ("--timeout", "0.5", "--kill-after", "0.1")
    result = run_on(before(OLDEST), *transport, *options, "sh", "-c", CHILD + "wait; exec sleep 1000")
    assert (result.returncode, result.stderr) == (124, b"")
    wait_gone(int(result.stdout))


@pytest.mark.parametrize(("kernel", "transport"), [("4.9", ()), ("4.9", ("--pipe",)), (OLDEST, ("--pty",))])
def test_orphans_are_killed(kernel: str, transport: tuple[str, ...]) -> None:
    """Where they go elsewhere, those of the command's session are found."""
    result = run_on(before(kernel), *transport, "--orphans", "kill", "--kill-after", "0.1", "sh", "-c", CHILD)
    assert (result.returncode, result.stderr) == (0, b"")
    wait_gone(int(result.stdout))


@every_transport
def test_orphans_that_nobody_gathers(transport: tuple[str, ...], tmp_path: Path) -> None:
    """Before Linux 3.4 a daemon escapes that was never seen; so the record does not claim that nobody is left."""
    events = tmp_path / "events"
    options = ("--orphans", "report", "--json", "--events", str(events))
    result = run_on(before(OLDEST), *transport, *options, "sh", "-c", DAEMON)
    assert (result.returncode, result.stderr) == (0, b"")
    pid = int(result.stdout)
    try:
        found = json.loads(events.read_text().splitlines()[-1]).get("orphans")
        assert found is None or [each["pid"] for each in found] == [pid]
        assert is_running(pid)
    finally:
        kill_quietly(pid)
        wait_gone(pid)


@every_transport
def test_orphans_in_the_session_are_found(transport: tuple[str, ...], tmp_path: Path) -> None:
    """One that nobody saw as a child is found by the session, where the command has one of its own."""
    events = tmp_path / "events"
    script = "(sh -c 'trap \"\" TERM HUP; echo $$; exec sleep 1000 </dev/null >/dev/null 2>&1' &)"
    options = ("--orphans", "report", "--json", "--events", str(events))
    result = run_on(before(OLDEST), *transport, *options, "sh", "-c", script)
    pid = int(result.stdout)
    try:
        found = json.loads(events.read_text().splitlines()[-1]).get("orphans")
        if "--pty" in transport:
            assert [each["pid"] for each in found] == [pid]
    finally:
        kill_quietly(pid)
        wait_gone(pid)


@every_kernel
def test_capabilities(kernel: str) -> None:
    """What cannot be observed has a reason; no line says that anything went wrong."""
    result = run_on(before(kernel), "capabilities", "--json", "--all")
    assert (result.returncode, result.stderr) == (0, b"")
    rows = json.loads(result.stdout)
    filters = [row for row in rows if row["backend"] == "seccomp-user-notify"]
    assert {row["support"] for row in filters} == {"partial" if kernel == "5.4" else "unavailable"}
    assert all(len(row["reason"]) > 20 for row in filters)
    assert {row["support"] for row in rows if row["backend"] == "psutil-poll"} == {"partial"}


@every_kernel
def test_everything_observed(kernel: str, tmp_path: Path) -> None:
    """The command runs as it does unobserved, and there are events of every category that can be observed."""
    events = tmp_path / "events"
    script = "exec 3<events; sleep 0.3; exit 3"
    result = run_on(
        before(kernel), "--observe", "all", "--json", "--events", str(events), "sh", "-c", script, cwd=tmp_path
    )
    assert (result.returncode, result.stdout, result.stderr) == (3, b"", b"")
    seen = [json.loads(line) for line in events.read_text().splitlines()]
    assert not [event for event in seen if event["kind"] == "unobserved"]
    assert ["sh", "-c", script] in [event.get("argv") for event in seen]
    assert str(events) in [event.get("path") for event in seen]
    assert (seen[0]["kind"], seen[-1]["exit_code"]) == ("started", 3)


THREADS = """
import ctypes, os, socket, threading
tcp, shared = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
def work(owns):
    os.close(os.open("/dev/null", os.O_RDONLY))
    if owns:
        assert ctypes.CDLL(None).unshare(0x400) == 0
        os.dup2(shared.fileno(), tcp.fileno())
    used = socket.socket(fileno=tcp.fileno() if owns else shared.fileno())
    used.connect(("127.0.0.1", 9))
    used.detach()
for owns in (False, True):
    thread = threading.Thread(target=work, args=(owns,))
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize("kernel", OF_THREADS)
def test_threads(kernel: str, tmp_path: Path) -> None:
    """No thread is told as a process; of a socket that may be another thread's, no protocol is told."""
    events = tmp_path / "events"
    backend = ",".join(f"{category}=seccomp-user-notify" for category in ("file", "network", "process"))
    options = ("--observe", "all", "--backend", backend, "--json", "--events", str(events))
    assert run_on(before(kernel), *options, "--", sys.executable, "-S", "-c", THREADS).returncode == 0
    seen = [json.loads(line) for line in events.read_text().splitlines()]
    assert {event["pid"] for event in seen} == {seen[0]["pid"]}
    assert len([event for event in seen if event.get("path") == "/dev/null"]) == 2
    protocols = [event["protocol"] for event in seen if event["kind"] == "net-connect"]
    assert protocols == ["udp", "udp" if kernel == "6.12" else None]

"""What a tree does becomes events, with the right numbers, names and order."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from observing import VALIDATOR, Events, observe, of_kind, options, paths, python, read_events
from running import TRANSPORTS, run, transport_id

import rprun

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("answered_by")

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)

SCRIPT = """
cd "$1"
echo text >made
mkdir new
mv made moved
ln moved linked
ln -s moved symbolic
chmod 600 moved
rm moved linked symbolic
rmdir new
sh -c 'exec 3</dev/null; exit 42'
sh -c 'exec 3</dev/null; kill -KILL $$'
exit 3
"""


@every_transport
def test_a_shell_script(transport: tuple[str, ...], tmp_path: Path) -> None:
    """Every step of a script is there once, and the two ends that are no success."""
    work = tmp_path / "work"
    work.mkdir()
    result, events = observe(tmp_path, "sh", "-c", SCRIPT, "name", str(work), with_options=transport)
    assert result.returncode == 3
    assert (events[0]["kind"], events[-1]["kind"], events[-1]["exit_code"]) == ("started", "exited", 3)
    command = events[0]["pid"]
    assert paths(events, "file-open", work) == ["made"]
    opened = next(event for event in of_kind(events, "file-open") if event["path"] == f"{work}/made")
    assert (opened["pid"], opened["access"], opened["create"], opened["exists"]) == (command, "write", True, False)
    assert opened["flags"] == os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    assert paths(events, "file-mkdir", work) == ["new"]
    assert paths(events, "file-rmdir", work) == ["new"]
    assert paths(events, "file-chmod", work) == ["moved"]
    assert paths(events, "file-unlink", work) == ["moved", "linked", "symbolic"]
    moved = [(event["kind"], event["from"], event["to"]) for event in events if "from" in event]
    assert moved == [
        ("file-rename", f"{work}/made", f"{work}/moved"),
        ("file-link", f"{work}/moved", f"{work}/linked"),
        ("file-symlink", "moved", f"{work}/symbolic"),
    ]
    _check_processes(events, command, work)


def _check_processes(events: Events, command: int, work: Path) -> None:
    execs = of_kind(events, "exec")
    assert execs[0]["pid"] == command
    assert execs[0]["argv"] == ["sh", "-c", SCRIPT, "name", str(work)]
    assert execs[0]["cwd"] == os.getcwd()
    names = [event["argv"][0] for event in execs]
    assert names == ["sh", "mkdir", "mv", "ln", "ln", "chmod", "rm", "rmdir", "sh", "sh"]
    assert all(os.path.basename(event["path"]) == event["argv"][0] for event in execs)
    assert {event["cwd"] for event in execs[1:]} == {str(work)}
    started = of_kind(events, "descendant-started")
    assert [event["pid"] for event in started] == [event["pid"] for event in execs[1:]]
    assert {event["ppid"] for event in started} == {command}
    ended = {event["pid"]: event["exit_code"] for event in of_kind(events, "descendant-exited")}
    assert [ended[event["pid"]] for event in started] == [0] * 7 + [42, -signal.SIGKILL]


def test_the_order_of_one_process(tmp_path: Path) -> None:
    """A process is started, then acts, then ends; nobody else's number is used."""
    _, events = observe(tmp_path, "sh", "-c", "for i in 1 2 3 4 5; do cat /dev/null & done; wait")
    command = events[0]["pid"]
    for pid in {event["pid"] for event in events} - {command}:
        kinds = [event["kind"] for event in events if event["pid"] == pid]
        assert (kinds[0], kinds[-1]) == ("descendant-started", "descendant-exited")
        assert kinds.count("descendant-started") == kinds.count("descendant-exited") == 1
    assert len(of_kind(events, "descendant-exited")) == 5


def test_deeper_parents(tmp_path: Path) -> None:
    """The parent is the process that forked, also where nobody above it was seen before; 32 below each other."""
    program = "import os\nfor _ in range(32):\n if os.fork(): os.wait(); break\nos.close(os.open('/dev/null', 0))"
    _, events = observe(tmp_path, *python(program))
    parents = {event["pid"]: event["ppid"] for event in of_kind(events, "descendant-started")}
    assert len(parents) == 32
    pid, depth = min(set(parents) - set(parents.values())), 0
    while pid in parents:
        pid, depth = parents[pid], depth + 1
    assert (pid, depth) == (events[0]["pid"], 32)


CONNECT = """
import socket, sys
family, kind, *address = sys.argv[1:]
with socket.socket(getattr(socket, family), getattr(socket, kind)) as it:
    it.connect((address[0], int(address[1])) if len(address) > 1 else address[0])
"""


@pytest.mark.parametrize(
    ("family", "kind", "protocol"),
    [
        ("AF_INET", "SOCK_STREAM", "tcp"),
        ("AF_INET", "SOCK_DGRAM", "udp"),
        ("AF_INET6", "SOCK_STREAM", "tcp"),
        ("AF_UNIX", "SOCK_STREAM", "stream"),
    ],
)
def test_connections(family: str, kind: str, protocol: str, tmp_path: Path) -> None:
    """A connection to a server of this machine has its address; what listens is another process."""
    with socket.socket(getattr(socket, family), getattr(socket, kind)) as server:
        host = {"AF_INET": "127.0.0.1", "AF_INET6": "::1"}.get(family)
        try:
            server.bind((host, 0) if host else str(tmp_path / "socket"))
        except OSError as error:
            pytest.skip(f"{family} is missing: {error.strerror}")
        if kind == "SOCK_STREAM":
            server.listen()
        address = server.getsockname()
        words = (str(address[0]), str(address[1])) if host else (address,)
        result, events = observe(tmp_path, *python(CONNECT, family, kind, *words), categories="network")
    assert result.returncode == 0, result
    (event,) = of_kind(events, "net-connect")
    assert (event["family"], event["protocol"]) == (family[3:].lower(), protocol)
    if host:
        assert (event["address"], event["port"]) == (address[0], address[1])
    else:
        assert event["path"] == address


def test_only_what_was_asked_for(tmp_path: Path) -> None:
    """Each category by itself has its own events only."""
    for category in ("file", "network", "process"):
        _, events = observe(tmp_path, "sh", "-c", "cat /dev/null", categories=category)
        assert {event["category"] for event in events} <= {category}
        assert bool(events) == (category != "network")


def test_on_the_same_stderr(tmp_path: Path) -> None:
    """Events and the command's own stderr share a pipe; no line is cut."""
    result = run(*options("-", "file"), "--", "sh", "-c", "cat /dev/null; echo one >&2; cat /dev/null; printf two >&2")
    lines = result.stderr.splitlines()
    assert [line for line in lines if not line.startswith(b"{")] == [b"one", b"two"]
    (tmp_path / "events").write_bytes(b"".join(line + b"\n" for line in lines if line.startswith(b"{")))
    assert read_events(tmp_path / "events")


def _run_by_api(found: list[list[Any]], argv: list[str]) -> None:
    config = rprun.ObserverConfig.with_categories(["lifecycle", "process", "file"])
    process, subscriber = rprun.Process.with_observer(argv, config, output=rprun.CAPTURE)
    with process:
        process.wait()
    found.append(subscriber.drain())


def test_through_the_api() -> None:
    """A program with threads observes several commands at once, each with its own events only."""
    found: list[list[Any]] = []
    argv = ["sh", "-c", "cat /dev/null; cat /dev/null; exit 9"]
    threads = [threading.Thread(target=_run_by_api, args=(found, argv)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for events in found:
        kinds = [str(event.kind) for event in events]
        assert (kinds[0], kinds[-1], events[-1].to_dict()["exit_code"]) == ("started", "exited", 9)
        for kind, count in (("exec", 3), ("descendant-started", 2), ("descendant-exited", 2)):
            assert kinds.count(kind) == count, kinds
        for event in events:
            VALIDATOR.validate(event.to_dict())


def test_without_descriptors_nothing_leaks() -> None:
    """Where the supervisor cannot be started for want of descriptors, the API says so and leaves none open."""
    import resource

    before = os.listdir("/proc/self/fd")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    config = rprun.ObserverConfig.with_categories(["file"], {"file": "seccomp-user-notify"})
    refused = 0
    for spare in range(1, 50):
        process, _ = rprun.Process.with_observer([sys.executable, "--version"], config, output=rprun.CAPTURE)
        # The listing's descriptor is the lowest free one.
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + spare, hard))
        try:
            with process:
                process.wait()
            break
        except (rprun.RprunError, OSError):
            refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert os.listdir("/proc/self/fd") == before, spare
    else:
        pytest.fail("never enough")
    assert refused > 10

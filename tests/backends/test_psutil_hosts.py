"""What is asked of a system, here by psutil as on any system and by /proc as on Linux: the answers are the same."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from running import wait_until

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from rprun.backends.psutil_poll.host import here
from rprun.backends.psutil_poll.host_linux import LinuxHost
from rprun.backends.psutil_poll.host_portable import PortableHost
from rprun.backends.psutil_poll.look import Looker
from rprun.linux import socket_table
from rprun.observe.categories import EventCategory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rprun.backends.psutil_poll.host import Host

ME = os.getpid()
CATEGORIES = (EventCategory.PROCESS, EventCategory.FILE, EventCategory.NETWORK)


@pytest.fixture(params=[LinuxHost, PortableHost])
def host(request: pytest.FixtureRequest) -> Host:
    """Each of them, fresh."""
    made: Host = request.param()
    made.begin()
    return made


@pytest.fixture
def zombie() -> Iterator[int]:
    """A process that has ended and is not reaped before the end of the test."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    yield pid
    os.waitpid(pid, 0)


def gone() -> int:
    """The number of a process that is there no more."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_here() -> None:
    """On Linux /proc is asked."""
    assert isinstance(here(), LinuxHost)


def test_a_living_process(host: Host) -> None:
    """It is listed, has its parent, is the same twice, and runs what it runs."""
    assert ME in host.numbers()
    row, again = host.row(ME), host.row(ME)
    assert row is not None
    assert again is not None
    assert (row.parent, row.has_ended, row.is_ending) == (os.getppid(), False, False)
    assert (row.created, row.image) == (again.created, again.image)
    assert row.image is not None
    host.confirm(ME, row.created)
    with pytest.raises(ProcessLookupError):
        host.confirm(ME, row.created + 1)
    program = host.program(ME)
    assert os.fsdecode(program.path or "") == os.path.realpath(sys.executable)
    assert program.argv is not None
    with open("/proc/self/cmdline", "rb") as stream:
        assert [os.fsencode(word) for word in program.argv] == stream.read().split(b"\0")[:-1]
    assert os.fsdecode(program.cwd or "") == os.getcwd()


def test_the_dead(host: Host, zombie: int) -> None:
    """One that nobody has waited for has ended; of one that is gone nothing is said, and asking is an error."""
    row = host.row(zombie)
    assert row is not None
    assert row.has_ended
    assert row.parent == ME
    number = gone()
    assert host.row(number) is None
    assert not host.is_hidden(number)
    for question in (host.program, host.open_files, host.sockets):
        with pytest.raises(ProcessLookupError):
            question(number)


def test_images(host: Host) -> None:
    """A fork has its parent's image; what it executes has another."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reader, 1)
        os._exit(0)
    mine, its = host.row(ME), host.row(child)
    assert mine is not None
    assert its is not None
    assert its.image == mine.image
    os.close(writer)
    os.close(reader)
    os.kill(child, 9)
    os.waitpid(child, 0)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        # There is none while a program is being loaded.
        wait_until(lambda: (row := host.row(process.pid)) is not None and row.image not in {None, mine.image})


def test_open_files(host: Host, tmp_path: Path) -> None:
    """Descriptor, path and access of regular files, and of nothing else."""
    path = tmp_path.resolve() / "a file"
    with path.open("w") as write, path.open("rb") as read, path.open("r+") as both:
        found = [each for each in host.open_files(ME) if each[1] == str(path)]
        wanted = [(write.fileno(), "write"), (read.fileno(), "read"), (both.fileno(), "readwrite")]
    assert sorted(found) == sorted((descriptor, str(path), access) for descriptor, access in wanted)
    assert all(os.path.isfile(name) for _, name, _ in host.open_files(ME))


@pytest.mark.parametrize("family", ["inet", "inet6"])
def test_sockets(host: Host, family: str) -> None:
    """Listeners, and both sides of a connection; not what neither listens nor has a peer."""
    address, number = ("127.0.0.1", socket.AF_INET) if family == "inet" else ("::1", socket.AF_INET6)
    try:
        server = socket.create_server((address, 0), family=number)
    except OSError:
        pytest.skip("IPv6 is missing here")
    port = server.getsockname()[1]
    ours, theirs = socket.socketpair()
    with (
        server,
        socket.create_connection((address, port)) as client,
        server.accept()[0] as accepted,
        socket.socket(number, socket.SOCK_DGRAM) as idle,
        ours,
        theirs,
    ):
        idle.bind((address, 0))
        own = client.getsockname()[1]
        found = {each.key(): each for each in host.sockets(ME)}
        assert found.keys() >= {
            (family, "tcp", (address, port), None, True),
            (family, "tcp", (address, own), (address, port), False),
            (family, "tcp", (address, port), (address, own), False),
        }
        assert not any(each.local[1] == idle.getsockname()[1] and each.protocol == "udp" for each in found.values())
        assert accepted.fileno() >= 0
        if isinstance(host, LinuxHost):
            assert found[family, "tcp", (address, port), (address, own), False].was_accepted
            assert not found[family, "tcp", (address, own), (address, port), False].was_accepted


def test_a_socket_that_gets_its_peer_later() -> None:
    """It is looked for again, after as many looks as is said, and no table is read for it in between."""
    host = LinuxHost()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.bind(("127.0.0.1", 0))
        for _ in range(3):
            host.begin()
            assert not [each for each in host.sockets(ME) if each.remote == peer.getsockname()]
        late.connect(peer.getsockname())
        looks = 0
        while not [each for each in host.sockets(ME) if each.remote == peer.getsockname()]:
            host.begin()
            looks += 1
        assert looks <= 16


@pytest.mark.parametrize(
    ("text", "family", "wanted"),
    [
        (b"0100007F:1F90", socket.AF_INET, ("127.0.0.1", 8080)),
        (b"00000000:0000", socket.AF_INET, ("0.0.0.0", 0)),
        (b"00000000000000000000000001000000:0016", socket.AF_INET6, ("::1", 22)),
        (b"0000000000000000FFFF00000100007F:9E49", socket.AF_INET6, ("::ffff:127.0.0.1", 40521)),
    ],
)
def test_addresses(text: bytes, family: int, wanted: tuple[str, int]) -> None:
    """Words of four bytes in this machine's order, as a little-endian one writes them."""
    if sys.byteorder != "little":
        pytest.skip("a little-endian machine is missing")
    assert socket_table.decode(text, family) == wanted


def test_a_tree(host: Host, tmp_path: Path) -> None:
    """By either of them a tree is followed: a child that starts, a program, a file, an end."""
    script = 'echo; read line; cat; read line; exec 3>"$0"; read line'
    path = tmp_path.resolve() / "file"
    looker = Looker(host, "by", CATEGORIES)
    with subprocess.Popen(["sh", "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # Before that it may be seen with one of its libraries open.
        assert process.stdout.read(1) == b"\n"
        looker.begin(process.pid)
        seen: list[tuple[str, int, dict[str, object]]] = []

        def look_for(kind: str) -> list[tuple[str, int, dict[str, object]]]:
            looker.look(1.0)
            seen.extend((event[0].value, event[1], event[3]) for event in looker.events)
            looker.events.clear()
            return [each for each in seen if each[0] == kind]

        wait_until(lambda: look_for("exec"))
        process.stdin.write(b"\n")
        process.stdin.flush()
        child = wait_until(lambda: look_for("descendant-started"))[0][1]
        wait_until(lambda: len(look_for("exec")) > 1)
        os.kill(child, 15)
        wait_until(lambda: look_for("descendant-exited"))
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: ("file-open", process.pid) in [each[:2] for each in look_for("file-open")])
    kinds = [(kind, pid) for kind, pid, _ in seen if kind != "file-open" or pid == process.pid]
    assert kinds == [
        ("exec", process.pid),
        ("descendant-started", child),
        ("exec", child),
        ("descendant-exited", child),
        ("file-open", process.pid),
    ]
    opened = [fields["path"] for kind, pid, fields in seen if kind == "file-open" and pid == process.pid]
    assert opened == [str(path)]

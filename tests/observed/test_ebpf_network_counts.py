"""What is sent and received, on record: equal to what both sides know themselves, to the byte."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from ebpf_observing import observe, works
from observing import lost, of_kind, python

if TYPE_CHECKING:
    from pathlib import Path

    from observing import Events

Bytes = list[tuple[int, int]]


NAMES = {socket.AF_INET: "inet", socket.AF_INET6: "inet6", socket.AF_UNIX: "unix"}


def observed(tmp_path: Path, program: str, *arguments: str, before: tuple[str, ...] = ()) -> Events:
    """The network events of a program, which must succeed."""
    result, events = observe(tmp_path, *before, *python(program, *arguments), categories=["network"])
    assert (result.stderr, result.returncode) == (b"", 0)
    assert lost(events) == 0
    return events


def closes(events: Events, *, root: bool, family: str) -> Bytes:
    """Bytes sent and received through each socket of a family: of the command's process, or of its descendants."""
    command = events[0]["pid"]
    return [
        (event["bytes_sent"], event["bytes_received"])
        for event in of_kind(events, "net-close")
        if (event["pid"] == command) == root and event["family"] == family
    ]


CONNECTIONS = """
import os, socket, sys
family, kind, name, many = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
server = socket.socket(family, kind)
server.bind(name if family == socket.AF_UNIX else (name, 0))
server.listen(64)
if os.fork() == 0:
    for number in range(many):
        peer, _ = server.accept()
        while peer.recv(65536):
            pass
        peer.sendall(bytes(3 * number + 2))
        peer.close()
    os._exit(0)
for number in range(many):
    client = socket.socket(family, kind)
    client.connect(server.getsockname())
    client.sendall(bytes(11 * number + 1))
    client.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass
    client.close()
os.wait()
"""


@pytest.mark.parametrize(
    ("family", "kind", "name", "many"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", 1000),
        (socket.AF_INET6, socket.SOCK_STREAM, "::1", 300),
        (socket.AF_UNIX, socket.SOCK_STREAM, "s", 300),
        (socket.AF_UNIX, socket.SOCK_SEQPACKET, "s", 300),
    ],
    ids=["inet", "inet6", "unix", "seqpacket"],
)
def test_connections(family: int, kind: int, name: str, many: int, tmp_path: Path) -> None:
    """Each of them on either side, in the order of their closes; the socket that listens has moved nothing."""
    where = str(tmp_path / name) if family == socket.AF_UNIX else name
    events = observed(tmp_path, CONNECTIONS, str(int(family)), str(int(kind)), where, str(many))
    of = NAMES[socket.AddressFamily(family)]
    assert closes(events, root=True, family=of) == [(11 * i + 1, 3 * i + 2) for i in range(many)] + [(0, 0)]
    assert closes(events, root=False, family=of) == [(3 * i + 2, 11 * i + 1) for i in range(many)]
    connected, accepted = of_kind(events, "net-connect"), of_kind(events, "net-accept")
    assert (len(connected), len(accepted)) == (many, many)
    # Each close names the peer that the connect or the accept has named.
    fields = ("family", "protocol", "address", "port", "path")
    peers = [[event.get(field) for field in fields] for event in connected]
    from_peers = [[event.get(field) for field in fields] for event in accepted]
    command = events[0]["pid"]
    named = of_kind(events, "net-close")
    assert [[event.get(each) for each in fields] for event in named if event["pid"] == command][:-1] == peers
    assert [[event.get(each) for each in fields] for event in named if event["pid"] != command] == from_peers


DATAGRAMS = """
import os, socket, sys
family, many = int(sys.argv[1]), int(sys.argv[3])
one, two = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
for number, each in enumerate((one, two)):
    each.bind(f"{sys.argv[2]}{number}" if family == socket.AF_UNIX else (sys.argv[2], 0))
if os.fork() == 0:
    for number in range(many):
        data, sender = two.recvfrom(65536)
        two.sendto(data[: len(data) // 2], sender)
    two.close()
    os._exit(0)
for number in range(many):
    if number == many // 2:
        one.connect(two.getsockname())
    (one.send if number >= many // 2 else lambda data: one.sendto(data, two.getsockname()))(bytes(2 * number))
    assert len(one.recv(65536)) == number
os.wait()
one.close()
"""


@pytest.mark.parametrize(
    ("family", "name"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_UNIX, "d")]
)
def test_datagrams(family: int, name: str, tmp_path: Path) -> None:
    """Through a connected socket and one that is not; an empty one has no bytes."""
    many = 200
    where = str(tmp_path / name) if family == socket.AF_UNIX else name
    events = observed(tmp_path, DATAGRAMS, str(int(family)), where, str(many))
    of = NAMES[socket.AddressFamily(family)]
    whole = sum(range(many))
    assert closes(events, root=True, family=of) == [(2 * whole, whole), (0, 0)]
    assert closes(events, root=False, family=of) == [(whole, 2 * whole)]


PAIRS = """
import os, socket
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    if os.fork() == 0:
        one.close()
        for number in range(1, 200):
            got = two.recv(number) if kind != socket.SOCK_STREAM else two.recv(number, socket.MSG_WAITALL)
            assert len(got) == number
            two.send(bytes(2))
        os._exit(0)
    two.close()
    for number in range(1, 200):
        one.send(bytes(number))
        assert len(one.recv(2, socket.MSG_WAITALL)) == 2
    one.close()
    os.wait()
"""


def test_pairs(tmp_path: Path) -> None:
    """Of sockets that no call has named, each process tells its own end; one that has not used it tells nothing."""
    events = observed(tmp_path, PAIRS)
    sent, received = sum(range(1, 200)), 2 * 199
    assert closes(events, root=True, family="unix") == [(sent, received)] * 3
    assert closes(events, root=False, family="unix") == [(received, sent)] * 3
    protocols = [event["protocol"] for event in of_kind(events, "net-close") if event["pid"] == events[0]["pid"]]
    assert protocols == ["stream", "dgram", "seqpacket"]


FAILING = """
import errno, select, socket, sys
with socket.socket() as held:
    held.bind(("127.0.0.1", 0))
    name = held.getsockname()
with socket.socket() as refused:
    assert refused.connect_ex(name) == errno.ECONNREFUSED
with socket.create_server(name) as server, socket.socket() as client:
    client.setblocking(False)
    assert client.connect_ex(name) == errno.EINPROGRESS
    with server.accept()[0] as accepted:
        select.select([], [client], [])
        assert client.send(bytes(70000)) > 0
        client.setblocking(True)
        client.shutdown(socket.SHUT_WR)
        whole = 0
        while data := accepted.recv(65536):
            whole += len(data)
        accepted.send(b"12345")
        assert len(client.recv(100)) == 5
    print(whole)
"""


def test_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A refused connection has moved nothing; one that was not waited for is told of like any other."""
    result, events = observe(tmp_path, *python(FAILING), categories=["network"])
    assert (result.stderr, result.returncode, lost(events)) == (b"", 0, 0)
    whole = int(result.stdout)
    assert [event["result"] for event in of_kind(events, "net-connect")] == ["ECONNREFUSED", "EINPROGRESS"]
    assert closes(events, root=True, family="inet") == [(0, 0), (0, 0), (5, whole), (whole, 5), (0, 0)]


UNREACHABLE = """
import errno, socket
with socket.socket() as one:
    assert one.connect_ex(("192.0.2.1", 9)) == errno.ENETUNREACH
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
    try:
        two.sendto(b"12345", ("192.0.2.1", 9))
    except OSError as error:
        assert error.errno == errno.ENETUNREACH
"""


def test_unreachable(tmp_path: Path) -> None:
    """What has not been sent does not count."""
    if not works("unshare", "-n"):
        pytest.skip("needs unshare(1) and the right to make a network namespace, which only root has")
    events = observed(tmp_path, UNREACHABLE, before=("unshare", "-n"))
    assert [event["result"] for event in of_kind(events, "net-connect", "net-send")] == ["ENETUNREACH"] * 2
    (close,) = of_kind(events, "net-close")
    told = [close[name] for name in ("address", "port", "bytes_sent", "bytes_received")]
    assert told == ["192.0.2.1", 9, 0, 0]


FORKED_BEFORE = """
import os, socket
server = socket.create_server(("127.0.0.1", 0))
workers, many = 4, 100
for _ in range(workers):
    if os.fork() == 0:
        while True:
            peer, _ = server.accept()
            size = int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")
            if not size:
                os._exit(0)
            peer.sendall(bytes(size))
            peer.close()
for number in range(1, many + 1):
    with socket.create_connection(server.getsockname()) as client:
        client.sendall(number.to_bytes(4, "big"))
        assert len(client.recv(number, socket.MSG_WAITALL)) == number
for _ in range(workers):
    with socket.create_connection(server.getsockname()) as client:
        client.sendall(bytes(4))
for _ in range(workers):
    os.wait()
"""


def test_accepted_by_other_processes(tmp_path: Path) -> None:
    """Processes that share a socket that listens tell of what they have accepted, also where they end with it open."""
    events = observed(tmp_path, FORKED_BEFORE)
    expected = sorted([(number, 4) for number in range(1, 101)] + [(0, 4)] * 4)
    assert sorted(closes(events, root=False, family="inet")) == expected
    mine = [(4, number) for number in range(1, 101)] + [(4, 0)] * 4 + [(0, 0)]
    assert closes(events, root=True, family="inet") == mine
    assert len({event["pid"] for event in of_kind(events, "net-accept")}) <= 4


PASSED = """
import os, signal, socket
here, there = socket.socketpair()
if os.fork() == 0:
    here.close()
    for number in range(50):
        _, (got,), _, _ = socket.recv_fds(there, 1, 1)
        with socket.socket(fileno=got) as peer:
            assert len(peer.recv(100, socket.MSG_WAITALL)) == 100
            peer.sendall(bytes(number + 1))
    _, (got,), _, _ = socket.recv_fds(there, 1, 1)
    os.write(got, b"123456")
    os.kill(os.getpid(), signal.SIGKILL)
there.close()
with socket.create_server(("127.0.0.1", 0)) as server:
    for number in range(51):
        with socket.create_connection(server.getsockname()) as client:
            with server.accept()[0] as accepted:
                socket.send_fds(here, [b"x"], [accepted.fileno()])
            if number < 50:
                client.sendall(bytes(100))
            assert len(client.recv(number + 1 if number < 50 else 6, socket.MSG_WAITALL)) in (number + 1, 6)
os.wait()
"""


def test_passed_to_another_process(tmp_path: Path) -> None:
    """Who uses a socket that it has got over another one tells how much and with whom, also if it is killed then."""
    events = observed(tmp_path, PASSED)
    assert closes(events, root=False, family="inet") == [(number + 1, 100) for number in range(50)] + [(6, 0)]
    mine = [each for number in range(50) for each in ((0, 0), (100, number + 1))]
    assert closes(events, root=True, family="inet") == [*mine, (0, 0), (0, 6), (0, 0)]
    command = events[0]["pid"]
    accepted = [(event["address"], event["port"]) for event in of_kind(events, "net-accept")]
    told = [event for event in of_kind(events, "net-close") if event["family"] == "inet" and event["pid"] != command]
    assert [(event["address"], event["port"]) for event in told] == accepted

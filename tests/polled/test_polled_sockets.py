"""Snapshots show connections: who listens, who has connected, who has accepted, and when they are gone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from polling import Polled, of_kind, python

if TYPE_CHECKING:
    from pathlib import Path

# Listens, has a child connect, and forks another one that only inherits; each step waits for a line.
SERVE = """
import os, socket, sys
family, host = (socket.AF_INET6, "::1") if sys.argv[1] == "inet6" else (socket.AF_INET, "127.0.0.1")
server = socket.create_server((host, 0), family=family)
port = server.getsockname()[1]
reader, writer = os.pipe()
client = os.fork()
if client == 0:
    server.close()
    connection = socket.create_connection((host, port))
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
accepted, peer = server.accept()
heir = os.fork()
if heir == 0:
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
print(port, peer[1], client, flush=True)
sys.stdin.readline()
accepted.close()
sys.stdin.readline()
os.write(writer, b"!!")
os.waitpid(client, 0)
os.waitpid(heir, 0)
print("closed", flush=True)
sys.stdin.readline()
"""

NAME = """
import socket, sys
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.connect(("127.0.0.1", int(sys.argv[1])))
idle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
idle.bind(("127.0.0.1", 0))
sys.stdin.readline()
"""

# Its input is a connection that somebody else has made.
GIVEN = "import socket, sys; mark = socket.create_server(('127.0.0.1', 0)); sys.stdin.readline()"


@pytest.mark.parametrize("family", ["inet", "inet6"])
def test_both_sides_of_a_connection(family: str, tmp_path: Path) -> None:
    """One event each of listening, connecting and accepting, whoever inherits it; one close each, counts unknown."""
    if family == "inet6" and not _has_inet6():
        pytest.skip("IPv6 is missing here")
    address = "::1" if family == "inet6" else "127.0.0.1"
    with Polled(tmp_path, *python(SERVE, family), categories=["network"]) as polled:
        port, peer, client = map(int, polled.line().split())
        for kind, number in (("net-listen", port), ("net-connect", port), ("net-accept", peer)):
            event = polled.until_seen(kind=kind, port=number)
            assert (event["family"], event["protocol"], event["address"]) == (family, "tcp", address)
            assert not {"result", "attempt"} & event.keys()
        polled.go_on()
        polled.go_on()
        assert polled.line() == "closed"
        polled.until_seen(kind="net-close", port=peer)
        polled.until_seen(kind="net-close", port=port)
        events = polled.end()
    root = events[0]["pid"]
    seen = [(event["kind"], event["port"], event["pid"]) for event in of_kind(events, "net-listen", "net-connect")]
    assert sorted(seen) == [("net-connect", port, client), ("net-listen", port, root)]
    assert [event["port"] for event in of_kind(events, "net-accept")] == [peer]
    closed = of_kind(events, "net-close")
    assert sorted(event["port"] for event in closed) == sorted([peer, port])
    assert {(event["bytes_sent"], event["bytes_received"]) for event in closed} == {(None, None)}


def test_udp_has_a_peer_or_is_not_told_of(tmp_path: Path) -> None:
    """A UDP socket with a fixed peer has connected; of one without there is nothing to be said."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        with Polled(tmp_path, *python(NAME, str(port)), categories=["network"]) as polled:
            event = polled.until_seen(kind="net-connect", port=port)
            events = polled.end()
    assert (event["protocol"], event["family"]) == ("udp", "inet")
    assert len(of_kind(events, "net-connect", "net-bind", "net-listen", "net-accept")) == 1


def test_a_connection_that_was_given(tmp_path: Path) -> None:
    """What the command was started with is not its doing."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
        server.accept()[0] as theirs,
        Polled(tmp_path, *python(GIVEN), categories=["network"], stdin=theirs) as polled,
    ):
        polled.until_seen(kind="net-listen")
        ours.sendall(b"\n")
        polled.until_seen(kind="exited")
    assert len(of_kind(polled.events(), "net-connect", "net-accept", "net-listen")) == 1
    assert not of_kind(polled.events(), "net-close")


def _has_inet6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False

"""What is read and told of network calls, from this process's own memory and sockets."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("Linux is what this is about", allow_module_level=True)

import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from seccomp_calls import Memory, event_of, events_of

from rprun.linux import pidfd
from rprun.linux.syscalls import I386, X32

if TYPE_CHECKING:
    from pathlib import Path

BAD = 8
AT_ONCE = 1024


def _readable() -> str:
    """Return why the kind of a socket of this process cannot be read; "" where it can."""
    try:
        me = pidfd.open_process(os.getpid())
    except OSError as error:
        return f"pidfd_open(2): {error}"
    read, write = os.pipe()
    try:
        os.close(pidfd.get_descriptor(me, read))
    except OSError as error:
        return f"pidfd_getfd(2): {error}"
    finally:
        for descriptor in (me, read, write):
            os.close(descriptor)
    return ""


needs_kinds = pytest.mark.skipif(bool(_readable()), reason=_readable() or "none")


@pytest.fixture
def memory() -> Memory:
    """Gives memory that lasts as long as the test."""
    return Memory()


def v4(host: str, port: int) -> bytes:
    """Return a struct sockaddr_in."""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def v6(host: str, port: int, scope: int = 0) -> bytes:
    """Return a struct sockaddr_in6."""
    head = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0)
    return head + socket.inet_pton(socket.AF_INET6, host) + struct.pack("=I", scope)


def unix(path: bytes) -> bytes:
    """Return a struct sockaddr_un."""
    return struct.pack("=H", socket.AF_UNIX) + path


def connect(memory: Memory, address: bytes) -> Any:
    """Return kind and fields of a connect of a descriptor that is none."""
    return event_of("connect", 0x7FFFFFFF, memory.put(address), len(address))


@pytest.mark.parametrize(
    ("address", "family", "shown", "port"),
    [
        (v4("192.0.2.1", 443), "inet", "192.0.2.1", 443),
        (v6("2001:db8::1", 53), "inet6", "2001:db8::1", 53),
        (v6("fe80::1", 1, 2), "inet6", "fe80::1%2", 1),
        (v6("::ffff:192.0.2.1", 1), "inet6", "::ffff:192.0.2.1", 1),
        (v6("::1", 1)[:24], "inet6", "::1", 1),
        (v4("192.0.2.1", 443)[:6], "inet", None, None),
        (v6("::1", 1)[:20], "inet6", None, None),
        (struct.pack("=HHII", socket.AF_NETLINK, 0, 1, 2), "netlink", None, None),
        (struct.pack("=HHIII", socket.AF_VSOCK, 0, 1, 2, 0), "vsock", None, None),
        (struct.pack("=H", socket.AF_PACKET) + bytes(18), "packet", None, None),
        (b"\xff\xff" + bytes(20), "family-65535", None, None),
        (b"\1", None, None, None),
        (b"", None, None, None),
        (bytes(129), None, None, None),
    ],
)
def test_addresses(memory: Memory, address: bytes, family: str | None, shown: str | None, port: int | None) -> None:
    """Families with ports are formatted, the others named; what is too short or too long is unknown."""
    expected = {"family": family, "protocol": None, "address": shown, "port": port}
    assert connect(memory, address) == ("net-connect", expected)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"/run/a\xff\0rest", b"/run/a\xff"),
        (b"\0abstract\0x", b"@abstract\0x"),
        (b"", b""),
        (b"s", b"/usr/s"),
    ],
)
def test_unix_addresses(memory: Memory, path: bytes, shown: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is absolute, an abstract name has an @, and there may be none."""
    monkeypatch.chdir("/usr")
    expected = {"family": "unix", "protocol": None, "path": shown}
    assert connect(memory, unix(path)) == ("net-connect", expected)


def test_taking_the_peer_away(memory: Memory) -> None:
    """A connect to AF_UNSPEC connects to nobody, and is no event."""
    assert connect(memory, bytes(16)) is None


def test_unreadable_addresses() -> None:
    """The event comes, without what could not be read."""
    expected = {"family": None, "protocol": None, "address": None, "port": None}
    for name, arguments in (("connect", (-1, BAD, 16)), ("sendto", (-1, 0, 0, 0, BAD, 16)), ("sendmsg", (-1, BAD))):
        assert event_of(name, *arguments)[1] == expected
    assert event_of("socketcall", 3, BAD, abi=I386) == ("net-connect", expected)


@needs_kinds
@pytest.mark.parametrize(
    ("family", "kind", "protocol", "name"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "tcp"),
        (socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0, "udp"),
        (socket.AF_INET, socket.SOCK_RAW, 1, "icmp"),
        (socket.AF_INET, socket.SOCK_RAW, 200, "raw"),
        (socket.AF_UNIX, socket.SOCK_STREAM, 0, "stream"),
        (socket.AF_UNIX, socket.SOCK_DGRAM, 0, "dgram"),
        (socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, "seqpacket"),
        (socket.AF_NETLINK, socket.SOCK_RAW, 0, "raw"),
    ],
)
def test_protocols(memory: Memory, family: int, kind: int, protocol: int, name: str) -> None:
    """A socket's protocol is asked of the socket; where all have the same, its type is told."""
    try:
        made = socket.socket(family, kind, protocol)
    except PermissionError:
        pytest.skip("raw sockets, which need to be root")
    with made:
        address = v4("192.0.2.1", 1)
        _, fields = event_of("connect", made.fileno(), memory.put(address), len(address))
        assert fields["protocol"] == name
        _, fields = event_of("connect", made.fileno(), BAD, len(address))
        assert fields["family"] == {2: "inet", 1: "unix", 16: "netlink"}[family]


@needs_kinds
def test_listen_and_accept(memory: Memory, tmp_path: Path) -> None:
    """Listen is where the socket is bound; an accept has no peer yet."""
    with socket.socket(socket.AF_INET) as server:
        server.bind(("127.0.0.1", 0))
        common = {"family": "inet", "protocol": "tcp"}
        expected = common | {"address": "127.0.0.1", "port": server.getsockname()[1]}
        assert event_of("listen", server.fileno(), 1) == ("net-listen", expected)
        unknown = ("net-accept", common | {"address": None, "port": None})
        assert event_of("accept4", server.fileno(), 0, 0, 0) == event_of("accept", server.fileno(), 0, 0) == unknown
        # socketcall's accept4, with 4-byte arguments in memory.
        where = memory.put(struct.pack("=4I", server.fileno(), 0, 0, 0))
        assert event_of("socketcall", 18, where, abi=I386) == unknown
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        expected = {"family": "unix", "protocol": "stream", "path": bytes(tmp_path / "s")}
        assert event_of("listen", server.fileno(), 1) == ("net-listen", expected)
        assert event_of("accept", server.fileno(), 0, 0)[1]["path"] is None
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as server:
        _, fields = event_of("listen", server.fileno(), 1)
        assert (fields["address"], fields["port"]) == ("::", 0)


def test_send(memory: Memory) -> None:
    """A message with an address is a send; one on a connected socket is nothing new."""
    address = v4("192.0.2.1", 53)
    name = memory.put(address)
    expected = ("net-send", {"family": "inet", "protocol": None, "address": "192.0.2.1", "port": 53})
    assert event_of("sendto", -1, 0, 0, 0, name, len(address)) == expected
    assert event_of("sendmsg", -1, memory.put(struct.pack("=QI", name, len(address)) + bytes(44))) == expected
    assert event_of("sendmsg", -1, memory.put(bytes(56))) is None
    assert event_of("sendmsg", -1, memory.put(struct.pack("=II", BAD, 16) + bytes(20)), abi=X32)[1]["address"] is None
    assert events_of("socketcall", 9, BAD, abi=I386) == []  # send(2), which names nobody.


def test_every_destination_of_sendmmsg(memory: Memory) -> None:
    """Not the first one only, and those without a name left out; no more than the kernel looks at."""
    elements = b""
    for number in range(3):
        address = v4("192.0.2.1", number)
        elements += struct.pack("=QI", memory.put(address), 16) + bytes(52)
    vector = memory.put(elements + bytes(64))
    sent = events_of("sendmmsg", -1, vector, 4, 0)
    assert [fields["port"] for _, fields in sent] == [0, 1, 2]
    assert [fields["port"] for _, fields in events_of("sendmmsg", -1, vector, 2, 0)] == [0, 1]
    many = memory.put(elements[:64] * (AT_ONCE + 1))
    assert len(events_of("sendmmsg", -1, many, 0xFFFFFFFF, 0)) == AT_ONCE
    assert events_of("sendmmsg", -1, vector, 0, 0) == []

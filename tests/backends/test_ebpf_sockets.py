"""The program at the end of network calls: addresses, given or of sockets."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_calls import BAD, Told, attached, call, events, free_port, in_tree, local, peer, told, unix, v4

from rprun.backends.ebpf import call_frame, call_plan, loops, plans

if TYPE_CHECKING:
    from collections.abc import Callable


def test_tcp() -> None:
    """A server's calls and its client's: of an accept it is the client's address that is told."""
    port, nobodys = free_port(), free_port()

    def body() -> None:
        with socket.socket() as server, socket.socket() as client, socket.socket() as refused:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
            client.setblocking(False)
            server.setblocking(False)
            with suppress(BlockingIOError):
                server.accept()
            with suppress(BlockingIOError):
                client.connect(("127.0.0.1", port))
            server.setblocking(True)
            accepted, (_, number) = server.accept()
            clients.send(str(number).encode())
            accepted.send(b"x")
            accepted.close()
            with suppress(ConnectionRefusedError):
                refused.connect(("127.0.0.1", nobodys))
            call("connect", 99, v4("192.0.2.1", 1), 16)
            call("connect", client.fileno(), BAD, 16)
            call("connect", client.fileno(), v4("192.0.2.1", 1), 129)
            call("connect", refused.fileno(), bytes(16), 16)

    mine, clients = socket.socketpair()
    with mine, clients:
        found = told(body)
        from_port = int(mine.recv(10))
    assert found == [
        peer("bind", "127.0.0.1", port),
        peer("listen", "127.0.0.1", port),
        peer("accept", None, None, "EAGAIN"),
        peer("connect", "127.0.0.1", port, "EINPROGRESS"),
        peer("accept", "127.0.0.1", from_port),
        peer("connect", "127.0.0.1", nobodys, "ECONNREFUSED"),
        peer("connect", "192.0.2.1", 1, "EBADF", protocol=None),
        peer("connect", None, None, "EFAULT"),
        peer("connect", None, None, "EINVAL"),
    ]


def test_inet6() -> None:
    """An address of a link has its scope, one of IPv4 is shown as it is mapped."""
    port = free_port()
    index = socket.if_nametoindex("lo")

    def body() -> None:
        with socket.socket(socket.AF_INET6) as server, socket.socket() as client:
            server.bind(("::", port))
            server.listen()
            client.connect(("127.0.0.1", port))
            server.accept()[0].close()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as linked, suppress(OSError):
            linked.connect(("fe80::1", 7, 0, index))

    found = told(body)
    of_six = {"family": "inet6"}
    assert [kind for kind, _ in found] == ["net-bind", "net-listen", "net-connect", "net-accept", "net-connect"]
    assert found[0] == peer("bind", "::", port, **of_six)
    assert found[1] == peer("listen", "::", port, **of_six)
    assert found[3] == peer("accept", "::ffff:127.0.0.1", found[3][1]["port"], **of_six)
    assert found[3][1]["port"] != port
    assert found[4] == peer("connect", f"fe80::1%{index}", 7, found[4][1]["result"], family="inet6", protocol="udp")


@pytest.mark.parametrize("address", [test_tcp, test_inet6])
def test_structures_of_another_kernel(address: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is near each other here, and copied at once, may be far apart; and so may be the registers."""
    monkeypatch.setattr(call_frame, "_PARTS_MOST", 0)
    monkeypatch.setattr(call_plan, "_LITTLE", 0)
    address()


def test_udp_and_others() -> None:
    """Messages with an address are told of, whether or not the socket is connected; those without are not."""
    port = free_port()

    def body() -> None:
        here = ("127.0.0.1", port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(here)
            one.sendto(b"x", here)
            one.sendmsg([b"x"], [], 0, here)
            one.connect(here)
            one.send(b"x")
            one.sendmsg([b"x"])
            one.sendto(b"x", here)
            call("sendto", one.fileno(), b"x", 1, 0, BAD, 16)
            call("sendmsg", one.fileno(), BAD, 0)
            call("connect", one.fileno(), bytes(16), 16)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
            route.bind((0, 0))

    udp = {"protocol": "udp"}
    netlink: Told = "net-bind", {"family": "netlink", "protocol": "raw", "address": None, "port": None, "result": "ok"}
    assert told(body) == [
        peer("bind", "127.0.0.1", port, **udp),
        peer("send", "127.0.0.1", port, **udp),
        peer("send", "127.0.0.1", port, **udp),
        peer("connect", "127.0.0.1", port, **udp),
        peer("send", "127.0.0.1", port, **udp),
        peer("send", None, None, "EFAULT", **udp),
        peer("send", None, None, "EFAULT", **udp),
        netlink,
    ]


def test_unix_sockets(tmp_path: Path) -> None:
    """Paths are absolute, an abstract name has an @, and there may be none; an accept tells the client's."""
    here = os.fsencode(tmp_path)

    def body() -> None:
        os.chdir(here)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(b"s")
            server.listen()
            client.bind(b"\0of the tests\xff")
            client.connect(b"./s")
            server.accept()[0].close()
            with socket.socket(socket.AF_UNIX) as unnamed:
                unnamed.connect(here + b"/s")
                server.accept()[0].close()
                with suppress(OSError):
                    unnamed.connect(b"none")
            call("connect", 99, unix(b"s"), 3)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.bind(b"")
            with suppress(OSError):
                one.sendto(b"x", b"none")

    found = told(body)
    assert found == [
        local("bind", here + b"/s"),
        local("listen", b"s"),
        local("bind", b"@of the tests\xff"),
        local("connect", here + b"/./s"),
        local("accept", b"@of the tests\xff"),
        local("connect", here + b"/s"),
        local("accept", b""),
        local("connect", here + b"/none", "ENOENT"),
        local("connect", None, "EBADF", protocol=None),
        local("bind", b"", protocol="dgram"),
        local("send", here + b"/none", "ENOENT", "dgram"),
    ]


def mmsghdr(addresses: list[bytes | None]) -> tuple[bytes, list[Any]]:
    """Return an array of struct mmsghdr with empty messages, and what has to be kept for it."""
    kept: list[Any] = []
    data = b""
    for address in addresses:
        buffer = ctypes.create_string_buffer(address or b"")
        kept.append(buffer)
        data += struct.pack(
            "=QI4xQQQQi4xI4x", ctypes.addressof(buffer) if address else 0, len(address or b""), *[0] * 6
        )
    return data, kept


@pytest.mark.parametrize("may_goto", [True, False])
def test_sendmmsg(*, may_goto: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message that was sent and names somebody is told of; what is more than can be captured is counted."""
    if not may_goto:
        monkeypatch.setattr(loops, "has_may_goto", lambda: False)
    port = free_port()

    def body() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            named = v4("127.0.0.1", port)
            data, kept = mmsghdr([named, v4("127.0.0.2", port), b"\xff\xff" + bytes(14), named])
            assert call("sendmmsg", one.fileno(), data, 4, 0) == 2
            data, _ = mmsghdr([b"\xff\xff" + bytes(14), named])
            assert call("sendmmsg", one.fileno(), data, 2, 0) == -errno.EAFNOSUPPORT
            data, kept = mmsghdr([named] * 40)
            assert call("sendmmsg", one.fileno(), data, 40, 0) == 40
            one.connect(("127.0.0.1", port))
            data, kept = mmsghdr([None] * 3)
            call("sendmmsg", one.fileno(), data, 3, 0)
            del kept

    with attached() as maps:
        with in_tree(maps, body) as pid:
            pass
        assert maps.read_lost() == (0, 0, 40 - plans.MOST_MESSAGES)
        found = events(maps, pid)
    udp = {"protocol": "udp"}
    assert found == [
        peer("send", "127.0.0.1", port, **udp),
        peer("send", "127.0.0.2", port, **udp),
        peer("send", None, None, "EAFNOSUPPORT", family="family-65535", **udp),
        *[peer("send", "127.0.0.1", port, **udp)] * plans.MOST_MESSAGES,
        peer("connect", "127.0.0.1", port, **udp),
    ]


def test_who_accepts_is_told_of() -> None:
    """A listener that another process has opened, and one that came over a socket: the event is the acceptor's."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    here, there = socket.socketpair()

    def body() -> None:
        server.close()
        _, (number, *_), _, _ = socket.recv_fds(there, 1, 1)
        with socket.socket(fileno=number) as passed:
            passed.accept()[0].close()

    with server, here, there, attached() as maps, socket.create_connection(("127.0.0.1", port)) as client:
        with in_tree(maps, body) as pid:
            socket.send_fds(here, [b"x"], [server.fileno()])
        assert events(maps, pid) == [peer("accept", *client.getsockname())]

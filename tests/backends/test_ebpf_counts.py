"""What the program at the end of calls counts: every call that moves bytes, in every ABI."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_abis import ABIS, Machine, needs_abi
from ebpf_calls import (
    BAD,
    FILE,
    NETWORK,
    call,
    free_port,
    local_close,
    net_close,
    told_ends,
    written,
)

from rprun.backends.ebpf import flows, plans
from rprun.linux.syscalls import I386

if TYPE_CHECKING:
    from collections.abc import Callable

MSG_DONTWAIT, MSG_ERRQUEUE = socket.MSG_DONTWAIT, 0x2000
MOST = 1024  # UIO_MAXIOV


def filled_pipe(size: int) -> int:
    """Return the end of a pipe that so many bytes can be read from."""
    read, write = os.pipe()
    os.write(write, bytes(size))
    return read


def writes(abi: Machine, source: int) -> dict[str, Callable[[int], int]]:
    """Return calls that write to a descriptor, by name; each moves another number of bytes."""
    some, do = abi.put(b"x" * 100), abi.call
    found: dict[str, Callable[[int], int]] = {
        "write": lambda to: do("write", to, some, 11),
        "writev": lambda to: do("writev", to, *abi.vector(5, 7)),
        "pwrite64": lambda to: do("pwrite64", to, some, 13, 3, 0),
        "pwritev": lambda to: do("pwritev", to, *abi.vector(5, 9), 3, 0),
        "pwritev2": lambda to: do("pwritev2", to, *abi.vector(6, 9), 3, 0, 0),
        "sendfile": lambda to: do("sendfile", to, source, 0, 16),
        "splice": lambda to: do("splice", filled_pipe(17), 0, to, 0, 100, 0),
        "copy_file_range": lambda to: do("copy_file_range", source, 0, to, 0, 18, 0),
    }
    if abi.abi == I386:
        found["sendfile64"] = lambda to: do("sendfile64", to, source, 0, 19)
    return found


def sends(abi: Machine, source: int) -> dict[str, Callable[[int], int]]:
    """Return those that write to a socket, and those that send."""
    some, do = abi.put(b"x" * 100), abi.call
    names = ("write", "writev", "sendfile", "splice", "sendfile64")
    found = {name: send for name, send in writes(abi, source).items() if name in names}
    found |= {
        "sendto": lambda to: do("sendto", to, some, 21, 0, 0, 0),
        "sendmsg": lambda to: do("sendmsg", to, abi.message(9, 13), 0),
        "sendmmsg": lambda to: do("sendmmsg", to, *abi.messages(6, 17), 0),
    }
    if abi.abi == I386:
        found |= {
            "send by socketcall": lambda to: abi.socketcall(9, to, some, 24, 0),
            "sendto by socketcall": lambda to: abi.socketcall(11, to, some, 25, 0, 0, 0),
            "sendmsg by socketcall": lambda to: abi.socketcall(16, to, abi.message(9, 17), 0),
            "sendmmsg by socketcall": lambda to: abi.socketcall(20, to, *abi.messages(9, 18), 0),
        }
    return found


def receives(abi: Machine) -> dict[str, Callable[[int], int]]:
    """Return calls that take out of a socket what is in it, up to 100 bytes."""
    room, do = abi.put(bytes(100)), abi.call
    found: dict[str, Callable[[int], int]] = {
        "read": lambda to: do("read", to, room, 100),
        "readv": lambda to: do("readv", to, *abi.vector(1, 99)),
        "recvfrom": lambda to: do("recvfrom", to, room, 100, MSG_DONTWAIT, 0, 0),
        "recvmsg": lambda to: do("recvmsg", to, abi.message(1, 99), 0),
        "recvmmsg": lambda to: do("recvmmsg", to, *abi.messages(1, 99), MSG_DONTWAIT, 0),
        "splice": lambda to: do("splice", to, 0, os.pipe()[1], 0, 100, 0),
    }
    if abi.abi == I386:
        found |= {
            "recvmmsg_time64": lambda to: do("recvmmsg_time64", to, *abi.messages(1, 99), MSG_DONTWAIT, 0),
            "recv by socketcall": lambda to: abi.socketcall(10, to, room, 100, 0),
            "recvfrom by socketcall": lambda to: abi.socketcall(12, to, room, 100, 0, 0, 0),
            "recvmsg by socketcall": lambda to: abi.socketcall(17, to, abi.message(50, 50), 0),
            "recvmmsg by socketcall": lambda to: abi.socketcall(19, to, *abi.messages(9, 91), MSG_DONTWAIT, 0),
        }
    return found


def test_the_tests_make_every_call() -> None:
    """Each call that is counted is made below."""
    needs_abi(I386)
    abi = Machine(I386)
    made = {*writes(abi, -1), *sends(abi, -1), *receives(abi)}
    assert {name for name in made if " by " not in name} == {*flows.FLOWS[FILE], *flows.FLOWS[NETWORK]}
    names = {name for name, _, _ in flows.SUBCALLS.values()} | {"sendto", "sendmsg", "sendmmsg"}
    assert {name.removesuffix(" by socketcall") for name in made if " by " in name} == names


@pytest.mark.parametrize("name", ABIS)
def test_every_call_that_writes(name: str, tmp_path: Path) -> None:
    """One event for each descriptor, with what the call has returned."""
    needs_abi(name)
    here = os.fsencode(tmp_path)
    (tmp_path / "source").write_bytes(bytes(100))

    def body() -> None:
        abi = Machine(name)
        source = os.open(here + b"/source", os.O_RDONLY)
        for call_name, write in writes(abi, source).items():
            to = os.open(here + b"/" + call_name.encode(), os.O_WRONLY | os.O_CREAT)
            assert write(to) == expected[call_name], call_name
            os.close(to)

    names = list(writes(Machine(name), -1))
    expected = {each: 11 + index for index, each in enumerate(names)}
    told = [event for each in names for event in written(here + b"/" + each.encode(), expected[each])]
    assert told_ends(body) == [*told, *written(here + b"/source")]
    assert {each: (tmp_path / each).stat().st_size - 3 * each.startswith("pw") for each in names} == expected


@pytest.mark.parametrize("name", ABIS)
def test_every_call_that_sends(name: str, tmp_path: Path) -> None:
    """Of messages it is their sizes that count, not the number which the call returns."""
    needs_abi(name)
    source = tmp_path / "source"
    source.write_bytes(bytes(100))
    expected = dict(zip(sends(Machine(name), -1), (11, 12, 16, 17, 19, 21, 22, 23, 24, 25, 26, 27), strict=False))
    if name != I386:
        expected = dict(zip(expected, (11, 12, 16, 17, 21, 22, 23), strict=True))

    def body() -> None:
        with open(source, "rb") as file:
            for send in sends(Machine(name), file.fileno()).values():
                here, there = socket.socketpair()
                assert send(here.fileno()) > 0
                here.close()
                there.close()

    assert told_ends(body, NETWORK) == [local_close(count, 0, b"") for count in expected.values()]


@pytest.mark.parametrize("name", ABIS)
def test_every_call_that_receives(name: str) -> None:
    """Likewise."""
    needs_abi(name)

    def body() -> None:
        for call_name, receive in receives(Machine(name)).items():
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            there.send(b"x")
            there.send(b"x" * 8)
            first = receive(here.fileno())
            second = receive(here.fileno()) if first == 1 and "mmsg" not in call_name else 8
            assert (first, second) in ((1, 8), (2, 8)), call_name
            here.close()
            there.close()

    event = [local_close(0, 9, b"", "seqpacket"), local_close(9, 0, b"", "seqpacket")]
    assert told_ends(body, NETWORK) == event * len(receives(Machine(name)))


def test_what_is_looked_at_is_not_taken() -> None:
    """MSG_PEEK counts nothing, and no more does what comes back by MSG_ERRQUEUE."""

    def body() -> None:
        here, there = socket.socketpair()
        there.send(b"x" * 10)
        assert len(here.recv(100, socket.MSG_PEEK)) == 10
        assert len(here.recvmsg(100, 0, socket.MSG_PEEK)[0]) == 10
        data, length = abi.messages(100)
        assert abi.call("recvmmsg", here.fileno(), data, length, socket.MSG_PEEK, 0) == 1
        assert len(here.recv(4)) == 4
        here.close()
        there.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as refused:
            refused.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
            refused.connect(("127.0.0.1", nobodys))
            assert refused.send(b"x" * 7) == 7
            with suppress(ConnectionRefusedError):
                refused.recv(1)
            assert len(refused.recvmsg(100, 100, MSG_ERRQUEUE)[0]) == 7

    abi, nobodys = Machine("x86_64"), free_port()
    assert told_ends(body, NETWORK) == [
        local_close(0, 4, b""),
        local_close(10, 0, b""),
        net_close(7, 0, "127.0.0.1", nobodys, protocol="udp"),
    ]


@pytest.mark.parametrize("many", [1, plans.MOST_MESSAGES, plans.MOST_MESSAGES + 1, 300, MOST])
def test_many_messages(many: int) -> None:
    """All messages of one call are summed, also those that are more than there are addresses of that can be told."""
    sizes = [1 + number % 7 for number in range(many)]

    def body() -> None:
        abi = Machine("x86_64")
        with socket.create_connection(server.getsockname()) as client, server.accept()[0] as accepted:
            assert abi.call("sendmmsg", client.fileno(), *abi.messages(*sizes), 0) == many
            messages = abi.messages(*sizes)
            assert abi.call("recvmmsg", accepted.fileno(), *messages, socket.MSG_WAITALL, 0) == many
            names.send(str(client.getsockname()[1]).encode())

    mine, names = socket.socketpair()
    with mine, names, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = told_ends(body, NETWORK)
        from_port = int(mine.recv(10))
    whole = sum(sizes)
    assert found == [
        net_close(0, whole, "127.0.0.1", from_port),
        net_close(whole, 0, "127.0.0.1", port),
        local_close(len(str(from_port)), 0, b""),
    ]


def test_what_fails_counts_nothing(tmp_path: Path) -> None:
    """Writes to what cannot be written to, of what cannot be read, and to nobody; a short write counts what it did."""
    here = os.fsencode(tmp_path)

    def body() -> None:
        directory = os.open(here, os.O_RDONLY)
        assert call("write", directory, b"x", 1) == -errno.EBADF
        made = os.open(here + b"/a", os.O_RDWR | os.O_CREAT)
        assert call("write", made, BAD, 5) == -errno.EFAULT
        assert call("write", made, b"", 0) == 0
        assert call("write", 99, b"x", 1) == -errno.EBADF
        assert call("pwrite64", made, b"x", 1, -1) == -errno.EINVAL
        full = os.open(b"/dev/full", os.O_WRONLY)
        assert call("write", full, b"x", 1) == -errno.ENOSPC
        for each in (directory, made, full):
            os.close(each)
        left, right = socket.socketpair()
        left.setblocking(False)
        sent = left.send(bytes(1 << 24))
        assert 0 < sent < 1 << 24
        told.send(str(sent).encode())
        with suppress(BlockingIOError):
            left.send(bytes(1 << 20))
        right.close()
        with suppress(BrokenPipeError):
            left.send(b"x")
        left.close()

    mine, told = socket.socketpair()
    with mine, told:
        found = told_ends(body)
        sent = int(mine.recv(20))
    assert found == [
        *written(here),
        *written(here + b"/a"),
        *written(b"/dev/full"),
        local_close(sent, 0, b""),
        local_close(len(str(sent)), 0, b""),
    ]

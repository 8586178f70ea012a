"""The proc connector: what the kernel says of processes, and what it says when that was too much."""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from children import exit_code, forked

from rprun.backends.connector import probing
from rprun.linux import connector
from rprun.linux.connector import EXEC, EXIT, FORK, Connector, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# struct cn_proc's datagram: both headers, kind, cpu, time, six numbers.
HEADERS = bytes(36)


@pytest.fixture
def listening() -> Iterator[Callable[[int], Connector]]:
    """Open connectors that are closed at the end; skips where there are none."""
    if why_not := probing.refusal():
        pytest.skip(f"needs the proc connector: {why_not}")
    opened: list[Connector] = []

    def listen(kinds: int) -> Connector:
        opened.append(Connector(kinds))
        return opened[-1]

    yield listen
    for each in opened:
        each.close()


def until(source: Connector, is_last: Callable[[Message], bool]) -> list[Message]:
    """Read to a message that has to come."""
    poller = select.poll()
    poller.register(source.fileno(), select.POLLIN)
    found: list[Message] = []
    while not found or not is_last(found[-1]):
        message = source.read()
        if message is not None:
            found.append(message)
        else:
            assert poller.poll(PATIENCE * 1000), found
    return found


def test_a_life(listening: Callable[[int], Connector]) -> None:
    """Start, exec and end of a process: whose it is, when, and with which status."""
    source = listening(FORK | EXEC | EXIT)
    before = time.monotonic_ns()
    child = subprocess.run(["sh", "-c", "echo $$; exit 42"], stdout=subprocess.PIPE, check=False)
    pid = int(child.stdout)
    found = [m for m in until(source, lambda m: m.kind == EXIT and m.pid == pid) if m.tgid == pid]
    assert [m.kind for m in found] == [FORK, EXEC, EXIT]
    assert [(m.pid, m.parent, m.status) for m in found] == [
        (pid, os.getpid(), 0),
        (pid, 0, 0),
        (pid, os.getpid(), 42 << 8),
    ]
    times = [m.time_ns for m in found]
    assert before <= times[0] <= times[1] <= times[2] <= time.monotonic_ns()


def test_a_signal(listening: Callable[[int], Connector]) -> None:
    """The status of a process that a signal killed is its wait status."""
    source = listening(EXIT)
    pid = forked(lambda: os.kill(os.getpid(), 9))
    assert exit_code(pid) == -9
    assert until(source, lambda m: m.pid == pid)[-1].status == 9


def test_a_thread(listening: Callable[[int], Connector]) -> None:
    """A thread has a number of its own and the process of its maker, and its maker's parent."""
    source = listening(FORK | EXIT)
    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(threading.get_native_id()))
    thread.start()
    thread.join()
    found = [m for m in until(source, lambda m: m.kind == EXIT and m.pid == numbers[0]) if m.pid == numbers[0]]
    assert [(m.kind, m.tgid) for m in found] == [(FORK, os.getpid()), (EXIT, os.getpid())]
    assert found[0].parent == os.getppid()


def test_only_what_was_asked_for(listening: Callable[[int], Connector]) -> None:
    """The kernel leaves other kinds out, and the answer to the request too."""
    source = listening(EXIT)
    pid = forked(lambda: os.execvp("true", ["true"]))
    assert exit_code(pid) == 0
    assert {m.kind for m in until(source, lambda m: m.pid == pid)} == {EXIT}


def test_too_much(listening: Callable[[int], Connector]) -> None:
    """What finds no room is told of once; what comes when there is room again is heard."""
    source = listening(FORK | EXIT)
    source._socket.setsockopt(1, 8, 1)  # SO_RCVBUF: the kernel makes it its least
    for _ in range(64):
        assert exit_code(forked(lambda: None)) == 0
    with pytest.raises(OverflowError):
        source.read()
    while source.read() is not None:
        pass
    source._socket.setsockopt(1, 8, 1 << 20)
    pid = forked(lambda: None)
    assert exit_code(pid) == 0
    assert until(source, lambda m: m.kind == EXIT and m.pid == pid)


def test_close() -> None:
    """The descriptor is not inherited, and is let go of once."""
    if why_not := probing.refusal():
        pytest.skip(f"needs the proc connector: {why_not}")
    source = Connector(EXIT)
    assert not os.get_inheritable(source.fileno())
    source.close()
    source.close()
    assert source.fileno() == -1


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ((FORK, 1, 77, 10, 11, 12, 13, 0, 0), Message(FORK, 77, 12, 13, 11, 0)),
        ((EXEC, 1, 77, 10, 11, 0, 0, 0, 0), Message(EXEC, 77, 10, 11, 0, 0)),
        ((EXIT, 1, 77, 10, 11, 0x2A00, 17, 14, 15), Message(EXIT, 77, 10, 11, 15, 0x2A00)),
        ((0, 1, 77, 0, 0, 0, 0, 0, 0), None),
    ],
)
def test_parse(event: tuple[int, ...], message: Message | None) -> None:
    """Each number is where include/uapi/linux/cn_proc.h has it; a longer structure is understood too."""
    data = HEADERS + struct.pack("=IIQ6i", *event)
    assert len(data) == connector.EVENT.size == 76
    assert connector.parse(data) == connector.parse(data + b"more") == message
    assert connector.parse(data[:-1]) is None

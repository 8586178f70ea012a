"""Messages between processes, and descriptors that come with them."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from rprun.linux import seqpacket

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[seqpacket.Socket, seqpacket.Socket]]:
    """Two that are connected."""
    here, there = seqpacket.pair()
    with closing(here), closing(there):
        yield here, there


def same(one: int, other: int) -> bool:
    """Tell whether two descriptors are of the same file."""
    return os.path.samestat(os.fstat(one), os.fstat(other))


def test_messages_with_descriptors_and_without(ends: tuple[seqpacket.Socket, seqpacket.Socket]) -> None:
    """Each comes whole, in order, with the file that was sent along; no program that is executed gets that."""
    here, there = ends
    read, write = os.pipe()
    seqpacket.send(here, b"one")
    seqpacket.send(here, b"two", read)
    assert seqpacket.receive(there) == (b"one", -1)
    message, descriptor = seqpacket.receive(there)
    assert message == b"two"
    assert same(descriptor, read)
    assert not os.get_inheritable(descriptor)
    for each in (read, write, descriptor):
        os.close(each)


def test_a_message_that_is_left(ends: tuple[seqpacket.Socket, seqpacket.Socket]) -> None:
    """It is there for the next who asks, its descriptor too."""
    here, there = ends
    seqpacket.send(here, b"left", here.fileno())
    found = [seqpacket.receive(there, leaves=True), seqpacket.receive(there)]
    there.setblocking(False)
    with pytest.raises(BlockingIOError):
        seqpacket.receive(there)
    assert [message for message, _ in found] == [b"left"] * 2
    first, second = (descriptor for _, descriptor in found)
    assert first != second
    assert same(first, here.fileno())
    assert same(second, here.fileno())
    os.close(first)
    os.close(second)


def test_nobody_is_left(ends: tuple[seqpacket.Socket, seqpacket.Socket]) -> None:
    """What comes then is empty, and to send is an error."""
    here, there = ends
    here.close()
    assert seqpacket.receive(there) == (b"", -1)
    with pytest.raises(BrokenPipeError):
        seqpacket.send(there, b"x", there.fileno())

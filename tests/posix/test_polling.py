"""select(2) in poll(2)'s place, as rprun waits on macOS; on this system's own pipes and terminals."""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":
    pytest.skip("select(2) takes sockets only", allow_module_level=True)

from rprun.bsd.polling import POLLIN, POLLOUT, poll

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["pipe", "terminal"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """An end to read from, and one to write to."""
    read, write = os.pipe() if request.param == "pipe" else os.openpty()
    yield read, write
    os.close(read)
    os.close(write)


def test_what_is_ready(ends: tuple[int, int]) -> None:
    """Each is told when it is ready for what it is waited for, and for nothing else."""
    read, write = ends
    poller = poll()
    poller.register(read, POLLIN)
    assert poller.poll(0) == []
    poller.register(write, POLLOUT)
    assert poller.poll(0) == [(write, POLLOUT)]
    os.write(write, b"x")
    assert sorted(poller.poll()) == sorted([(read, POLLIN), (write, POLLOUT)])
    poller.unregister(write)
    assert poller.poll(10_000) == [(read, POLLIN)]
    poller.modify(read, 0)
    assert poller.poll(0) == []


def test_it_waits(ends: tuple[int, int]) -> None:
    """Without a time it returns when something comes."""
    read, write = ends
    poller = poll()
    poller.register(read, POLLIN)
    thread = threading.Timer(0.05, os.write, (write, b"x"))
    thread.start()
    assert poller.poll() == [(read, POLLIN)]
    thread.join()


def test_an_end_is_ready() -> None:
    """A pipe that has ended is ready to be read, and one that nobody reads to be written."""
    read, write = os.pipe()
    other_read, other_write = os.pipe()
    os.close(write)
    os.close(other_read)
    poller = poll()
    poller.register(read, POLLIN)
    poller.register(other_write, POLLOUT)
    assert sorted(poller.poll()) == sorted([(read, POLLIN), (other_write, POLLOUT)])
    os.close(read)
    os.close(other_write)


def test_a_number_that_is_too_high() -> None:
    """It is refused as if no descriptor were left, before select(2) could write beyond its set."""
    with pytest.raises(OSError, match="too high") as failure:
        poll().register(1024, POLLIN)
    assert failure.value.errno == errno.EMFILE

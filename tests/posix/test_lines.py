"""Quoted data over a model of the line discipline of macOS and the BSDs (ttyinput and ttread in tty.c)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform == "win32":
    pytest.skip("there are no terminals of POSIX", allow_module_level=True)

from rprun.transport import feed, pty

if TYPE_CHECKING:
    from collections.abc import Iterator

VEOF, VLNEXT = b"\x04", b"\x16"
# What a terminal takes of a line that nobody has ended yet.
LONGEST = 1022


@pytest.fixture(scope="module")
def quoter() -> Iterator[feed.Quoter]:
    """A quoter for a terminal that is set up for data, with what is documented of macOS and BSD."""
    before = feed.PIECE, feed.KEEPS_END
    feed.PIECE, feed.KEEPS_END = 1021, True  # type: ignore[misc, unused-ignore]
    master, slave = os.openpty()
    try:
        yield feed.Quoter(pty.data_attributes(pty.termios.tcgetattr(slave), utf8=True))
    finally:
        os.close(master)
        os.close(slave)
        feed.PIECE, feed.KEEPS_END = before  # type: ignore[misc, unused-ignore]


def received(encoded: bytes, size: int) -> bytes:
    """What a reader gets with a buffer of that size, up to its first empty read."""
    queue: list[tuple[bytes, bool]] = []
    quoted, length = False, 0
    for one in (encoded[index : index + 1] for index in range(len(encoded))):
        if one == VLNEXT and not quoted:
            quoted = True
            continue
        length = 0 if one in (VEOF, b"\n") and not quoted else length + 1
        assert length <= LONGEST, "a line was cut"
        queue.append((one, quoted))
        quoted = False
    position, data = 0, b""
    while True:
        start = len(data)
        while position < len(queue):
            one, quoted = queue[position]
            position += 1
            if one == VEOF and not quoted:
                break
            data += one
            if len(data) - start == size or (one == b"\n" and not quoted):
                break
        if len(data) == start:
            return data


_TEXT = st.lists(st.sampled_from([b"line\n", b"x" * 1000, b"y" * 24, b"\x04\x16\xff\0\r", b"\n", b"z"]), max_size=12)


@given(text=_TEXT, half=st.integers(1, 4096), repeat=st.integers(1, 4))
def test_no_reader_takes_a_piece_for_the_end(quoter: feed.Quoter, text: list[bytes], half: int, repeat: int) -> None:
    """Buffers of even sizes get all of it: a VEOF never comes to lie where one ends."""
    data = b"".join(text) * repeat
    if len(data) > feed.PIECE:
        assert received(quoter.encode(data), 2 * half) == data


@given(data=st.binary(max_size=4000), size=st.integers(1, 5000))
def test_what_is_short_is_one_piece(quoter: feed.Quoter, data: bytes, size: int) -> None:
    """What is no longer than a piece is not cut; it can be keys for a program that becomes raw. All of it arrives."""
    data = data[: feed.PIECE]
    encoded = quoter.encode(data)
    ends = encoded.replace(VLNEXT + VLNEXT, b"").replace(VLNEXT + VEOF, b"").count(VEOF)
    assert ends == bool(data and not data.endswith(b"\n"))
    assert received(encoded, size) == data

"""Descriptors are closed by the range, whatever the C library can do, and whatever the limit is."""

from __future__ import annotations

import fcntl
import os
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from rprun.linux.descriptors import close_range

# High enough that nothing of the tests' own is there.
BASE = 700


def test_close_range() -> None:
    """What is in the range is closed, and nothing else; what is not open does not matter."""
    reader, writer = os.pipe()
    held = [fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, BASE + offset) for offset in (0, 1, 5, 9)]
    try:
        assert held == [BASE, BASE + 1, BASE + 5, BASE + 9]
        close_range(BASE + 1, BASE + 9)
        os.fstat(held[0])
        os.fstat(held[3])
        for descriptor in held[1:3]:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)
        close_range(BASE, BASE)
        os.fstat(held[0])
        close_range(BASE, 1 << 30)
        for descriptor in (held[0], held[3]):
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)
    finally:
        os.close(reader)
        os.close(writer)

"""Records as the programs in the kernel make them and Python takes them apart: native byte order, nothing padded.

Every record starts with a header; what is behind it depends on the kind, and is said where that is made and decoded.
Blobs are as in `rprun.backends.seccomp.record`: u32 length, bytes; the length `UNREADABLE` stands for None.
"""

from __future__ import annotations

import struct
from enum import IntEnum


class Kind(IntEnum):
    """The first word of a record."""

    ROOT = 1  # The process that is to become the command has been found.
    FORK = 2
    ATTEMPT = 3  # Of an exec, which may fail.
    EXEC = 4
    ARGS = 5
    EXIT = 6
    CALL = 7


class Lost(IntEnum):
    """The index of a counter in the map `lost`."""

    PROCESS = 0
    FILE = 1
    NETWORK = 2


HEADER = struct.Struct("=4IQ")
"""kind; tid and tgid, numbers of the initial pid namespace; pid, the process in rprun's own one; time in nanoseconds of
CLOCK_MONOTONIC."""
KIND_AT, TID_AT, TGID_AT, PID_AT, TIME_AT = 0, 4, 8, 12, 16
HEADER_SIZE = HEADER.size

UNREADABLE = 0xFFFFFFFF
_LENGTH = struct.Struct("=I")


def blobs(record: bytes, at: int) -> list[bytes | None]:
    """Return the blobs that fill a record from an offset on.

    Raises:
        ValueError: one goes on behind the end of the record.
    """
    found: list[bytes | None] = []
    end = len(record)
    while at < end:
        if at + 4 > end:
            raise ValueError("a record is cut before a blob")
        (length,) = _LENGTH.unpack_from(record, at)
        at += 4
        if length == UNREADABLE:
            found.append(None)
            continue
        if at + length > end:
            raise ValueError("a record is cut in a blob")
        found.append(record[at : at + length])
        at += length
    return found

"""Records as the programs in the kernel make them and Python takes them apart: native byte order, nothing padded.

Every record starts with a header; what is behind it depends on the kind, and is said where that is made and decoded.
Blobs are those of `rprun.backends.seccomp.record`.
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
    FOUND = 8  # A descriptor that was not seen to be opened.
    CLOSED = 9


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

KEY = struct.Struct("=2I")
"""Of a descriptor: tgid, as in the header, and its number."""
VALUE = struct.Struct("=5Q")
"""Of a descriptor: which file it is (`descriptors.identify`); the bytes that its process has written or sent through
it, and those that it has received; the index of the category's counter in `lost`; the time of the record, as in its
header, of the call by which it has become known, 0 where nothing has this number any more, or `CLAIMED`."""
FILE_AT, SENT_AT, RECEIVED_AT, CATEGORY_AT, SINCE_AT = 0, 8, 16, 24, 32
CLAIMED = 1
"""No time since which it is about a file: some program is about to say which one, and nobody else may touch it."""
CLOSED = struct.Struct("=5Q")
"""What follows the header of a CLOSED record: descriptor, and of the above bytes sent, bytes received, category and
time."""

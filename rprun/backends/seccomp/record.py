"""One call that was seen, as bytes: what the supervisor puts into the ring and rprun takes out of it.

A fixed header, and behind it what was captured: marks, two numbers, and blobs with their lengths. The layout is between
two processes of one version on one host, so it has native byte order and no version number.

    u32 arch | i32 number | i32 tid | i32 tgid | i64 time | 6 x u64 arguments
    u16 marks | u16 blobs | u32 first | u64 second
    for each blob: u32 length, bytes; the length 0xFFFFFFFF stands for None: it could not be read
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# A record's most bytes; what is captured stays below, with room for the header.
LIMIT = 256 * 1024
UNREADABLE = 0xFFFFFFFF

# Marks. EXISTS, ABSENT: what is known of the path. CUT: a list was longer than a record may be. WHOLE: `first` and
# `second` could be read.
EXISTS, ABSENT, CUT, WHOLE = 1, 2, 4, 8

_HEADER = struct.Struct("=Iiiiq6Q")
_CAPTURED = struct.Struct("=HHIQ")
_LENGTH = struct.Struct("=I")
_PATH = struct.Struct("=HHIQII")
_ABSENT_BLOB = _LENGTH.pack(UNREADABLE)
_AT = _HEADER.size + _CAPTURED.size
_START = struct.Struct("=Ii")
_WHO = struct.Struct("=iq")
_WHO_AT, _REGISTERS_AT = 12, 24
_REST_OF_REGISTER = bytes(4)
_U32, _U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


class Record:
    """A record taken apart.

    Attributes:
        arch: AUDIT_ARCH of the call.
        number: the call's number there.
        tid: the thread that made it.
        tgid: the process.
        time_ns: when it was seen, in nanoseconds since the Unix epoch.
        arguments: the six registers.
        marks: EXISTS, ABSENT, CUT, WHOLE.
        first: a number that depends on the call: a file's mode, a socket's protocol.
        second: the same: openat2's flags, a socket's domain and type.
        blobs: what was read from the process; None where it could not be.
    """

    __slots__ = ("arch", "arguments", "blobs", "first", "marks", "number", "second", "tgid", "tid", "time_ns")

    arch: int
    number: int
    tid: int
    tgid: int
    time_ns: int
    arguments: tuple[int, ...]
    marks: int
    first: int
    second: int
    blobs: list[bytes | None]


def pack(  # noqa: PLR0917 - one for each part of the header, in its order
    arch: int, number: int, tid: int, tgid: int, time_ns: int, arguments: Sequence[int], captured: bytes
) -> bytes:
    """Make a record.

    Args:
        arch: AUDIT_ARCH of the call, as struct seccomp_data has it.
        number: the call's number there.
        tid: the thread that made it.
        tgid: the process.
        time_ns: now, in nanoseconds since the Unix epoch.
        arguments: the six registers, unsigned.
        captured: what `Capture.capture` gave.
    """
    return _HEADER.pack(arch, number, tid, tgid, time_ns, *arguments) + captured


def pack_captured(blobs: Sequence[bytes | None], marks: int = 0, first: int = 0, second: int = 0) -> bytes:
    """Make the part that is captured; a blob for which there is no room is given as one that could not be read."""
    parts = [b""]
    room = LIMIT - _AT - 4 * len(blobs)
    for blob in blobs:
        if blob is None or len(blob) > room:
            parts.append(_ABSENT_BLOB)
        else:
            room -= len(blob)
            parts += (_LENGTH.pack(len(blob)), blob)
    parts[0] = _CAPTURED.pack(marks, len(blobs), first & _U32, second & _U64)
    return b"".join(parts)


def pack_path(path: bytes, marks: int) -> bytes:
    """Make what `pack_captured((b"", path), marks)` makes, faster: nearly every call has one absolute path."""
    return _PATH.pack(marks, 2, 0, 0, 0, len(path)) + path


def start(arch: int, number: int) -> bytes:
    """Return the first 8 bytes of every record of a call."""
    return _START.pack(arch, number)


def what(record: bytes, register: int) -> bytes:
    """Return what in a record is the same whenever the same is done: the call, half of one register, what was captured.

    So usual.c in `rprun/linux` puts it together, too.

    Args:
        record: from `pack`.
        register: the index of the argument whose lower 32 bits matter; of the others, what was captured tells.
    """
    at = _REGISTERS_AT + 8 * register
    return record[:8] + record[at : at + 4] + _REST_OF_REGISTER + record[_HEADER.size :]


def who(record: bytes) -> tuple[int, int]:
    """Return the process and the time of a record: `tgid` and `time_ns`.

    Raises:
        struct.error: it is too short.
    """
    tgid, time_ns = _WHO.unpack_from(record, _WHO_AT)
    return tgid, time_ns


def unpack(record: bytes) -> Record:
    """Take a record apart.

    Raises:
        ValueError: it is none: it is too short, or its blobs do not fill it.
    """
    end = len(record)
    if end < _AT:
        raise ValueError("a record is cut in its header")
    found = Record()
    found.arch, found.number, found.tid, found.tgid, found.time_ns, *registers = _HEADER.unpack_from(record)
    found.arguments = tuple(registers)
    found.marks, count, found.first, found.second = _CAPTURED.unpack_from(record, _HEADER.size)
    found.blobs = blobs(record, _AT)
    if len(found.blobs) != count:
        raise ValueError(f"a record has {len(found.blobs)} blobs and not {count}")
    return found


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

"""What the program at the end of calls is to capture of each: the table of watched calls, as bytes that it reads.

The table of `rprun.backends.seccomp.calls` says what a call is about. Here each such call has a plan of a few bytes,
and each number the index of its plan: one array for native calls, where x32's stand too (without their bit; those that
are not x86_64's begin at 512), one for 32-bit calls, one for what socketcall(2) stands for. One more array tells which
numbers may be watched in either way, so that of those that are not nothing more needs to be looked at.

A record of a call is, behind the header of every record:

    i64 result | 6 x u64 arguments | u32 AUDIT_ARCH | i32 number
    u32 marks | u32 protocol, domain and type of the socket | u64 flags and resolve of struct open_how
    blobs

Of a call that opens a file its flags and the negative result, or 0, are in the places of protocol and domain: what it
was about is all that comes from AUDIT_ARCH on, and the same whenever the same is opened in the same way.

Of socketcall the arguments are those of the true call, which is in the upper half of `marks`. The blobs of a call with
paths are, for each, the text and the names of the directory that it is relative to (see `walk`), or of the file that a
descriptor stands for, with an empty text. Those of a network call are one for each address and, for a Unix socket, the
names of the current directory.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct
from enum import IntEnum

from rprun.backends.ebpf import flows
from rprun.backends.ebpf.layout import HEADER_SIZE, Lost
from rprun.backends.ebpf.walk import NOTES
from rprun.backends.seccomp import calls
from rprun.linux import syscalls
from rprun.observe.categories import EventCategory
from rprun.observe.kinds import ObserverEventKind, category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

CALL = struct.Struct("=q6QIi4I2Q")
"""A record behind its header and before its blobs."""
RESULT_AT, ARGUMENTS_AT, ARCH_AT, NUMBER_AT = (HEADER_SIZE + at for at in (0, 8, 56, 60))
MARKS_AT, PROTOCOL_AT, DOMAIN_AT, TYPE_AT, HOW_FLAGS_AT, HOW_RESOLVE_AT = (
    ARCH_AT + at for at in (8, 12, 16, 20, 24, 32)
)
OPEN_FLAGS_AT, FAILURE_AT = PROTOCOL_AT, DOMAIN_AT
BLOBS_AT = HEADER_SIZE + CALL.size

HOW_READ, SOCKET_READ = 1, 2
"""Marks: openat2's structure could be read; the call is about a socket, whose kind could be."""
SUBCALL_SHIFT = 16

MOST_MESSAGES = 16
"""Addresses of one sendmmsg that are captured; messages behind are counted as lost."""


class What(IntEnum):
    """The first byte of a plan."""

    PATHS = 1
    NAME = 2  # The call is given an address.
    SEND = 3  # It may be.
    LISTEN = 4
    ACCEPT = 5
    MESSAGE = 6
    MESSAGES = 7
    RING = 8
    SOCKETCALL = 9
    DATA = 10  # Nothing but what has been moved counts.
    CLOSE = 11


NONE, DESCRIPTOR, TEXT = 6, 7, 8
"""In place of the index of an argument: there is none; see `calls.DESCRIPTOR`; see `calls.TEXT`."""
PLAN = struct.Struct("=13B3x")
"""what; directory and text of the first path, and of the second; flags that may have AT_EMPTY_PATH; struct open_how;
the address, or the descriptor that is closed; whether pointers in memory have 4 bytes; the size of the arguments of
what socketcall stands for; NONE if it opens no file, else the flags, or DESCRIPTOR if they are no argument; `Flow`,
and the flags that it depends on."""
WHAT_AT, PLACES_AT, FLAGS_AT, HOW_AT, ADDRESS_AT, SHORT_AT, SIZE_AT, OPENS_AT, FLOW_AT, FLOW_FLAGS_AT = (
    0, 1, 5, 6, 7, 8, 9, 10, 11, 12,
)  # fmt: skip

PLAN_NOTE = NOTES + 48
"""In the scratch value, where the plan of the call is, counted from `PLANS_TABLE`."""

NUMBERS = 1024
"""Numbers from here on are not watched. Each array has so many; socketcall's has `SUBCALLS`."""
SUBCALLS = 32
EITHER_TABLE, NATIVE_TABLE, COMPAT_TABLE, SUBCALL_TABLE = (NUMBERS * table for table in range(4))
PLANS_TABLE = SUBCALL_TABLE + SUBCALLS
MOST_PLANS = 255  # Behind the first, which is none: an index is a byte.

_WHATS = {
    "sendto": What.SEND,
    "listen": What.LISTEN,
    "accept": What.ACCEPT,
    "accept4": What.ACCEPT,
    "sendmsg": What.MESSAGE,
    "sendmmsg": What.MESSAGES,
    "io_uring_setup": What.RING,
}
# What socketcall's true calls take out of memory (net/socket.c: nargs), in words of 4 bytes.
_WORDS = {"bind": 3, "connect": 3, "listen": 2, "accept": 3, "sendto": 6, "sendmsg": 3, "accept4": 4, "sendmmsg": 4}
LOST = {EventCategory.PROCESS: Lost.PROCESS, EventCategory.FILE: Lost.FILE, EventCategory.NETWORK: Lost.NETWORK}


def table(categories: Collection[EventCategory]) -> bytes:
    """Return the value of the ARRAY that the program reads: four arrays of indexes, and the plans; 0 is no plan."""
    indexes: dict[bytes, int] = {}
    tables = {at: bytearray(NUMBERS) for at in (EITHER_TABLE, NATIVE_TABLE, COMPAT_TABLE)}
    subcalls = bytearray(SUBCALLS)

    def index_of(plan: bytes) -> int:
        return indexes.setdefault(plan, len(indexes) + 1)

    for abi in syscalls.abis():
        arch, at = syscalls.AUDIT_ARCH[abi], COMPAT_TABLE if abi == syscalls.I386 else NATIVE_TABLE
        for name, number in syscalls.NUMBERS[abi].items():
            plan = _plan_for(name, calls.has_short_pointers(arch, number), categories)
            if plan is not None:
                tables[at][number & ~syscalls.X32_BIT] = index_of(plan)
    if EventCategory.NETWORK in categories:
        for number, call in calls.SUBCALLS.items():
            subcalls[number] = index_of(_plan_of(call, categories, short=True, size=4 * _WORDS[call.name]))
        for number, (_, flow, words) in flows.SUBCALLS.items():
            subcalls[number] = index_of(_plan(What.DATA, flow=flow, short=True, size=4 * words))
    tables[EITHER_TABLE][:] = bytes(
        bool(native or compat) for native, compat in zip(tables[NATIVE_TABLE], tables[COMPAT_TABLE], strict=True)
    )
    assert len(indexes) <= MOST_PLANS
    parts: list[bytes] = [
        *map(bytes, tables.values()),
        bytes(subcalls),
        bytes(PLAN.size),
        *indexes,
        bytes(PLAN.size * (MOST_PLANS - len(indexes))),
    ]
    return b"".join(parts)


def _plan_for(name: str, short: bool, categories: Collection[EventCategory]) -> bytes | None:  # noqa: FBT001
    """Return the plan of a call by its name, and whether pointers in memory have 4 bytes; None if it is not watched."""
    if name == calls.SOCKETCALL:
        return _plan(What.SOCKETCALL) if EventCategory.NETWORK in categories else None
    call = calls.CALLS.get(name)
    if call is not None and _is_wanted(call, categories):
        return _plan_of(call, categories, short=short)
    flow = flows.flow_of(name, categories)
    if flow[0] is not flows.Flow.NONE:
        return _plan(What.DATA, flow=flow, short=short)
    if name in flows.CLOSES and flows.FLOWS.keys() & set(categories):
        return _plan(What.CLOSE, address=flows.CLOSES[name])
    return None


def _is_wanted(call: calls.Call, categories: Collection[EventCategory]) -> bool:
    if call.kind is ObserverEventKind.UNOBSERVED:
        return any(category in categories for category in calls.BYPASSED)
    # Programs that are started are seen by other tracepoints.
    return call.kind is not ObserverEventKind.EXEC and category_of(call.kind) in categories


def _plan_of(call: calls.Call, categories: Collection[EventCategory], *, short: bool, size: int = 0) -> bytes:
    if call.paths:
        places = [NONE] * 4
        for index, (directory, text) in enumerate(call.paths):
            places[2 * index] = {calls.CWD: NONE, calls.TEXT: TEXT}.get(directory, directory)
            places[2 * index + 1] = DESCRIPTOR if text == calls.DESCRIPTOR else text
        # An open's flags have no AT_EMPTY_PATH.
        is_open = call.kind is ObserverEventKind.FILE_OPEN
        flags = NONE if call.flags is None or is_open else call.flags
        how = 2 if call.name == "openat2" else NONE
        opens = NONE if not is_open else DESCRIPTOR if call.flags is None else call.flags
        return _plan(What.PATHS, tuple(places), flags=flags, how=how, opens=opens)
    what = _WHATS.get(call.name, What.NAME)
    address = NONE if call.vector is None else call.vector
    return _plan(what, address=address, short=short, size=size, flow=flows.flow_of(call.name, categories))


def _plan(
    what: What,
    places: tuple[int, ...] = (NONE, NONE, NONE, NONE),
    *,
    flags: int = NONE,
    how: int = NONE,
    address: int = NONE,
    short: bool = False,
    size: int = 0,
    opens: int = NONE,
    flow: tuple[flows.Flow, int] = (flows.Flow.NONE, flows.NO_FLAGS),
) -> bytes:
    return PLAN.pack(what, *places, flags, how, address, short, size, opens, *flow)

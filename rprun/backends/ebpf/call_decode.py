"""Events of the records that the program at the end of calls makes: what the calls were about, and their results.

What a call was about is decoded as for calls that were seen before they were done (`rprun.backends.seccomp.decode`);
here the record is brought into that form, and the result takes the place of the attempt.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct
from errno import errorcode

from rprun.backends.ebpf import layout, plans
from rprun.backends.ebpf.open_files import Reached, closed_fields, peer_of
from rprun.backends.ebpf.walk import PATH_MAX, join_components
from rprun.backends.seccomp import calls, decode, record
from rprun.observe.fields import SharedFields
from rprun.observe.kinds import ObserverEventKind, category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.backends.ebpf.open_files import Opened, OpenFiles
    from rprun.backends.seccomp.decode import Event, Fields

_K = ObserverEventKind
_START = struct.Struct("=8x2IQq")  # Of a record: tgid, pid, time, result.
_start_of = _START.unpack_from
_WHAT = slice(plans.ARCH_AT, None)
_WHO = struct.Struct("=8x2IQ")  # tgid, pid, time.
_RESOLVE_IN_ROOT = 0x10  # include/uapi/linux/openat2.h
_MOST_KEPT = 2048
BACKEND = "ebpf"
_FILE_OPEN = _K.FILE_OPEN
# An accept is told of like the bind of an address: the peer's, which it has got.
_ACCEPTED = calls.CALLS["bind"]
_OF_SOCKETS = (_K.NET_ACCEPT, _K.NET_LISTEN)
_OF_ONE_SOCKET = (_K.NET_CONNECT, _K.NET_BIND, _K.NET_LISTEN, _K.NET_ACCEPT)


class CallDecoder:
    """Decodes the records of one run."""

    __slots__ = ("_files", "_opened", "_teach", "_with_rings")

    def __init__(
        self, files: OpenFiles, teach: Callable[[bytes, SharedFields, SharedFields | None], None] | None = None
    ) -> None:
        """Begin.

        Args:
            files: what is kept of what they open.
            teach: called with what has been opened before, and the fields of that and of its close if it has one.
        """
        self._files, self._teach = files, teach
        self._with_rings: set[int] = set()
        # The fields of what has been opened, and of its close if it has been: programs open the same files over and
        # over.
        self._opened: dict[bytes, tuple[SharedFields, SharedFields | None]] = {}

    def decode(self, data: bytes, offset: int) -> list[Event]:
        """Return the events of a CALL record: kind, process, time in nanoseconds since the epoch, fields; never raises.

        What has no event when it is an attempt has none here: a connect that only takes the peer away, a message that
        names nobody. A process's first io_uring is `unobserved` for files and network, with its `category`; and a
        record that makes no sense is `lost`.

        Args:
            data: the record.
            offset: from `rprun.linux.timer.since_epoch`; another one when the clock has been set.
        """
        what = data[_WHAT]
        both = self._opened.get(what)
        try:
            tgid, pid, time_ns, result = _start_of(data)
            if both is None:
                events = self._decode(data, tgid, pid, time_ns + offset, result)
                if not events or events[0][0] is not _K.FILE_OPEN:
                    return events
                found = events[0][3]
                if len(self._opened) >= _MOST_KEPT:
                    self._opened.clear()
                both = SharedFields(found), closed_fields(found["path"]) if result >= 0 else None
                self._opened[what] = both
                # What fails once often does not come again.
                is_due = result >= 0
            else:
                is_due = True
            if is_due and self._teach is not None:
                self._teach(what, *both)
            fields, closed = both
            if closed is not None:
                self._files.opened(tgid, pid, result, closed, time_ns)
        except Exception:  # noqa: BLE001 - what a process has written must not end the run
            return self._lost(data, offset)
        return [(_FILE_OPEN, pid, time_ns + offset, fields)]

    def found(self, data: bytes, offset: int) -> None:
        """Take note of a FOUND record; never raises. Arguments are those of `decode`."""
        try:
            tgid, pid, time_ns, result = _START.unpack_from(data)
            *_, marks, protocol, domain, type_, _, _ = plans.CALL.unpack_from(data, layout.HEADER_SIZE)
            blobs = record.blobs(data, plans.BLOBS_AT)
            if not domain:
                opened: Opened = closed_fields(join_components(blobs[0]))
            else:
                seen = record.Record()
                seen.tid = seen.tgid = pid
                seen.time_ns, seen.blobs = time_ns + offset, [b"", blobs[0]]
                seen.marks = record.WHOLE if marks & plans.SOCKET_READ else 0
                seen.first, seen.second = protocol, domain << 32 | type_
                opened = peer_of(decode.events_of(_ACCEPTED, seen)[0][3])
                if opened.get("port") == 0:
                    # That of a socket that has no peer.
                    opened["address"] = opened["port"] = None
                elif opened.get("port") is not None:
                    opened = Reached(opened)
            self._files.opened(tgid, pid, result & 0xFFFFFFFF, opened, time_ns)
        except Exception:  # noqa: BLE001, S110 - as if there had been no room for it
            pass

    def closed(self, data: bytes, offset: int) -> list[Event]:
        """Return the events of a CLOSED record, as `decode` does."""
        try:
            return self._files.closed(data, offset)
        except struct.error:
            return []

    def ended(self, data: bytes, offset: int) -> list[Event]:
        """Return the events of what a process has not closed itself, by the record of its end, and forget it."""
        tgid, pid, time_ns = _WHO.unpack_from(data)
        self._with_rings.discard(pid)
        return self._files.ended(tgid, time_ns + offset)

    def _decode(self, data: bytes, tgid: int, pid: int, time_ns: int, result: int) -> list[Event]:
        seen = record.Record()
        _, *registers, seen.arch, seen.number, marks, protocol, domain, type_, how_flags, resolve = (
            plans.CALL.unpack_from(data, layout.HEADER_SIZE)
        )
        call = calls.find(seen.arch, seen.number, marks >> plans.SUBCALL_SHIFT)
        if call is None:
            return []  # As with x32's bit and a number that has no such call: nothing was done.
        seen.arguments = tuple(registers)
        seen.tid = seen.tgid = pid
        seen.time_ns = time_ns
        blobs = record.blobs(data, plans.BLOBS_AT)
        if call.kind is _K.UNOBSERVED:
            return self._ring(call, seen)
        if call.paths:
            whole, seen.first, seen.second = bool(marks & plans.HOW_READ), 0, how_flags
            seen.blobs = _places(call, blobs, rooted=bool(resolve & _RESOLVE_IN_ROOT))
        else:
            whole, seen.first, seen.second = bool(marks & plans.SOCKET_READ), protocol, domain << 32 | type_
            # The directory comes last here. That of a bound name, of which accept and listen tell, is not known.
            base = b"" if call.kind in _OF_SOCKETS else join_components(blobs[-1])
            seen.blobs = [base, *blobs[:-1]]
        seen.marks = record.WHOLE if whole else 0
        outcome = _outcome(result)
        if call.kind is not _K.NET_ACCEPT:
            events = decode.events_of(call, seen)
        else:
            events = [(_K.NET_ACCEPT, by, at, fields) for _, by, at, fields in decode.events_of(_ACCEPTED, seen)]
        for _, _, _, fields in events:
            del fields["attempt"]
            fields["result"] = outcome
        # An accept that has failed says nothing of the socket that listens.
        if events and domain and call.kind in _OF_ONE_SOCKET and (call.kind is not _K.NET_ACCEPT or result >= 0):
            descriptor = result if call.kind is _K.NET_ACCEPT else registers[0]
            at_ns = layout.HEADER.unpack_from(data)[4]
            self._files.used(tgid, pid, descriptor & 0xFFFFFFFF, call.kind, events[0][3], at_ns)
        return events

    def _ring(self, call: calls.Call, seen: record.Record) -> list[Event]:
        seen.marks = record.WHOLE if seen.tgid not in self._with_rings else 0
        self._with_rings.add(seen.tgid)
        events = decode.events_of(call, seen)
        for _, _, _, fields in events:
            fields["backend"] = BACKEND
        return events

    def _lost(self, data: bytes, offset: int) -> list[Event]:
        try:
            _, pid, time_ns, _ = _START.unpack_from(data)
            *_, arch, number, marks, _, _, _, _, _ = plans.CALL.unpack_from(data, layout.HEADER_SIZE)
        except struct.error:
            return []
        call = calls.find(arch, number, marks >> plans.SUBCALL_SHIFT)
        fields: Fields = {"category": category_of(call.kind) if call else None, "count": 1}
        return [(_K.LOST, pid, time_ns + offset, fields)] if fields["category"] else []


def _outcome(result: int) -> str:
    """Return "ok" or the name of the errno of a call's result."""
    return "ok" if result >= 0 else errorcode.get(-result) or f"E{-result}"


def _places(call: calls.Call, blobs: list[bytes | None], *, rooted: bool) -> list[bytes | None]:
    """Return for each path the directory that it is relative to, b"" where it is not, and the path.

    Args:
        call: the call.
        blobs: for each path the text and the names of a directory.
        rooted: whether also an absolute path begins at the directory (RESOLVE_IN_ROOT).
    """
    found: list[bytes | None] = []
    for (directory, _), text, names in zip(call.paths, blobs[::2], blobs[1::2], strict=True):
        if text is None or len(text) >= PATH_MAX:
            found += (b"", None)
        elif directory == calls.TEXT or (text[:1] == b"/" and not rooted):
            found += (b"", text)
        elif not text:
            # The directory itself, or the file of a descriptor.
            found += (b"", join_components(names))
        else:
            found += (join_components(names), text.lstrip(b"/") or b"." if rooted else text)
    return found

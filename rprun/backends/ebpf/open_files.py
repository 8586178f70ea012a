"""What processes have open, and the events of the end of that: file-write, file-close and net-close.

The programs in the kernel count; here is kept what the counted bytes have gone to. An event is of one process and one
descriptor, and comes when the process closes that, or ends.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct

from rprun.backends.ebpf import layout
from rprun.backends.ebpf.layout import Lost
from rprun.observe.fields import SharedFields
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from rprun.backends.seccomp.decode import Event, Fields

    # What a file-close says, or the first fields of a net-close.
    Opened: TypeAlias = SharedFields | Fields

_K = ObserverEventKind
_OF_SOCKET: Fields = {"family": None, "protocol": None, "address": None, "port": None}


def closed_fields(path: object) -> SharedFields:
    """Return what the file-close of a path says."""
    return SharedFields({"path": path, "result": "ok"})


_OF_FILE = closed_fields(None)


class OpenFiles:
    """What the descriptors of the processes of one tree are. A process is its tgid, as in records."""

    __slots__ = ("_processes", "_take")

    def __init__(self, take: Callable[[bytes], bytes | None]) -> None:
        """Know of nothing yet.

        Args:
            take: `Maps.take_descriptor`.
        """
        self._take = take
        # With each process its number in rprun's own pid namespace, what it has open, and of the last CLOSED record of
        # each descriptor since when that was open.
        # With each descriptor when that was learned, by the clock of records.
        self._processes: dict[int, tuple[int, dict[int, tuple[Opened, int]], dict[int, int]]] = {}

    def opened(self, process: int, pid: int, descriptor: int, opened: Opened, at_ns: int) -> None:
        """A process has opened something, or a descriptor of it has been found: by a record with this time."""
        known = self._processes.get(process)
        if known is None:
            known = self._processes[process] = (pid, {}, {})
        known[1][descriptor] = opened, at_ns

    def used(
        self, process: int, pid: int, descriptor: int, kind: ObserverEventKind, fields: Fields, at_ns: int
    ) -> None:
        """A process has made a call with a socket, of which there is an event of this kind and with these fields."""
        _, known, _ = self._processes.get(process, (pid, {}, {}))
        before, _ = known.get(descriptor, (_OF_FILE, 0))
        # The address that is bound may be the least that is known: one with port 0, before listen or connect.
        if kind is not _K.NET_BIND or isinstance(before, SharedFields):
            self.opened(process, pid, descriptor, peer_of(fields), at_ns)

    def closed(self, data: bytes, offset: int) -> list[Event]:
        """Return the events of a CLOSED record, of which the offset is what its time lacks of that since the epoch."""
        process, pid, time_ns, descriptor, sent, received, category, since_ns = _CLOSED.unpack_from(data)
        known = self._processes.get(process)
        if known is None:
            known = self._processes[process] = (pid, {}, {})
        _, opened, over = known
        if since_ns <= over.get(descriptor, 0):
            return []
        over[descriptor] = since_ns
        what = opened.pop(descriptor, None)
        if not sent and what is not None and what[1] >= since_ns and type(what[0]) is SharedFields:
            return [(_K.FILE_CLOSE, pid, time_ns + offset, what[0])]
        return _events(what, pid, time_ns + offset, (sent, received, category, since_ns))

    def ended(self, process: int, time_ns: int) -> list[Event]:
        """Return the events of what a process that has ended has not closed itself, and forget it."""
        events: list[Event] = []
        pid, known, _ = self._processes.pop(process, (0, {}, {}))
        for descriptor, opened in known.items():
            counted = self._take(layout.KEY.pack(process, descriptor))
            if counted is not None:
                events += _events(opened, pid, time_ns, layout.VALUE.unpack(counted)[1:])
        return events

    def left_open(self, time_ns: int) -> list[Event]:
        """Return what has been written to files that are open still, once nothing is counted any more."""
        ended = [event for process in list(self._processes) for event in self.ended(process, time_ns)]
        return [event for event in ended if event[0] is _K.FILE_WRITE]


def peer_of(fields: Fields) -> Fields:
    """Return of the fields of a socket's event those that its net-close has too."""
    names = ("family", "protocol", "path") if "path" in fields else ("family", "protocol", "address", "port")
    return {name: fields[name] for name in names}


_CLOSED = struct.Struct("=8x2IQ5Q")  # Of a record: tgid, pid, time, and `layout.CLOSED`.


def _events(known: tuple[Opened, int] | None, pid: int, time_ns: int, counted: tuple[int, ...]) -> list[Event]:
    """Return the events of the end of a descriptor, with the members of `layout.VALUE` behind the first."""
    sent, received, category, since_ns = counted
    if known is not None and known[1] >= since_ns:
        opened, _ = known
    else:
        # The record found no room. What cannot be known is null.
        opened = _OF_SOCKET if category == Lost.NETWORK else _OF_FILE
    if not isinstance(opened, SharedFields):
        fields = {**opened, "bytes_sent": sent, "bytes_received": received, "result": "ok"}
        return [(_K.NET_CLOSE, pid, time_ns, fields)]
    closed: Event = (_K.FILE_CLOSE, pid, time_ns, opened)
    if not sent:
        return [closed]
    return [(_K.FILE_WRITE, pid, time_ns, {"path": opened["path"], "byte_count": sent, "result": "ok"}), closed]

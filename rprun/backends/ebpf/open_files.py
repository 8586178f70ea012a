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
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from rprun.backends.seccomp.decode import Event, Fields

    # What a file-close says, or the first fields of a net-close.
    Opened: TypeAlias = SharedFields | Fields
    _Known: TypeAlias = tuple[Opened, int, int]

_K = ObserverEventKind
_MOST_BEFORE = 8
# With a connection that is interrupted, or not waited for, the kernel goes on.
_COMES_TO_SOMETHING = ("ok", "EINPROGRESS", "EINTR")
_OF_SOCKET: Fields = {"family": None, "protocol": None, "address": None, "port": None}


def closed_fields(path: object) -> SharedFields:
    """Return what the file-close of a path says."""
    return SharedFields({"path": path, "result": "ok"})


_OF_FILE = closed_fields(None)


class Reached(dict[str, object]):
    """The peer that a socket has got, or the name that it listens at: what a call that fails leaves as it is."""


class _Process:
    """What is known of a process.

    Attributes:
        pid: its number in rprun's own pid namespace.
        open: by descriptor what it is, when that was learned, and when the first was learned of this file; by the clock
            of records.
        before: the same of files that had the number before, whose CLOSED records are still to come.
        over: of each descriptor's last CLOSED record since when that was open.
    """

    __slots__ = ("before", "open", "over", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.open: dict[int, _Known] = {}
        self.before: dict[int, list[_Known]] = {}
        self.over: dict[int, int] = {}

    def put_aside(self, descriptor: int, known: _Known) -> None:
        """Another file has got the number; that the one before is over is yet to be told, by another thread."""
        before = self.before.setdefault(descriptor, [])
        before.append(known)
        del before[:-_MOST_BEFORE]

    def take_before(self, descriptor: int, since_ns: int) -> _Known | None:
        """Return what is known of a file that had the number before, since then, and forget it."""
        for known in reversed(self.before.get(descriptor, ())):
            if known[2] <= since_ns:
                self.before[descriptor].remove(known)
                return known
        return None


class OpenFiles:
    """What the descriptors of the processes of one tree are. A process is its tgid, as in records."""

    __slots__ = ("_forget", "_look_up", "_over", "_processes")

    def __init__(self, look_up: Callable[[bytes], bytes | None], forget: Callable[[Sequence[bytes]], None]) -> None:
        """Know of nothing yet.

        Args:
            look_up: `Maps.descriptors.lookup`.
            forget: `Maps.descriptors.delete_all`.
        """
        self._look_up, self._forget = look_up, forget
        self._over: list[bytes] = []
        self._processes: dict[int, _Process] = {}

    def opened(self, process: int, pid: int, descriptor: int, opened: Opened, at_ns: int) -> None:
        """A process has opened something, or a descriptor of it has been found: by a record with this time."""
        known = self._process(process, pid)
        if descriptor in known.open:
            known.put_aside(descriptor, known.open[descriptor])
        known.open[descriptor] = opened, at_ns, at_ns

    def used(
        self, process: int, pid: int, descriptor: int, kind: ObserverEventKind, fields: Fields, at_ns: int
    ) -> None:
        """A process has made a call with a socket, of which there is an event of this kind and with these fields."""
        known = self._processes.get(process)
        before = known.open.get(descriptor) if known is not None else None
        if known is None or before is None or kind is _K.NET_ACCEPT:
            self.opened(process, pid, descriptor, _named(kind, fields), at_ns)
            return
        named = _named(kind, fields)
        if isinstance(before[0], Reached) and not isinstance(named, Reached):
            return
        # The address that is bound may be the least that is known: one with port 0, before listen or connect.
        if kind is not _K.NET_BIND or isinstance(before[0], SharedFields):
            known.open[descriptor] = named, at_ns, before[2]

    def closed(self, data: bytes, offset: int) -> list[Event]:
        """Return the events of a CLOSED record, of which the offset is what its time lacks of that since the epoch."""
        process, pid, time_ns, descriptor, sent, received, category, since_ns = parts_of_closed(data)
        known = self._process(process, pid)
        if since_ns == known.over.get(descriptor):
            return []
        known.over[descriptor] = since_ns
        what = known.open.pop(descriptor, None)
        if what is None or what[2] > since_ns:
            if what is not None:
                known.open[descriptor] = what
            what = known.take_before(descriptor, since_ns)
        if not sent and what is not None and what[1] >= since_ns and type(what[0]) is SharedFields:
            return [(_FILE_CLOSE, pid, time_ns + offset, what[0])]
        return _events(what, pid, time_ns + offset, (sent, received, category, since_ns))

    def ended(self, process: int, time_ns: int) -> list[Event]:
        """Return the events of what a process that has ended has not closed itself, and forget it."""
        events: list[Event] = []
        known = self._processes.pop(process, None)
        if known is None:
            return []
        for descriptor, opened in sorted(known.open.items(), key=_since):
            value = self._look_up(layout.KEY.pack(process, descriptor))
            if value is not None:
                _, *counted, since_ns = layout.VALUE.unpack(value)
                if since_ns > layout.CLAIMED:
                    events += _events(opened, known.pid, time_ns, (*counted, since_ns))
        self._over += [layout.KEY.pack(process, descriptor) for descriptor in known.open.keys() | known.over.keys()]
        return events

    def _process(self, process: int, pid: int) -> _Process:
        """Return what is known of a process, from now on if nothing was."""
        known = self._processes.get(process)
        if known is None:
            known = self._processes[process] = _Process(pid)
        return known

    def forget_ended(self) -> None:
        """Have nothing kept any more of processes that have ended; to be called now and then, as it takes a while."""
        over, self._over = self._over, []
        if over:
            self._forget(over)

    def left_open(self, time_ns: int) -> list[Event]:
        """Return what has been written to files that are open still, once nothing is counted any more."""
        ended = [event for process in sorted(self._processes) for event in self.ended(process, time_ns)]
        return [event for event in ended if event[0] is _K.FILE_WRITE]


def peer_of(fields: Fields) -> Fields:
    """Return of the fields of a socket's event those that its net-close has too."""
    names = ("family", "protocol", "path") if "path" in fields else ("family", "protocol", "address", "port")
    return {name: fields[name] for name in names}


def _named(kind: ObserverEventKind, fields: Fields) -> Fields:
    peer = peer_of(fields)
    if fields["result"] == "EISCONN":
        # It has another one, or listens.
        peer |= {name: None for name in ("path", "address", "port") if name in peer}
    return Reached(peer) if kind is not _K.NET_BIND and fields["result"] in _COMES_TO_SOMETHING else peer


parts_of_closed = struct.Struct("=8x2IQ5Q").unpack_from  # Of a CLOSED record: tgid, pid, time, and `layout.CLOSED`.
_FILE_CLOSE = _K.FILE_CLOSE


def _since(item: tuple[int, _Known]) -> int:
    return item[1][2]


def _events(known: _Known | None, pid: int, time_ns: int, counted: tuple[int, ...]) -> list[Event]:
    """Return the events of the end of a descriptor, with the members of `layout.VALUE` behind the first."""
    sent, received, category, since_ns = counted
    if known is not None and known[1] >= since_ns:
        opened = known[0]
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

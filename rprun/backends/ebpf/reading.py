"""The records of one tree of processes as events.

Imported only when programs are being loaded: the kernel takes a while for it.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from time import time_ns

from rprun.backends.ebpf import layout
from rprun.backends.ebpf.call_decode import CallDecoder
from rprun.backends.ebpf.layout import Kind
from rprun.backends.ebpf.open_files import OpenFiles
from rprun.backends.ebpf.process_decode import ProcessDecoder
from rprun.backends.ebpf.usual_files import UsualFiles
from rprun.linux.timer import since_epoch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.maps import Maps
    from rprun.backends.seccomp.decode import Event
    from rprun.observe.batch import Batch

_CALL, _FOUND, _CLOSED, _FORK, _EXIT = map(int, (Kind.CALL, Kind.FOUND, Kind.CLOSED, Kind.FORK, Kind.EXIT))


class Reader:
    """Reads the records of a tree, and knows of it what they say."""

    def __init__(self, maps: Maps, *, tells_processes: bool) -> None:
        """Know of nothing yet.

        Args:
            maps: where the records are, and what is kept of descriptors.
            tells_processes: whether its processes are told of. They are followed for whatever is observed, but another
                backend may be the one that tells of them.
        """
        self._ring = maps.ring
        self._tells_processes = tells_processes
        look_up, forget = maps.descriptors.lookup, maps.descriptors.delete_all
        self._files: OpenFiles
        self._usual: UsualFiles | None = None
        try:
            self._files = self._usual = UsualFiles(look_up, forget, maps.ring)
        except OSError:
            # There is no machine code here.
            self._files = OpenFiles(look_up, forget)
        self._processes = ProcessDecoder()
        self._calls = CallDecoder(self._files, None if self._usual is None else self._usual.teach)

    def take(self, limit: int) -> tuple[list[Event | Batch], int]:
        """Return the events of the oldest records, of so many at most, and how many records those were."""
        events: list[Event | Batch] = []
        offset = since_epoch()
        if self._usual is None:
            records = self._ring.take(limit)
            self._decode(records, offset, events)
            taken = len(records)
        else:
            taken = self._take_usual(self._usual, limit, offset, events)
        self._files.forget_ended()
        return events, taken

    def _take_usual(self, usual: UsualFiles, limit: int, offset: int, events: list[Event | Batch]) -> int:
        """Have the usual records taken by machine code, and decode what is between them; return what `take` does."""
        left = limit
        while left:
            batch, taken = usual.take(left, offset)
            left -= taken
            if batch is not None:
                events.append(batch)
            if usual.others and left:
                records = self._ring.take(min(usual.others, left))
                self._decode(records, offset, events)
                taken += len(records)
                left -= len(records)
            if not taken:
                break
        return limit - left

    def _decode(self, records: list[bytes], offset: int, events: list[Event | Batch]) -> None:
        """Add the events of records."""
        decode, closed = self._calls.decode, self._calls.closed
        for record in records:
            kind = record[layout.KIND_AT]  # Both machines are little-endian.
            if kind == _CALL:
                events += decode(record, offset)
            elif kind == _CLOSED:
                events += closed(record, offset)
            elif kind == _FOUND:
                self._calls.found(record, offset)
            else:
                found = self._processes.decode(record, offset)
                if self._tells_processes:
                    events += found
                if kind == _FORK and self._usual is not None:
                    self._usual.forked(record)
                elif kind == _EXIT:
                    events += self._calls.ended(record, offset)

    def take_left(self) -> list[Event]:
        """Return the events of what is left once the programs are detached and all records have been taken."""
        return self._files.left_open(time_ns())

"""A bounded queue of events that counts what it had no room for and says so in `lost` records.

An event that finds no room has used up its `seq`. The `lost` record that accounts for it takes the `seq`, the pid and
the time of the last event of its category that was dropped. So the `seq` a consumer sees rises strictly, and what is
missing from it is exactly what the `lost` records count. There is one record for each category, and it comes where the
gap is: before the next event that found room, or at the end.
"""

from __future__ import annotations

from collections import deque

from rprun.observe.events import ObserverEvent
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.observe.categories import EventCategory


class Backlog:
    """Events on their way to one consumer. Not thread-safe: its owner has the lock, or the only thread."""

    __slots__ = ("_dropped", "_events", "_limit", "_size", "_size_limit")

    def __init__(self, limit: int, size_limit: int | None = None) -> None:
        """Makes room for `limit` events, and for `size_limit` of whatever unit `put` is given sizes in.

        Beyond the limit there is room for one `lost` record of each category. An event larger than the size limit is
        let in where nothing else waits: it could never come otherwise.
        """
        self._events: deque[tuple[ObserverEvent, int]] = deque()
        self._dropped: dict[EventCategory, ObserverEvent] = {}
        self._limit = limit
        self._size = 0
        self._size_limit = size_limit

    def __len__(self) -> int:
        """Gives the number of records that `pop` would give, `lost` ones included."""
        return len(self._events) + len(self._dropped)

    def put(self, event: ObserverEvent, size: int = 0) -> None:
        """Takes an event in, or counts it as lost."""
        if not self._has_room(size):
            self._drop(event)
            return
        self._settle()
        self._events.append((event, size))
        self._size += size

    def pop(self) -> ObserverEvent | None:
        """Gives the next record; None if there is none now."""
        if not self._events:
            self._settle()
        if not self._events:
            return None
        event, size = self._events.popleft()
        self._size -= size
        return event

    def clear(self) -> None:
        """Forgets everything that waits."""
        self._events.clear()
        self._dropped.clear()
        self._size = 0

    def _has_room(self, size: int) -> bool:
        if len(self._events) >= self._limit:
            return False
        return self._size_limit is None or not self._events or self._size + size <= self._size_limit

    def _drop(self, event: ObserverEvent) -> None:
        before = self._dropped.get(event.category)
        count = represents(event) + (represents(before) if before is not None else 0)
        self._dropped[event.category] = ObserverEvent(
            event.category, ObserverEventKind.LOST, event.pid, event.timestamp_ms, event.seq, count=count
        )

    def _settle(self) -> None:
        """Puts the `lost` records where the gap is, in the order of their `seq`."""
        if self._dropped:
            self._events.extend((record, 0) for record in sorted(self._dropped.values(), key=_seq))
            self._dropped.clear()


def represents(event: ObserverEvent) -> int:
    """Gives the number of events that a record stands for: a `lost` one for all it counts."""
    return int(event.count) if event.kind is ObserverEventKind.LOST else 1


def _seq(event: ObserverEvent) -> int:
    return event.seq

"""Bounded queues of events that count what they had no room for and say so in `lost` records.

An event that finds no room has used up its `seq`. The `lost` record that accounts for it takes the `seq`, the pid and
the time of the last event of its category that was dropped. So the `seq` a consumer sees rises strictly, and what is
missing from it is exactly what the `lost` records count. There is one record for each category, and it comes where the
gap is: before the next event that found room, or at the end.

Not thread-safe: the owner of a queue has the lock, or the only thread.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from rprun.observe.batch import Batch, count, flat
from rprun.observe.events import ObserverEvent, made
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rprun.observe.categories import EventCategory
    from rprun.observe.events import Parts


class Backlog:
    """Events on their way to one consumer."""

    __slots__ = ("_events", "_gap", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        """Makes room for `limit` events, and beyond them for one `lost` record of each category."""
        self._events: deque[ObserverEvent | Parts | Batch] = deque()
        self._size = 0  # Of those, each of a batch counted.
        self._gap = _Gap()
        self._limit = limit

    def __len__(self) -> int:
        """Gives the number of records that `pop` would give, `lost` ones included."""
        return self._size + len(self._gap)

    def put(self, event: ObserverEvent) -> None:
        """Takes an event in, or counts it as lost."""
        if self._size >= self._limit:
            self._gap.add(event)
            return
        self._settle()
        self._events.append(event)
        self._size += 1

    def put_all(self, events: Sequence[ObserverEvent | Parts | Batch]) -> None:
        """Takes in what there is room for, and counts the rest as lost. Of parts an event is made when it is given."""
        size = count(events)
        if not self._gap and size <= self._limit - self._size:
            self._events.extend(events)
            self._size += size
            return
        for event in flat(events):
            self.put(made(event))

    def pop(self) -> ObserverEvent | None:
        """Gives the next record; None if there is none now."""
        if not self._events:
            self._settle()
        if not self._events:
            return None
        self._size -= 1
        event = self._events.popleft()
        if isinstance(event, Batch):
            event, *others = event.parts()
            self._events.extendleft(reversed(others))
        return made(event)

    def pop_all(self) -> list[ObserverEvent]:
        """Gives every record that waits."""
        return list(map(made, flat(self.take_all())))

    def take_all(self) -> list[ObserverEvent | Parts | Batch]:
        """Gives every record that waits as it is here, for who needs no more of some than a line."""
        self._settle()
        events = list(self._events)
        self._events.clear()
        self._size = 0
        return events

    def clear(self) -> None:
        """Forgets everything that waits."""
        self._events.clear()
        self._size = 0
        self._gap.take()

    def _settle(self) -> None:
        if self._gap:
            lost = self._gap.take()
            self._events.extend(lost)
            self._size += len(lost)


class LineBacklog:
    """Lines on their way to one destination, each of an event."""

    __slots__ = ("_encode", "_gap", "_limit", "_lines", "_size", "_size_limit")

    def __init__(self, limit: int, size_limit: int, encode: Callable[[ObserverEvent], bytes]) -> None:
        """Makes room for `limit` lines of `size_limit` bytes together, and for one `lost` record of each category.

        A line longer than the size limit is let in where nothing else waits: it could never come otherwise.

        Args:
            limit: how many lines may wait.
            size_limit: how many bytes they may have.
            encode: gives the line of a `lost` record.
        """
        self._lines: deque[tuple[bytes, int, int]] = deque()  # The line, the room it takes up, the events it is for.
        self._gap = _Gap()
        self._limit = limit
        self._size = 0
        self._size_limit = size_limit
        self._encode = encode

    def __len__(self) -> int:
        """Gives the number of lines that wait, those of `lost` records included."""
        return len(self._lines) + len(self._gap)

    def has_room(self, line: bytes) -> bool:
        """Says whether `put` would take this line in now."""
        if len(self._lines) >= self._limit:
            return False
        return not self._lines or self._size + len(line) <= self._size_limit

    def put(self, event: ObserverEvent, line: bytes) -> None:
        """Takes in the line of an event, or counts the event as lost."""
        if not self.has_room(line):
            self._gap.add(event)
            return
        self._settle()
        self._lines.append((line, len(line), represents(event)))
        self._size += len(line)

    def first(self, count: int) -> list[bytes]:
        """Gives so many of the next lines, or all if there are less; they stay until `remove`."""
        if not self._lines:
            self._settle()
        return [line for line, _, _ in islice(self._lines, count)]

    def remove(self, count: int) -> None:
        """Forgets so many of the next lines: they are written."""
        for _ in range(count):
            self._size -= self._lines.popleft()[1]

    def clear(self) -> int:
        """Forgets everything that waits, and gives the number of events that it was for."""
        self._settle()
        events = sum(count for _, _, count in self._lines)
        self._lines.clear()
        self._size = 0
        return events

    def _settle(self) -> None:
        if self._gap:
            self._lines.extend((self._encode(record), 0, represents(record)) for record in self._gap.take())


class _Gap:
    """What found no room since the last event that did: by category the last event, and how many there were."""

    __slots__ = ("_dropped",)

    def __init__(self) -> None:
        self._dropped: dict[EventCategory, tuple[ObserverEvent, int]] = {}

    def __len__(self) -> int:
        return len(self._dropped)

    def add(self, event: ObserverEvent) -> None:
        before = self._dropped.get(event.category)
        self._dropped[event.category] = (event, represents(event) + (before[1] if before else 0))

    def take(self) -> list[ObserverEvent]:
        """Gives the `lost` records in the order of their `seq`, and starts anew."""
        records = [
            ObserverEvent(category, ObserverEventKind.LOST, last.pid, last.timestamp_ms, last.seq, count=count)
            for category, (last, count) in self._dropped.items()
        ]
        self._dropped.clear()
        return sorted(records, key=_seq)


def represents(event: ObserverEvent) -> int:
    """Gives the number of events that a record stands for: a `lost` one for all it counts."""
    return int(event.count) if event.kind is ObserverEventKind.LOST else 1


def _seq(event: ObserverEvent) -> int:
    return event.seq

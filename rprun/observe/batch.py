"""Events that come by thousands and differ in a few numbers: kept as these until somebody wants to look at them.

A batch goes the way of events, and counts as many. Who writes lines takes it as it is; for anybody else, and wherever
not all of it finds room, it is taken apart (`flat`).
"""

from __future__ import annotations

from rprun.observe.kinds import category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Self

    from rprun.observe.categories import EventCategory
    from rprun.observe.events import ObserverEvent, Parts
    from rprun.observe.kinds import ObserverEventKind


class Batch:
    """At least one event of one category.

    Attributes:
        category: that of all.
        first: the seq of the first one, once it has been emitted; those of the others follow.
    """

    __slots__ = ("category", "first")

    def __init__(self, category: EventCategory) -> None:
        self.category = category
        self.first = 0

    def __len__(self) -> int:
        """Gives the number of events."""
        raise NotImplementedError

    def events(self) -> list[tuple[ObserverEventKind, int, int, dict[str, Any]]]:
        """Gives what `Emitter.emit_all` takes of each."""
        raise NotImplementedError

    def lines(self) -> bytes:
        """Gives what `json_lines` gives of the parts, with newlines between the lines."""
        raise NotImplementedError

    def numbered(self, first: int) -> Self:
        """Gives it its numbers, from the first on."""
        self.first = first
        return self

    def parts(self) -> list[ObserverEvent | Parts]:
        """Gives each by itself."""
        return [
            (category_of(kind) or self.category, kind, pid, at_ns // 1_000_000, seq, fields)
            for seq, (kind, pid, at_ns, fields) in enumerate(self.events(), self.first)
        ]


def singly(
    events: Iterable[tuple[ObserverEventKind, int, int, dict[str, Any]] | Batch],
) -> list[tuple[ObserverEventKind, int, int, dict[str, Any]]]:
    """Gives what `Emitter.emit_all` takes without batches: the events of them in their place."""
    found: list[tuple[ObserverEventKind, int, int, dict[str, Any]]] = []
    for event in events:
        if isinstance(event, Batch):
            found += event.events()
        else:
            found.append(event)
    return found


def flat(events: Iterable[ObserverEvent | Parts | Batch]) -> list[ObserverEvent | Parts]:
    """Gives events without batches: those of them in their place."""
    found: list[ObserverEvent | Parts] = []
    for event in events:
        if isinstance(event, Batch):
            found += event.parts()
        else:
            found.append(event)
    return found


def count(events: Sequence[ObserverEvent | Parts | Batch]) -> int:
    """Gives the number of events, those in batches included."""
    return len(events) + sum([len(event) - 1 for event in events if isinstance(event, Batch)])

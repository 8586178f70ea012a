"""The one place where events get their number, and from which every consumer gets its copy.

An emitter never waits for a consumer: each has a bounded queue of its own, and what finds no room there is counted.
"""

from __future__ import annotations

import threading

from rprun.observe.batch import Batch, singly
from rprun.observe.capabilities import ObserverCapabilities
from rprun.observe.categories import CapabilitySupport, EventCategory
from rprun.observe.events import ObserverEvent, in_order, now_ms
from rprun.observe.fields import SharedFields
from rprun.observe.kinds import ObserverEventKind, category_of
from rprun.observe.subscriber import ObserverSubscriber

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from rprun.observe.capabilities import CategoryCapability
    from rprun.observe.config import ObserverConfig
    from rprun.observe.events import Parts

BOUND = 4096


class Emitter:
    """Emits the events of one run; from any thread, but not from a signal handler (the lock may be held already)."""

    def __init__(
        self, config: ObserverConfig, bound: int = BOUND, capabilities: ObserverCapabilities | None = None
    ) -> None:
        """Makes the emitter of one run.

        Args:
            config: what was asked for; nothing else is emitted.
            bound: how many events may wait for each consumer.
            capabilities: what can be seen; negotiated with the config's backends if not given.

        Raises:
            UsageError: the config names a backend that does not exist.
        """
        self.on_warning: Callable[[str], None] | None = None
        self._lock = threading.Lock()
        self._bound = bound
        self._seq = 0
        self._closed = False
        self._subscribers: list[ObserverSubscriber] = []
        if capabilities is None and config.backends():
            capabilities = ObserverCapabilities.negotiate(config.backends())
        row_of = ObserverCapabilities.negotiate_row if capabilities is None else capabilities.category
        asked = [row_of(category) for category in config.categories()]
        self._asked = frozenset(config.categories())
        self._own = {kind: about for kind in ObserverEventKind if (about := category_of(kind)) in self._asked}
        self._rows = [row for row in asked if row.support is not CapabilitySupport.UNAVAILABLE]
        # Said once, with the first event, because a record has a pid and only then there is one.
        self._unobserved = [row for row in asked if row.support is CapabilitySupport.UNAVAILABLE]

    def emit(
        self,
        kind: ObserverEventKind | str,
        pid: int,
        category: EventCategory | str | None = None,
        timestamp_ms: int | None = None,
        **fields: object,
    ) -> None:
        """Emits one event to every subscriber; what was not asked for, or comes after `close`, goes nowhere.

        The run's first call is that of `started`. Behind it, asked for or not, come the `unobserved` records of the
        categories that were asked for and cannot be seen, with the same pid.

        Args:
            kind: what happened.
            pid: the process it happened to.
            category: the category of a `lost` or `unobserved` record; every other kind has its own.
            timestamp_ms: when it happened, in milliseconds since the Unix epoch; None for now. The order of events,
                and so `seq`, is that of these calls, whatever their times are.
            fields: the fields of the kind; `from` is given as `**{"from": path}`.

        Raises:
            ValueError, TypeError: the fields are not those of the kind.
        """
        kind = ObserverEventKind(kind)
        about = category_of(kind) or EventCategory(category or "")
        if about not in self._asked and not self._unobserved:
            return
        with self._lock:
            if about in self._asked:
                self._emit(about, kind, pid, timestamp_ms, fields)
            unobserved, self._unobserved = self._unobserved, []
            for row in unobserved:
                said: dict[str, object] = {"backend": row.backend, "reason": row.reason}
                self._emit(row.category, ObserverEventKind.UNOBSERVED, pid, timestamp_ms, said)

    def emit_all(self, events: Iterable[tuple[ObserverEventKind, int, int, dict[str, Any]] | Batch]) -> None:
        """Emits events of rprun's own decoders, each as `emit` would: in this order, and nothing comes between them.

        It is the way of thousands of events a second, and does not check the values of the fields again: that they are
        those of the kind, whatever the bytes that were decoded, is what the tests of a decoder prove.

        Args:
            events: kind, process, nanoseconds since the Unix epoch, and fields of each. The fields of a `lost` or
                `unobserved` record have its `category` among them. The dict of fields is the emitter's from now on.
                A batch stands for all of its own.

        Raises:
            ValueError, TypeError: the names of the fields are not those of the kind, or a category is missing. What
                came before it has been emitted.
        """
        if self._unobserved:
            # Only where `started` has not been emitted yet.
            for kind, pid, at_ns, fields in singly(events):
                self.emit(kind, pid, timestamp_ms=at_ns // 1_000_000, **fields)
            return
        categories = self._own
        made: list[Parts | Batch] = []
        with self._lock:
            if self._closed:
                return
            seq = self._seq
            try:
                for event in events:
                    if isinstance(event, Batch):
                        if event.category in self._asked:
                            made.append(event.numbered(seq + 1))
                            seq += len(event)
                        continue
                    kind, pid, at_ns, fields = event
                    about = categories.get(kind)
                    if about is None:
                        about = category_of(kind) or EventCategory(fields.pop("category", ""))
                        if about not in self._asked:
                            continue
                    if type(fields) is not SharedFields or fields.kind is not kind:
                        fields = in_order(kind, fields)
                    seq += 1
                    made.append((about, kind, pid, at_ns // 1_000_000, seq, fields))
            finally:
                self._seq = seq
                if made:
                    for subscriber in self._subscribers:
                        subscriber._offer_all(made)

    def observed(self) -> list[CategoryCapability]:
        """Gives the rows of the matrix that a run must attach a backend for: what it sees itself is not among them."""
        return [row for row in self._rows if row.category is not EventCategory.LIFECYCLE]

    def warn(self, message: str) -> None:
        """Says that to be observed makes a difference to the command; by `on_warning`, else as a RuntimeWarning."""
        if self.on_warning is not None:
            self.on_warning(message)
            return
        import warnings

        warnings.warn(message, RuntimeWarning, stacklevel=2)

    def subscribe(self) -> ObserverSubscriber:
        """Gives a new consumer of every event emitted from now on."""
        with self._lock:
            subscriber = ObserverSubscriber(self._lock, self._bound, self._subscribers.remove)
            self._subscribers.append(subscriber)
            if self._closed:
                subscriber._end()
        return subscriber

    def close(self) -> None:
        """Says that no event comes any more; consumers still get what waits for them. A second call does nothing."""
        with self._lock:
            self._closed = True
            for subscriber in self._subscribers:
                subscriber._end()

    def _emit(
        self,
        category: EventCategory,
        kind: ObserverEventKind,
        pid: int,
        timestamp_ms: int | None,
        fields: dict[str, object],
    ) -> None:
        if self._closed:
            return
        seq = self._seq + 1
        if self._subscribers:
            stamp = now_ms() if timestamp_ms is None else timestamp_ms
            event = ObserverEvent(category, kind, pid, stamp, seq, **fields)
            for subscriber in self._subscribers:
                subscriber._offer(event)
        # Only now: fields that were refused have used no number up.
        self._seq = seq

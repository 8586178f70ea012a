"""The one place where events get their number, and from which every consumer gets its copy.

An emitter never waits for a consumer: each has a bounded queue of its own, and what finds no room there is counted.
"""

from __future__ import annotations

import threading

from rprun.observe.capabilities import ObserverCapabilities
from rprun.observe.categories import CapabilitySupport, EventCategory
from rprun.observe.events import ObserverEvent, now_ms
from rprun.observe.kinds import ObserverEventKind, category_of
from rprun.observe.subscriber import ObserverSubscriber

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.observe.config import ObserverConfig

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
            capabilities: what can be seen; negotiated if not given.
        """
        self._lock = threading.Lock()
        self._bound = bound
        self._seq = 0
        self._closed = False
        self._subscribers: list[ObserverSubscriber] = []
        matrix = capabilities or ObserverCapabilities.negotiate()
        asked = [matrix.category(category) for category in config.categories()]
        self._asked = frozenset(config.categories())
        # Said once, with the first event, because a record has a pid and only then there is one.
        self._unobserved = [row for row in asked if row.support is CapabilitySupport.UNAVAILABLE]

    def emit(
        self,
        kind: ObserverEventKind | str,
        pid: int,
        category: EventCategory | str | None = None,
        **fields: object,
    ) -> None:
        """Emits one event, now, to every subscriber; what was not asked for, or comes after `close`, goes nowhere.

        The run's first call is that of `started`. Behind it, asked for or not, come the `unobserved` records of the
        categories that were asked for and cannot be seen, with the same pid.

        Args:
            kind: what happened.
            pid: the process it happened to.
            category: the category of a `lost` or `unobserved` record; every other kind has its own.
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
                self._emit(about, kind, pid, fields)
            unobserved, self._unobserved = self._unobserved, []
            for row in unobserved:
                said: dict[str, object] = {"backend": row.backend, "reason": row.reason}
                self._emit(row.category, ObserverEventKind.UNOBSERVED, pid, said)

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

    def _emit(self, category: EventCategory, kind: ObserverEventKind, pid: int, fields: dict[str, object]) -> None:
        if self._closed:
            return
        seq = self._seq + 1
        if self._subscribers:
            event = ObserverEvent(category, kind, pid, now_ms(), seq, **fields)
            for subscriber in self._subscribers:
                subscriber._offer(event)
        # Only now: fields that were refused have used no number up.
        self._seq = seq

"""A subscriber is one consumer's bounded queue of events, with every way of waiting for the next."""

from __future__ import annotations

import os
import threading

from rprun.observe.backlog import Backlog
from rprun.observe.batch import flat
from rprun.observe.events import made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from rprun.observe.batch import Batch
    from rprun.observe.events import ObserverEvent, Parts


class ObserverSubscriber:
    """Receives the events of one run, in the order of their `seq`, from any thread.

    If it does not keep up, events are dropped and a `lost` record says how many; the run is never held up. It comes
    from `Emitter.subscribe`, and holds no descriptor until `fileno` is called.
    """

    def __init__(self, lock: threading.Lock, bound: int, detach: Callable[[ObserverSubscriber], None]) -> None:
        """Makes a queue that shares its emitter's lock, so that order in it is the order of emission."""
        self.takes_batches = False  # For who calls `take_all` only.
        self._pipe: tuple[int, int] | None = None
        self._changed = threading.Condition(lock)
        self._backlog = Backlog(bound)
        self._detach = detach
        self._ended = False
        self._closed = False
        self._readable = False

    def recv(self) -> ObserverEvent | None:
        """Waits for the next event; None once no more can come."""
        return self._receive(None)

    def recv_timeout(self, seconds: float) -> ObserverEvent | None:
        """Waits for the next event, for this long at most; None once no more can come.

        Raises:
            TimeoutError: none came in that time, and some may yet come.
        """
        return self._receive(max(0.0, min(seconds, threading.TIMEOUT_MAX)))

    def try_recv(self) -> ObserverEvent | None:
        """Gives the next event if it is here already; None if there is none now, whether or not any will come."""
        with self._changed:
            return self._pop()

    def drain(self) -> list[ObserverEvent]:
        """Gives all events that wait, and does not wait for any."""
        return list(map(made, flat(self.take_all())))

    def fileno(self) -> int:
        """Gives a descriptor that is readable while an event waits, and from the end on; nobody but select reads it.

        Raises:
            ValueError: the subscriber was closed.
        """
        with self._changed:
            if self._closed:
                raise ValueError("the subscriber is closed")
            if self._pipe is None:
                self._pipe = os.pipe()
                self._mark()
            return self._pipe[0]

    def close(self) -> None:
        """Wants no more: what waits is forgotten, the run spends nothing more on it. A second call does nothing."""
        with self._changed:
            if self._closed:
                return
            self._closed = self._ended = True
            self._detach(self)
            self._backlog.clear()
            self._changed.notify_all()
            self._close_pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[ObserverEvent]:
        """Gives every event until no more can come."""
        return iter(self.recv, None)

    def __del__(self) -> None:
        self._close_pipe()

    def take_all(self) -> list[ObserverEvent | Parts | Batch]:
        """Gives what `drain` does, as `Backlog.take_all` does."""
        with self._changed:
            events = self._backlog.take_all()
            self._mark()
            return events

    # The rest is called with the lock held; the first three by the emitter.

    def _offer(self, event: ObserverEvent) -> None:
        self._backlog.put(event)
        self._mark()
        self._changed.notify()

    def _offer_all(self, events: Sequence[ObserverEvent | Parts | Batch]) -> None:
        self._backlog.put_all(events if self.takes_batches else flat(events))
        self._mark()
        self._changed.notify_all()

    def _end(self) -> None:
        self._ended = True
        self._mark()
        self._changed.notify_all()

    def _receive(self, timeout: float | None) -> ObserverEvent | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended or len(self._backlog) > 0, timeout):
                raise TimeoutError(f"no event in {timeout} seconds")
            return self._pop()

    def _pop(self) -> ObserverEvent | None:
        event = self._backlog.pop()
        self._mark()
        return event

    def _mark(self) -> None:
        """Makes the pipe readable or not: one byte is in it exactly while there is something to receive."""
        if self._pipe is None:
            return
        ready = self._ended or len(self._backlog) > 0
        if ready and not self._readable:
            os.write(self._pipe[1], b"\0")
        elif self._readable and not ready:
            os.read(self._pipe[0], 1)
        self._readable = ready

    def _close_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        for fd in pipe or ():
            os.close(fd)

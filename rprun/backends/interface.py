"""The one interface behind which every observation backend sits.

A backend's life in one run, always in this order:

1. `probe(category)`, before anything else, any number of times, without side effects.
2. `prepare(launch, emitter, categories)`, once: the command has not been forked.
3. `attach(pid)`, once: the command's process exists. It is left out if the command could not be started.
4. `deliver(limit)`, whenever `fileno()` is readable, and again for as long as it answers that there is more.
5. `finish(seconds)`, once: the command has ended and has been reaped, its descendants perhaps not.
6. `stop()`, once or more, after any of these, also after one that raised.

There is one instance for each run and backend name: it gets all the categories that it was chosen for at once. A
probe may be answered by another instance. All of it happens on the thread of the run, which relays the command's bytes
meanwhile: apart from `finish`, nothing here may wait for the command or for what it does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Protocol

    from rprun.observe.categories import CapabilitySupport, EventCategory
    from rprun.observe.emitter import Emitter

    class Launching(Protocol):
        """What a backend may read and set of the transport's `Launch`, which stands above this room."""

        argv: list[bytes]
        channel: int
        traps: Mapping[int, Collection[int]]
        nonzero: Mapping[tuple[int, int], int]
        token: int


REMEDY = "try again with more processes and descriptors allowed (ulimit -u, ulimit -n)"
"""Of a probe that found none left for trying out."""


class Probe:
    """A backend's answer about one category: how much it can see here, and why no more."""

    __slots__ = ("backend", "reason", "support")

    def __init__(self, backend: str, support: CapabilitySupport, reason: str) -> None:
        self.backend = backend
        self.support = support
        self.reason = reason


class Backend(ABC):
    """A way of seeing what a command does.

    Attributes:
        name: what users call it: the `backend` column of the matrix, and the NAME of `--backend`.
        categories: what it can see where it works.
    """

    name: str
    categories: tuple[EventCategory, ...]

    @abstractmethod
    def probe(self, category: EventCategory) -> Probe:
        """Says what this backend can see of a category on the host as it is now.

        It does the smallest real thing (a kernel's version proves nothing), leaves nothing behind, and raises nothing:
        whatever goes wrong is an `unavailable` whose reason says what is missing and what would change it.
        """

    @abstractmethod
    def prepare(self, launch: Launching, emitter: Emitter, categories: Sequence[EventCategory]) -> None:
        """Gets ready for one command, so that nothing of it is missed from its first instruction on.

        It may set fields of `launch`, which the forked child acts on before it becomes the command, and may start
        helper processes. Descriptors that it opens are close-on-exec: the command gets none of them.

        Args:
            launch: how the command will be started.
            emitter: where everything that is seen goes.
            categories: those of its own that this run observes by it; never empty.

        Raises:
            RprunError: the command cannot be watched after all; it is not started.
        """

    def while_starting(self) -> tuple[int, Callable[[], None]] | None:
        """Gives a descriptor, and what to call when it is readable before `attach`; None where nothing can come.

        It is asked for anew after each call. What is called emits nothing: the command's `started` has to come first.
        """
        return None

    @abstractmethod
    def attach(self, pid: int) -> None:
        """Begins to watch a command; where `prepare` saw to it, that has not run its first instruction.

        Args:
            pid: the command's process; it may have ended already, but has not been reaped.

        Raises:
            RprunError: the command cannot be watched after all; it is ended.
        """

    @abstractmethod
    def fileno(self) -> int | None:
        """Gives the descriptor that is readable while `deliver` has something to do; None if it never has.

        It is asked for once, after `attach`, and is the backend's own: nobody else closes it, and it stays the same
        and open until `stop`.
        """

    @abstractmethod
    def deliver(self, limit: int) -> bool:
        """Emits what has been seen since the last call, oldest first, without ever waiting for more.

        What went wrong while it watched is no exception but a `lost` or an `unobserved` event.

        Args:
            limit: about how many events to emit at most, so that the command's own bytes get their turn; 1 or more.
                What was seen in one piece is emitted in one.

        Returns:
            bool: there is more, and `deliver` is to be called again without waiting for the descriptor.
        """

    @abstractmethod
    def finish(self, seconds: float) -> None:
        """Emits all that the ended command has done and that is still on its way.

        Args:
            seconds: how long to wait for it at most; what is not there by then is counted in a `lost` event, if
                it is known that there is any.
        """

    @abstractmethod
    def stop(self) -> None:
        """Lets go of everything that was prepared and attached, without emitting. A second call does nothing.

        The one thing that may go on is a helper without which processes that outlive the run could not go on.
        """

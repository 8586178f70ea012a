"""The one interface behind which every observation backend sits.

A backend's life in one run, always in this order:

1. `probe(category)`, before anything else, any number of times, without side effects.
2. `attach(pid, emitter)`, once: the command's process exists and has not run its first instruction.
3. `deliver()`, whenever `fileno()` is readable and once more when the command has ended.
4. `stop()`, once or more.

All of it happens on the thread of the run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.observe.categories import CapabilitySupport, EventCategory
    from rprun.observe.emitter import Emitter


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
        name: what users call it: the `backend` column of the matrix.
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
    def attach(self, pid: int, emitter: Emitter) -> None:
        """Begins to watch a command that has not run its first instruction; what is seen goes to the emitter.

        Raises:
            RprunError: the command cannot be watched after all.
        """

    @abstractmethod
    def fileno(self) -> int | None:
        """Gives the descriptor that is readable while `deliver` has something to do; None if it never has."""

    @abstractmethod
    def deliver(self) -> None:
        """Emits what has been seen since the last call, without ever waiting for more."""

    @abstractmethod
    def stop(self) -> None:
        """Lets go of everything that was attached. A second call does nothing."""

"""seccomp-user-notify: what a tree asks of the kernel, seen before the kernel acts, without any privilege."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.interface import Backend, Probe
from rprun.backends.seccomp import calls, probing
from rprun.backends.seccomp.watch import Watch
from rprun.errors import RprunError
from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rprun.backends.interface import Launching
    from rprun.observe.emitter import Emitter


class SeccompUserNotify(Backend):
    """Puts the command under a filter before it runs, and a supervisor beside it that answers for the filter."""

    name = "seccomp-user-notify"
    categories = (EventCategory.FILE, EventCategory.NETWORK, EventCategory.PROCESS)

    def __init__(self, *, tells_lives: bool = True) -> None:
        """Do nothing yet.

        Args:
            tells_lives: whether starts and ends of processes are told too, where `process` is observed.
        """
        self._tells_lives = tells_lives
        self._watch: Watch | None = None

    def probe(self, category: EventCategory) -> Probe:
        """Puts a child of its own under a filter and has one call of it go through."""
        support, reason = probing.answer(category)
        return Probe(self.name, support, reason)

    def prepare(self, launch: Launching, emitter: Emitter, categories: Sequence[EventCategory]) -> None:
        """Starts the supervisor, and tells the child which calls to have watched.

        Raises:
            RprunError: no more processes, descriptors or memory for it.
        """
        try:
            self._watch = Watch(emitter, categories, tells_lives=self._tells_lives)
        except OSError as error:
            what = " and ".join(categories)
            raise RprunError(f"cannot observe {what}: {error.strerror} (see ulimit -n and ulimit -u)") from error
        launch.traps, launch.nonzero = calls.traps(categories), calls.nonzero(categories)
        launch.channel = self._watch.channel.fileno()

    def while_starting(self) -> tuple[int, Callable[[], None]] | None:
        """Gives what tells of a supervisor that is killed while the command's own exec waits for it."""
        return self._watch.while_starting() if self._watch is not None else None

    def attach(self, pid: int) -> None:
        """Takes note of the command; it has been under the filter since before its first instruction."""
        if self._watch is not None:
            self._watch.begin(pid)

    def fileno(self) -> int | None:
        """Gives one descriptor that stands for all that can happen here."""
        return self._watch.fileno() if self._watch is not None else None

    def deliver(self, limit: int) -> bool:
        """Emits what the supervisor has noted."""
        return self._watch.deliver(limit) if self._watch is not None else False

    def finish(self, seconds: float) -> None:
        """Emits what the tree has done up to now. What descendants do from now on is not observed any more."""
        if self._watch is not None:
            self._watch.finish(seconds)

    def stop(self) -> None:
        """Lets go; the supervisor goes on answering for as long as a process of the tree lives."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

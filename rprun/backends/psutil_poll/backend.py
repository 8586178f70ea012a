"""psutil-poll: what snapshots show of a tree, on every system; the last resort, since it misses what is short."""

from __future__ import annotations

from rprun.backends.interface import Backend, Probe
from rprun.errors import RprunError
from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rprun.backends.interface import Launching
    from rprun.backends.psutil_poll.host import Host
    from rprun.backends.psutil_poll.look import Looker
    from rprun.backends.psutil_poll.poller import Poller
    from rprun.observe.emitter import Emitter

_MANY = 1024


class PsutilPoll(Backend):
    """Looks at the table of processes, and into those of the command's tree, again and again."""

    name = "psutil-poll"
    categories = (EventCategory.FILE, EventCategory.NETWORK, EventCategory.PROCESS)

    def __init__(self, host: Callable[[], Host] | None = None) -> None:
        """Look at a system as `host` tells of it; None for the way that is best here."""
        self._host = host
        self._looker: Looker | None = None
        self._poller: Poller | None = None
        self._emitter: Emitter | None = None

    def probe(self, category: EventCategory) -> Probe:
        """Looks at this process as it would at the command."""
        from rprun.backends.psutil_poll import probing

        support, reason = probing.answer(category)
        return Probe(self.name, support, reason)

    def prepare(self, launch: Launching, emitter: Emitter, categories: Sequence[EventCategory]) -> None:
        """Takes note of the processes that there are, so that they need not be looked at again.

        Raises:
            RprunError: they cannot be listed, or no more descriptors or memory for it.
        """
        from rprun.backends.psutil_poll.host import here
        from rprun.backends.psutil_poll.look import Looker
        from rprun.backends.psutil_poll.poller import Poller

        self._emitter = emitter
        try:
            self._looker = Looker((self._host or here)(), self.name, categories)
            self._poller = Poller(self._looker)
        except OSError as error:
            what = " and ".join(categories)
            raise RprunError(f"cannot observe {what}: {error.strerror} (see ulimit -n)") from error

    def attach(self, pid: int) -> None:
        """Looks at the command for the first time, and has it looked at from now on.

        Raises:
            RprunError: no more threads.
        """
        if self._poller is not None:
            try:
                self._poller.begin(pid)
            except OSError as error:
                raise RprunError(f"cannot observe by {self.name}: {error} (see ulimit -u)") from error

    def fileno(self) -> int | None:
        """Gives what the looking thread tells of events by."""
        return self._poller.fileno() if self._poller is not None else None

    def deliver(self, limit: int) -> bool:
        """Emits what looks have shown."""
        if self._poller is None or self._emitter is None:
            return False
        events, has_more = self._poller.take(limit)
        self._emitter.emit_all(events)
        return has_more

    def finish(self, seconds: float) -> None:
        """Looks for the last time, which shows who has ended. What descendants do from now on is not observed."""
        if self._poller is None or self._looker is None:
            return
        if not self._poller.finish(seconds):
            self._looker.say_of_all("the last look was not over in time: something that was looked at holds it up")
        while self.deliver(_MANY):
            pass

    def stop(self) -> None:
        """Lets go; a look that goes on sees that nobody wants it any more."""
        if self._poller is not None:
            self._poller.close()
        self._poller = self._looker = self._emitter = None

"""The portable lifecycle backend: whoever starts a command and reaps it sees both of its ends."""

from __future__ import annotations

from rprun.backends.interface import Backend, Probe
from rprun.observe.categories import CapabilitySupport, EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rprun.backends.interface import Launching
    from rprun.observe.emitter import Emitter


class PortableLifecycle(Backend):
    """Lifecycle events by way of being the command's parent: nothing to attach, nothing to miss.

    The run itself emits `started` and `exited`: it alone knows when the command has been reaped and its last output
    read, and only then may `exited` be said.
    """

    name = "portable-lifecycle"
    categories = (EventCategory.LIFECYCLE,)

    def probe(self, category: EventCategory) -> Probe:
        """Answers `supported` everywhere: a parent is told of its child's end by every system."""
        return Probe(
            self.name,
            CapabilitySupport.SUPPORTED,
            "rprun starts the command and waits for it, so it sees the start, the end and the exit status itself",
        )

    def prepare(self, launch: Launching, emitter: Emitter, categories: Sequence[EventCategory]) -> None:
        """Does nothing: the run emits what it sees itself."""

    def attach(self, pid: int) -> None:
        """Does nothing: the run watches already."""

    def fileno(self) -> int | None:
        """Gives None: what the run sees does not come through a descriptor."""
        return None

    def deliver(self, limit: int) -> bool:
        """Does nothing: the run has emitted it."""
        return False

    def finish(self, seconds: float) -> None:
        """Does nothing: the run says itself when all has been read."""

    def stop(self) -> None:
        """Does nothing: the run lets go of the command."""

"""Backends that are planned and not built, or not for this system: each says so, and names what does the job.

They are listed on every host, so that `rprun capabilities --all` also tells what there will be elsewhere.
"""

from __future__ import annotations

from rprun.backends.interface import Backend, Probe
from rprun.errors import RprunError
from rprun.observe.categories import CapabilitySupport, EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rprun.backends.interface import Launching
    from rprun.observe.emitter import Emitter

FILE = EventCategory.FILE
NETWORK = EventCategory.NETWORK
PROCESS = EventCategory.PROCESS

SYSTEMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}

# What sees the same until rprun does, by system and category.
INSTEAD = {
    ("linux", FILE): "strace -f -e trace=%file",
    ("linux", NETWORK): "strace -f -e trace=%network",
    ("linux", PROCESS): "strace -f -e trace=%process",
    ("darwin", FILE): "sudo fs_usage -w -f filesys",
    ("darwin", NETWORK): "sudo fs_usage -w -f network",
    ("darwin", PROCESS): "sudo eslogger exec fork exit",
    ("win32", FILE): "Process Monitor",
    ("win32", NETWORK): "Process Monitor",
    ("win32", PROCESS): "Process Monitor",
}


class PlannedBackend(Backend):
    """A name in the matrix with nothing behind it, which is what its probe answers.

    Attributes:
        foreign: it will never work on the system that was asked about.
    """

    def __init__(
        self,
        name: str,
        system: str | None,
        categories: tuple[EventCategory, ...],
        means: str,
        *,
        here: str,
        built: bool = False,
    ) -> None:
        """Takes a row of the table below, the `sys.platform` it is asked about, and whether other systems have it."""
        self.name = name
        self.categories = categories
        self.foreign = system not in (None, here)
        self._system = system
        self._means = means
        self._here = here
        self._built = built

    def probe(self, category: EventCategory) -> Probe:
        """Answers `unavailable`, always."""
        if self._built and self.foreign and self._system is not None:
            reason = f"it works on {SYSTEMS[self._system]} only ({self._means})"
            return Probe(self.name, CapabilitySupport.UNAVAILABLE, reason)
        reason = f"planned ({self._means}), and not built in this version of rprun"
        instead = INSTEAD.get((self._here, category))
        if self.foreign and self._system is not None:
            reason += f"; it will work on {SYSTEMS[self._system]} only"
        elif instead is not None:
            reason += f"; use {instead} until it is"
        return Probe(self.name, CapabilitySupport.UNAVAILABLE, reason)

    def prepare(self, launch: Launching, emitter: Emitter, categories: Sequence[EventCategory]) -> None:
        """Raises RprunError: there is nothing to prepare."""
        raise RprunError(f"backend {self.name}: it is not built in this version of rprun (see rprun capabilities)")

    def attach(self, pid: int) -> None:
        """Does nothing: `prepare` has refused."""

    def fileno(self) -> int | None:
        """Gives None: it has nothing to deliver."""
        return None

    def deliver(self, limit: int) -> bool:
        """Does nothing: it has seen nothing."""
        return False

    def finish(self, seconds: float) -> None:
        """Does nothing: nothing is on its way."""

    def stop(self) -> None:
        """Does nothing: it holds nothing."""


# Name, the only system it will work on (None: any), what it will see, and by what means. Best first, and that order
# stays when one is built: `rprun.backends.registry` then has its module.
PLANNED: tuple[tuple[str, str | None, tuple[EventCategory, ...], str], ...] = (
    ("ebpf", "linux", (FILE, NETWORK, PROCESS), "kernel tracing, for root or CAP_BPF and CAP_PERFMON"),
    ("proc-connector", "linux", (PROCESS,), "the kernel's own fork, exec and exit messages"),
    ("seccomp-user-notify", "linux", (FILE, NETWORK, PROCESS), "system calls seen without privilege"),
    ("etw", "win32", (FILE, NETWORK, PROCESS), "event tracing for Windows"),
    ("kqueue", "darwin", (FILE,), "kernel file notifications"),
    ("endpoint-security", "darwin", (NETWORK, PROCESS), "the macOS security event system"),
    ("psutil-poll", None, (FILE, NETWORK, PROCESS), "looking at the process table again and again"),
)

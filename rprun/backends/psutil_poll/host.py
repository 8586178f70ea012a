"""What a system is asked about its processes, and what it answers: the seam between looking and making sense of it.

Nothing in it is an event yet. A process is its number here; whose number that is by the time of the answer is for the
caller to make sure of, by the time of the process's creation before and after.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    Address = tuple[str, int]
    # Descriptor (-1 where it has no number), path, and access: `read`, `write`, `readwrite`, None where it is not told.
    Opened = tuple[int, str, str | None]


class Row:
    """A process as it stands in the table of processes.

    Attributes:
        parent: the number of its parent at that moment.
        created: when it was created, in whatever unit; with its number it tells it from all others.
        has_ended: it has, and nobody has waited for it yet.
        is_ending: it has let go of all that could be looked at, or is about to.
        image: changes with each program that it executes and is the same in its forks; None where it is not told.
    """

    __slots__ = ("created", "has_ended", "image", "is_ending", "parent")

    def __init__(
        self, parent: int, created: float, *, has_ended: bool, is_ending: bool = False, image: Hashable = None
    ) -> None:
        self.parent = parent
        self.created = created
        self.has_ended = has_ended
        self.is_ending = has_ended or is_ending
        self.image = image


class Program:
    """What a process runs: the file, the arguments and the working directory; None for what cannot be read."""

    __slots__ = ("argv", "cwd", "path")

    def __init__(self, path: str | bytes | None, argv: list[str] | list[bytes] | None, cwd: str | bytes | None) -> None:
        self.path = path
        self.argv = argv
        self.cwd = cwd


class Socket:
    """An IP socket of a process.

    Attributes:
        family: `inet` or `inet6`.
        protocol: `tcp` or `udp`.
        local: its own address and port.
        remote: the peer's, None where it has none.
        listens: it accepts connections.
        was_accepted: somebody listens at its own address; False where that is not known.
    """

    __slots__ = ("family", "listens", "local", "protocol", "remote", "was_accepted")

    def __init__(
        self,
        family: str,
        protocol: str,
        local: Address,
        remote: Address | None,
        *,
        listens: bool,
        was_accepted: bool = False,
    ) -> None:
        self.family = family
        self.protocol = protocol
        self.local = local
        self.remote = remote
        self.listens = listens
        self.was_accepted = was_accepted

    def key(self) -> tuple[object, ...]:
        """Return what tells it from all others of the system."""
        return self.family, self.protocol, self.local, self.remote, self.listens


class Host(ABC):
    """A system that is asked.

    Of `program`, `open_files` and `sockets` each raises ProcessLookupError where the process has ended meanwhile, and
    PermissionError where it may not be looked into; all but `row` raise OSError for want of descriptors or memory.
    """

    def begin(self) -> None:
        """Begin another look: what was kept to answer several questions by is too old."""
        return

    @abstractmethod
    def numbers(self) -> list[int]:
        """Return the numbers of all processes."""

    @abstractmethod
    def row(self, process: int) -> Row | None:
        """Return what the table says of a process; None if it is not there, or cannot be seen."""

    def is_hidden(self, process: int) -> bool:
        """Tell whether a process that `row` does not find is there all the same."""
        return False

    def confirm(self, process: int, created: float) -> None:
        """Make sure that a number was a certain process's until now.

        Raises:
            ProcessLookupError: it is not.
        """
        row = self.row(process)
        if row is None or row.created != created:
            raise ProcessLookupError

    @abstractmethod
    def program(self, process: int) -> Program:
        """Return what a process runs."""

    @abstractmethod
    def open_files(self, process: int, known: Collection[Opened] = ()) -> list[Opened]:
        """Return each regular file that is open; of those that are `known` nothing more need be found out."""

    @abstractmethod
    def sockets(self, process: int) -> list[Socket]:
        """Return the IP sockets that listen or have a peer."""


def here() -> Host:
    """Return what answers best on this system.

    Raises:
        ImportError, NotImplementedError: psutil is not installed, or does not know this system.
    """
    if sys.platform == "linux":
        from rprun.backends.psutil_poll.host_linux import LinuxHost

        return LinuxHost()
    from rprun.backends.psutil_poll.host_portable import PortableHost

    return PortableHost()

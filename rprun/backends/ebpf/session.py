"""The programs of one run in the kernel, and their records as events."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
from contextlib import ExitStack
from functools import partial

from rprun.backends.ebpf import process_programs
from rprun.backends.ebpf.call_parts import Part
from rprun.backends.ebpf.call_program import CallPrograms
from rprun.backends.ebpf.kernel import Kernel
from rprun.backends.ebpf.layout import Lost
from rprun.backends.ebpf.loading import Loading, MakingMaps
from rprun.linux import token
from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rprun.backends.seccomp.decode import Event
    from rprun.observe.batch import Batch

LOST = {
    EventCategory.PROCESS: Lost.PROCESS,
    EventCategory.FILE: Lost.FILE,
    EventCategory.NETWORK: Lost.NETWORK,
}
"""The counter of each category."""
_CALLS = frozenset((EventCategory.FILE, EventCategory.NETWORK))


class Session:
    """Follows one tree of processes from the moment when its first process tells the token.

    Everything ends with its descriptors, which the kernel closes also if this process is killed.

    Attributes:
        token: what that process is to tell, by `rprun.linux.token.tell`.
    """

    def __init__(
        self, categories: Collection[EventCategory], making: MakingMaps | None = None, *, in_background: bool = False
    ) -> None:
        """Load the programs and attach them.

        Args:
            categories: what they are to see.
            making: its maps, if they are being made already; from now on they are the session's.
            in_background: return at once; `wait` comes before all else, then, and may raise what is said here. Before
                this process forks, `join` comes.

        Raises:
            OSError: EPERM without privilege; ENOENT where the kernel does not describe its structures; EMFILE; and
                `rprun.linux.bpf.VerifierError`.
            LookupError, ValueError: the structures are not those that are known here.
        """
        self.token = token.make()
        self._lost = (0,) * len(Lost)
        self._tells_processes = EventCategory.PROCESS in categories
        self._counters = {category: index for category, index in LOST.items() if category in categories}
        namespace = os.stat("/proc/self/ns/pid").st_ino
        with ExitStack() as opened:
            # Their memory takes the kernel about as long as it takes this thread to read how its structures are.
            self._making = making or MakingMaps()
            opened.callback(self._making.close)
            kernel = Kernel.here()
            self._maps = self._making.maps()
            self._programs = opened.enter_context(ExitStack())
            self._announcement = opened.enter_context(ExitStack())
            calls = _CALLS.intersection(categories)
            self._of_calls = CallPrograms(self._maps, kernel, calls) if calls else None
            if self._of_calls is not None:
                opened.callback(self._of_calls.close)
            # All the time goes into the kernel's verifier, which does several programs at once, and this thread's work
            # meanwhile. So each is begun as soon as it is assembled, those that take longest first.
            self._loading = Loading(beside=in_background)
            opened.callback(self._loading.close)
            if self._of_calls is not None:
                for part in (Part.PATHS, Part.COUNTS, Part.PEERS):
                    self._of_calls.assemble(part)
                    self._loading.add(partial(self._of_calls.load, part))
            loads = process_programs.prepare(self._maps, kernel, self.token, namespace, execs=self._tells_processes)
            for load in loads:
                self._loading.add(load)
            if self._of_calls is not None:
                self._loading.add(self._of_calls.prepare_entry())
            self._loading.add_no_more()
            self.restart()
            if not in_background:
                self.wait()
                self.join()
            self._opened = opened.pop_all()

    def wait(self) -> None:
        """Wait until the programs are attached. A second call does nothing.

        Raises:
            OSError: as the constructor. `close` is due then, too.
        """
        links = self._loading.links()
        if not links:
            return
        self._announcement.callback(os.close, links.pop())
        for link in links:
            self._programs.callback(os.close, link)
        if self._of_calls is not None:
            for link in self._of_calls.attach():
                self._programs.callback(os.close, link)

    def join(self) -> None:
        """Wait until there is no thread of this any more: else a fork would be one beside a thread."""
        self._making.join()
        self._loading.join()

    def restart(self) -> None:
        """Begin anew, with another tree, once the first one has ended and all that was seen of it has been taken."""
        # It is no part of what the kernel waits for, and there is time once that has begun.
        from rprun.backends.ebpf.reading import Reader

        self._reader = Reader(self._maps, tells_processes=self._tells_processes)

    def fileno(self) -> int:
        """Return the ring's descriptor, readable while there are records; not to be waited for edge-triggered."""
        return self._maps.ring.fileno()

    def stop_listening(self) -> None:
        """The first process has told the token, or will not. A second call does nothing."""
        self._announcement.close()

    def take(self, limit: int) -> tuple[list[Event | Batch], int]:
        """Return the events of the oldest records, of so many at most, and how many records those were."""
        return self._reader.take(limit)

    def newly_lost(self) -> dict[EventCategory, int]:
        """Return how many records of each of its categories found no room since the last call; no zeros."""
        before, self._lost = self._lost, self._maps.read_lost()
        counts = {category: self._lost[index] - before[index] for category, index in self._counters.items()}
        return {category: count for category, count in counts.items() if count}

    def take_left(self) -> list[Event]:
        """Return the events of what is left once it is detached and all records have been taken."""
        return self._reader.take_left()

    def detach(self) -> None:
        """See nothing any more; what has been seen stays there to be taken. A second call does nothing."""
        self._announcement.close()
        self._programs.close()

    def close(self) -> None:
        """Detach the programs and let go of everything. A second call does nothing."""
        self._opened.close()

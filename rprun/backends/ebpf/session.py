"""The programs of one run in the kernel, and their records as events."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import threading
from contextlib import ExitStack
from errno import EAGAIN
from functools import partial

from rprun.backends.ebpf import call_program, layout, process_programs
from rprun.backends.ebpf.call_decode import CallDecoder
from rprun.backends.ebpf.kernel import Kernel
from rprun.backends.ebpf.layout import Kind, Lost
from rprun.backends.ebpf.maps import RING_SIZE, Maps
from rprun.backends.ebpf.process_decode import ProcessDecoder
from rprun.linux import token
from rprun.linux.timer import since_epoch
from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rprun.backends.seccomp.decode import Event

LOST = {
    EventCategory.PROCESS: Lost.PROCESS,
    EventCategory.FILE: Lost.FILE,
    EventCategory.NETWORK: Lost.NETWORK,
}
"""The counter of each category."""
_CALLS = frozenset((EventCategory.FILE, EventCategory.NETWORK))
_CALL = Kind.CALL.to_bytes(4, sys.byteorder)
_EXIT = Kind.EXIT.to_bytes(4, sys.byteorder)


class _Loading:
    """Programs that another thread loads.

    Raises:
        OSError: EAGAIN: no more threads.
    """

    def __init__(self, load: Callable[[], list[int]]) -> None:
        self._load = load
        self._links: list[int] = []
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="rprun-loading")
        try:
            self._thread.start()
        except RuntimeError as error:
            raise OSError(EAGAIN, os.strerror(EAGAIN)) from error

    def _run(self) -> None:
        try:
            self._links = self._load()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._failure = error

    def links(self) -> list[int]:
        """Wait for them; the caller closes them.

        Raises:
            Exception: what kept them from being loaded.
        """
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        links, self._links = self._links, []
        return links

    def close(self) -> None:
        """Close them if nobody has taken them."""
        self._thread.join()
        for link in self._links:
            os.close(link)
        self._links = []


class Session:
    """Follows one tree of processes from the moment when its first process tells the token.

    Everything ends with its descriptors, which the kernel closes also if this process is killed.

    Attributes:
        token: what that process is to tell, by `rprun.linux.token.tell`.
    """

    def __init__(self, categories: Collection[EventCategory], ring_size: int = RING_SIZE) -> None:
        """Load the programs and attach them.

        Args:
            categories: what they are to see.
            ring_size: bytes for records on their way, as for `Maps`.

        Raises:
            OSError: EPERM without privilege; ENOENT where the kernel does not describe its structures; EMFILE; and
                `rprun.linux.bpf.VerifierError`.
            LookupError, ValueError: the structures are not those that are known here.
        """
        self.token = token.make()
        self._lost = (0,) * len(Lost)
        # The tree is followed for whatever is observed, but another backend may be the one that tells of it.
        self._tells_processes = EventCategory.PROCESS in categories
        self._counters = {category: index for category, index in LOST.items() if category in categories}
        self.restart()
        kernel = Kernel.here()
        namespace = os.stat("/proc/self/ns/pid").st_ino
        with ExitStack() as opened:
            self._maps = Maps(ring_size)
            opened.callback(self._maps.close)
            self._programs = opened.enter_context(ExitStack())
            self._announcement = opened.enter_context(ExitStack())
            # Half of the time goes into either, all of it in the kernel's verifier, which can do both at once.
            calls = _CALLS.intersection(categories)
            loading = _Loading(partial(call_program.load, self._maps, kernel, calls) if calls else list)
            opened.callback(loading.close)
            links = process_programs.load(self._maps, kernel, self.token, namespace, execs=self._tells_processes)
            self._announcement.callback(os.close, links.pop())
            for link in links:
                self._programs.callback(os.close, link)
            for link in loading.links():
                self._programs.callback(os.close, link)
            self._opened = opened.pop_all()

    def restart(self) -> None:
        """Begin anew, with another tree, once the first one has ended and all that was seen of it has been taken."""
        self._processes, self._calls = ProcessDecoder(), CallDecoder()

    def fileno(self) -> int:
        """Return the ring's descriptor, readable while there are records; not to be waited for edge-triggered."""
        return self._maps.ring.fileno()

    def stop_listening(self) -> None:
        """The first process has told the token, or will not. A second call does nothing."""
        self._announcement.close()

    def take(self, limit: int) -> tuple[list[Event], int]:
        """Return the events of the oldest records, of so many at most, and how many records those were."""
        events: list[Event] = []
        offset = since_epoch()
        records = self._maps.ring.take(limit)
        for record in records:
            if record[:4] == _CALL:
                events += self._calls.decode(record, offset)
            else:
                found = self._processes.decode(record, offset)
                if self._tells_processes:
                    events += found
                if record[:4] == _EXIT:
                    self._calls.forget(layout.HEADER.unpack_from(record)[3])
        return events, len(records)

    def newly_lost(self) -> dict[EventCategory, int]:
        """Return how many records of each of its categories found no room since the last call; no zeros."""
        before, self._lost = self._lost, self._maps.read_lost()
        counts = {category: self._lost[index] - before[index] for category, index in self._counters.items()}
        return {category: count for category, count in counts.items() if count}

    def detach(self) -> None:
        """See nothing any more; what has been seen stays there to be taken. A second call does nothing."""
        self._announcement.close()
        self._programs.close()

    def close(self) -> None:
        """Detach the programs and let go of everything. A second call does nothing."""
        self._opened.close()

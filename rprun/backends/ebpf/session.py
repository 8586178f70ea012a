"""The programs of one run in the kernel, and their records as events."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
from contextlib import ExitStack
from functools import partial
from time import time_ns

from rprun.backends.ebpf import layout, process_programs
from rprun.backends.ebpf.call_decode import CallDecoder
from rprun.backends.ebpf.call_parts import Part
from rprun.backends.ebpf.call_program import CallPrograms
from rprun.backends.ebpf.kernel import Kernel
from rprun.backends.ebpf.layout import Kind, Lost
from rprun.backends.ebpf.loading import Loading, MakingMaps
from rprun.backends.ebpf.open_files import OpenFiles
from rprun.backends.ebpf.process_decode import ProcessDecoder
from rprun.backends.ebpf.usual_files import UsualFiles
from rprun.linux import token
from rprun.linux.timer import since_epoch
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
_CALL, _FOUND, _CLOSED, _FORK, _EXIT = map(int, (Kind.CALL, Kind.FOUND, Kind.CLOSED, Kind.FORK, Kind.EXIT))


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
            in_background: return at once; `wait` comes before all else, then, and may raise what is said here.

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
        namespace = os.stat("/proc/self/ns/pid").st_ino
        with ExitStack() as opened:
            # Their memory takes the kernel about as long as it takes this thread to read how its structures are.
            making = making or MakingMaps()
            opened.callback(making.close)
            kernel = Kernel.here()
            self._maps = making.maps()
            self._programs = opened.enter_context(ExitStack())
            self._announcement = opened.enter_context(ExitStack())
            # All the time goes into the kernel's verifier, which does several programs at once, and this thread's work
            # meanwhile. So each is begun as soon as it is assembled, those that take longest first.
            self._loading = Loading(beside=in_background)
            opened.callback(self._loading.close)
            calls = _CALLS.intersection(categories)
            self._of_calls = CallPrograms(self._maps, kernel, calls) if calls else None
            if self._of_calls is not None:
                opened.callback(self._of_calls.close)
                for part in (Part.PATHS, Part.COUNTS, Part.PEERS):
                    self._of_calls.assemble(part)
                    self._loading.add(partial(self._of_calls.load, part))
            loads = process_programs.prepare(self._maps, kernel, self.token, namespace, execs=self._tells_processes)
            for load in loads:
                self._loading.add(load)
            self._loading.add_no_more()
            self.restart()
            if not in_background:
                self.wait()
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

    def restart(self) -> None:
        """Begin anew, with another tree, once the first one has ended and all that was seen of it has been taken."""
        look_up, forget = self._maps.descriptors.lookup, self._maps.descriptors.delete_all
        self._files: OpenFiles
        self._usual: UsualFiles | None = None
        try:
            self._files = self._usual = UsualFiles(look_up, forget, self._maps.ring)
        except OSError:
            # There is no machine code here.
            self._files = OpenFiles(look_up, forget)
        self._processes = ProcessDecoder()
        self._calls = CallDecoder(self._files, None if self._usual is None else self._usual.teach)

    def fileno(self) -> int:
        """Return the ring's descriptor, readable while there are records; not to be waited for edge-triggered."""
        return self._maps.ring.fileno()

    def stop_listening(self) -> None:
        """The first process has told the token, or will not. A second call does nothing."""
        self._announcement.close()

    def take(self, limit: int) -> tuple[list[Event | Batch], int]:
        """Return the events of the oldest records, of so many at most, and how many records those were."""
        events: list[Event | Batch] = []
        offset = since_epoch()
        if self._usual is None:
            records = self._maps.ring.take(limit)
            self._decode(records, offset, events)
            taken = len(records)
        else:
            taken = self._take_usual(self._usual, limit, offset, events)
        self._files.forget_ended()
        return events, taken

    def _take_usual(self, usual: UsualFiles, limit: int, offset: int, events: list[Event | Batch]) -> int:
        """Have the usual records taken by machine code, and decode what is between them; return what `take` does."""
        left = limit
        while left:
            batch, taken = usual.take(left, offset)
            left -= taken
            if batch is not None:
                events.append(batch)
            if usual.is_left_with_one and left:
                records = self._maps.ring.take(1)
                self._decode(records, offset, events)
                taken += len(records)
                left -= len(records)
            if not taken:
                break
        return limit - left

    def _decode(self, records: list[bytes], offset: int, events: list[Event | Batch]) -> None:
        """Add the events of records."""
        decode, closed = self._calls.decode, self._calls.closed
        for record in records:
            kind = record[layout.KIND_AT]  # Both machines are little-endian.
            if kind == _CALL:
                events += decode(record, offset)
            elif kind == _CLOSED:
                events += closed(record, offset)
            elif kind == _FOUND:
                self._calls.found(record, offset)
            else:
                found = self._processes.decode(record, offset)
                if self._tells_processes:
                    events += found
                if kind == _FORK and self._usual is not None:
                    self._usual.forked(record)
                elif kind == _EXIT:
                    events += self._calls.ended(record, offset)

    def newly_lost(self) -> dict[EventCategory, int]:
        """Return how many records of each of its categories found no room since the last call; no zeros."""
        before, self._lost = self._lost, self._maps.read_lost()
        counts = {category: self._lost[index] - before[index] for category, index in self._counters.items()}
        return {category: count for category, count in counts.items() if count}

    def take_left(self) -> list[Event]:
        """Return the events of what is left once it is detached and all records have been taken."""
        return self._files.left_open(time_ns())

    def detach(self) -> None:
        """See nothing any more; what has been seen stays there to be taken. A second call does nothing."""
        self._announcement.close()
        self._programs.close()

    def close(self) -> None:
        """Detach the programs and let go of everything. A second call does nothing."""
        self._opened.close()

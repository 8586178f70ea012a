"""What processes have open, where machine code takes the usual records: what it knows, and who knows what.

Of each descriptor of a process either the machine code knows or `OpenFiles`. A record that the code leaves is about a
descriptor that it knows nothing of from then on, until that is closed with nothing left to tell: then it is the code's
again. A process is introduced to the code by the first record of it that comes here.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct

from rprun.backends.ebpf import layout
from rprun.backends.ebpf.open_files import OpenFiles, closed_fields, parts_of_closed
from rprun.backends.usual import HEADS, UsualBatch, ends_of
from rprun.linux import usual
from rprun.observe.fields import SharedFields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rprun.backends.ebpf.open_files import Opened, _Process
    from rprun.backends.seccomp.decode import Event, Fields
    from rprun.backends.usual import Taught
    from rprun.linux.bpf_ring import RingBuffer
    from rprun.observe.batch import Batch
    from rprun.observe.kinds import ObserverEventKind

    # The arguments of `usual.Usual.learn_form`, and the fields of such an open.
    Form = tuple[bytes, bytes, bool, SharedFields]

# What a record is about, up to its blobs: AUDIT_ARCH, number, and the rest of `plans.CALL`.
_START = struct.Struct("=Ii4I2Q")
# What is known to the code, or was found not to be fit for it, before all begins anew.
_MOST = 2048


class _Taught(dict[int, "Taught"]):
    """By index what the machine code knows: fields of an open, and of its close if it has one."""

    def __init__(self, code: usual.Usual, forms: list[Form]) -> None:
        super().__init__()
        self._code, self._forms = code, forms

    def __missing__(self, index: int) -> Taught:
        form, path = self._code.by_form(index)
        _, _, has_closed, fields = self._forms[form]
        self[index] = SharedFields({**fields, "path": path}), closed_fields(path) if has_closed else None
        return self[index]


class UsualFiles(OpenFiles):
    """Takes the usual records, and knows of what the others are about."""

    __slots__ = ("_code", "_forms", "_indexes", "_ring", "_seen", "_taught")

    def __init__(
        self,
        look_up: Callable[[bytes], bytes | None],
        forget: Callable[[Sequence[bytes]], None],
        ring: RingBuffer,
    ) -> None:
        """Know of nothing yet.

        Args:
            look_up: as for `OpenFiles`.
            forget: the same.
            ring: where the records are.

        Raises:
            OSError: there is no machine code here.
        """
        super().__init__(look_up, forget)
        self._ring = ring
        self._forms: list[Form] = []
        self._begin()

    def _begin(self) -> None:
        self._code = usual.Usual(self._ring, *HEADS, min(_MOST, usual.MOST_KNOWN))
        for start, rest, has_closed, _ in self._forms:
            self._code.learn_form(start, rest, has_closed=has_closed)
        self._taught = _Taught(self._code, self._forms)
        self._seen: set[bytes] = set()
        # By the id of what a close says, which is kept in `_taught`.
        self._indexes: dict[int, int] = {}

    @property
    def others(self) -> int:
        """How many of the oldest records now are for the caller, to be taken before the next `take`."""
        return self._code.outside

    def take(self, limit: int, offset: int) -> tuple[Batch | None, int]:
        """Take the oldest records up to the first unusual one; return their events, and how many records they were."""
        entries, taken = self._code.take(limit, offset)
        return UsualBatch(self._code, self._taught, entries) if entries else None, taken

    def teach(self, what: bytes, opened: SharedFields, closed: SharedFields | None) -> None:
        """Have records of opens that end with `what` be usual ones, if they are fit for it."""
        if what in self._seen:
            return
        if len(self._seen) >= _MOST:
            self._begin_anew()
        self._seen.add(what)
        ends = ends_of(what, opened, closed)
        if ends is None:
            return
        index = self._code.learn(what, *ends)
        if index < 0:
            self._begin_anew()
            return
        self._taught[index] = opened, closed
        if closed is not None:
            self._indexes[id(closed)] = index
        self._teach_form(what, opened, ends[0], has_closed=closed is not None)

    def _teach_form(self, what: bytes, opened: SharedFields, end: bytes, *, has_closed: bool) -> None:
        """Have files opened in the same way be usual ones, too, where the path is all that differs."""
        *_, marks, _, _, _, how_flags, how_resolve = _START.unpack_from(what)
        start, path = what[: _START.size], opened["path"]
        if marks or how_flags or how_resolve or not isinstance(path, bytes):
            return
        front = b',"path":"%b"' % path
        if not end.startswith(front) or any(start == form[0] for form in self._forms):
            return
        rest = end[len(front) :]
        if self._code.learn_form(start, rest, has_closed=has_closed) >= 0:
            self._forms.append((start, rest, has_closed, opened))

    def forked(self, record: bytes) -> None:
        """Introduce a process, by the record of the fork that has made it."""
        _, _, process, pid, _ = layout.HEADER.unpack_from(record)
        self._process(process, pid)

    def opened(self, process: int, pid: int, descriptor: int, opened: Opened, at_ns: int) -> None:
        """As `OpenFiles`."""
        known = self._process(process, pid)
        self._take_over(known, process, descriptor)
        super().opened(process, pid, descriptor, opened, at_ns)
        index = self._indexes.get(id(opened))
        if index is not None and not known.before.get(descriptor):
            self._give_back(known, process, descriptor, at_ns, index)

    def used(
        self, process: int, pid: int, descriptor: int, kind: ObserverEventKind, fields: Fields, at_ns: int
    ) -> None:
        """As `OpenFiles`."""
        self._take_over(self._process(process, pid), process, descriptor)
        super().used(process, pid, descriptor, kind, fields, at_ns)

    def closed(self, data: bytes, offset: int) -> list[Event]:
        """As `OpenFiles`."""
        process, pid, _, descriptor, *_ = parts_of_closed(data)
        known = self._process(process, pid)
        self._take_over(known, process, descriptor)
        events = super().closed(data, offset)
        if descriptor not in known.open and not known.before.get(descriptor):
            self._give_back(known, process, descriptor, 0, 0)
        return events

    def ended(self, process: int, time_ns: int) -> list[Event]:
        """As `OpenFiles`."""
        known = self._processes.get(process)
        if known is not None:
            self._take_all(known, process)
        return super().ended(process, time_ns)

    def _process(self, process: int, pid: int) -> _Process:
        known = self._processes.get(process)
        if known is None:
            known = super()._process(process, pid)
            self._code.introduce(process)
        return known

    def _give_back(self, known: _Process, process: int, descriptor: int, since: int, what: int) -> None:
        """Have the code know of a descriptor again, that is open since then, if not 0, and nothing of it here."""
        if self._code.give_back(process, descriptor, since, known.over.get(descriptor, 0), what):
            known.open.pop(descriptor, None)
            known.over.pop(descriptor, None)

    def _take_over(self, known: _Process, process: int, descriptor: int) -> None:
        """Know from now on what the code has known of a descriptor."""
        found = self._code.take_over(process, descriptor)
        if found is not None:
            self._note(known, descriptor, *found)

    def _take_all(self, known: _Process, process: int) -> None:
        """The same of all descriptors of a process, which the code is to forget."""
        for descriptor, *found in self._code.leave(process):
            self._note(known, descriptor, *found)

    def _note(self, known: _Process, descriptor: int, since: int, over: int, what: int) -> None:
        if over:
            known.over[descriptor] = over
        closed = self._taught[what][1] if since else None
        if closed is not None:
            known.open[descriptor] = closed, since, since

    def _begin_anew(self) -> None:
        """Have the code forget all that it has been taught: there are too many files for it."""
        for process, known in self._processes.items():
            self._take_all(known, process)
        self._begin()
        for process, known in self._processes.items():
            self._code.introduce(process)
            for descriptor in (*known.open, *known.over):
                self._code.take_over(process, descriptor)

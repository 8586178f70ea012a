"""Events of records that machine code has taken (`rprun.linux.usual`), and what it is to be taught for that."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.linux import usual
from rprun.observe.batch import Batch
from rprun.observe.categories import EventCategory
from rprun.observe.events import shared_beginning, shared_end
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rprun.backends.seccomp.decode import Event
    from rprun.observe.fields import SharedFields

    # What an open says, and its close if it has one.
    Taught = tuple[SharedFields, SharedFields | None]

_OPEN, _CLOSE = _KINDS = (ObserverEventKind.FILE_OPEN, ObserverEventKind.FILE_CLOSE)
HEADS = shared_beginning(_OPEN), shared_beginning(_CLOSE)
"""What the lines of an open and of a close have between number and process."""


class UsualBatch(Batch):
    """Events of records that the machine code has taken."""

    __slots__ = ("_code", "_entries", "_taught")

    def __init__(self, code: usual.Usual, taught: Mapping[int, Taught], entries: bytes) -> None:
        super().__init__(EventCategory.FILE)
        self._code, self._taught, self._entries = code, taught, entries

    def __len__(self) -> int:
        return len(self._entries) // usual.ENTRY.size

    def events(self) -> list[Event]:
        """Gives what `Emitter.emit_all` takes of each."""
        found: list[Event] = []
        for at_ns, pid, text in usual.ENTRY.iter_unpack(self._entries):
            fields = self._taught[text >> 1][text & 1]
            assert fields is not None
            found.append((_KINDS[text & 1], pid, at_ns, fields))
        return found

    def lines(self) -> bytes:
        """Gives them with newlines between them."""
        return self._code.write(self._entries, self.first)

    def split(self, until_ns: int) -> tuple[UsualBatch | None, UsualBatch | None]:
        """Return those up to a time in nanoseconds since the Unix epoch, and those from the first later one on."""
        size, low, high = usual.ENTRY.size, 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if usual.ENTRY.unpack_from(self._entries, middle * size)[0] > until_ns:
                high = middle
            else:
                low = middle + 1
        if low in (0, len(self)):
            return (self, None) if low else (None, self)
        cut = low * size
        return (
            UsualBatch(self._code, self._taught, self._entries[:cut]),
            UsualBatch(self._code, self._taught, self._entries[cut:]),
        )

    def times(self) -> dict[int, int]:
        """Return of each process when it did the last of them, in nanoseconds since the Unix epoch."""
        return {pid: at_ns for at_ns, pid, _ in usual.ENTRY.iter_unpack(self._entries)}


def ends_of(what: bytes, opened: SharedFields, closed: SharedFields | None) -> tuple[bytes, bytes] | None:
    """Return what the lines of an open and of its close end with; None where they are not fit for machine code.

    Args:
        what: what its records say.
        opened: what the event of the open says.
        closed: what that of the close says; None where nothing is told of one, whose line is empty then.
    """
    end = shared_end(_OPEN, opened)
    end_of_close = b"" if closed is None else shared_end(_CLOSE, closed)
    if end is None or end_of_close is None or max(map(len, (what, end, end_of_close))) > usual.LONGEST:
        return None
    return end, end_of_close

"""The opens that a supervisor has answered over and over, taken from its ring by machine code."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.seccomp.decode import OPENS, key_of
from rprun.backends.usual import HEADS, UsualBatch, ends_of
from rprun.linux import syscalls, usual

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.seccomp.ring import Ring
    from rprun.backends.usual import Taught
    from rprun.observe.fields import SharedFields

# What has been taught, or found not to be fit for it, before all begins anew.
_MOST = 2048


class UsualOpens:
    """Takes the usual records of a ring."""

    def __init__(self, ring: Ring) -> None:
        """Know of nothing yet.

        Raises:
            OSError: there is no machine code here.
        """
        self._ring = ring
        self._begin()

    def _begin(self) -> None:
        own = syscalls.AUDIT_ARCH.get(syscalls.native() or "")
        registers = {number: register for (arch, number), register in OPENS.items() if arch == own}
        self._code = usual.Usual(self._ring, *HEADS, usual.MOST_KNOWN, registers)
        self._taught: dict[int, Taught] = {}
        self._seen: set[bytes] = set()

    @property
    def is_left_with_one(self) -> bool:
        """Whether the oldest record now is one for the caller."""
        return self._code.outside > 0

    def take(self, limit: int) -> tuple[UsualBatch | None, int]:
        """Take the oldest records up to the first unusual one; return their events, and how many records they were."""
        entries, taken = self._code.take(limit, 0)
        return UsualBatch(self._code, self._taught, entries) if entries else None, taken

    def teach(self, record: bytes, fields: SharedFields) -> None:
        """Have records be usual ones that say the same as this one, which `decode` has made these fields of."""
        what = key_of(record)
        # What comes once, as the name of a temporary file, is not worth a place.
        if what is None or what in self._seen or fields.kind is None:
            return
        if len(self._seen) >= _MOST:
            self._begin()
        self._seen.add(what)
        ends = ends_of(what, fields, None)
        if ends is None:
            return
        index = self._code.learn(what, *ends)
        if index < 0:
            self._begin()
            return
        self._taught[index] = fields, None

"""The records of a ring on their way to the emitter, in their order, whoever has written them."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os

from rprun.backends.seccomp.decode import decode, is_set_id
from rprun.backends.seccomp.processes import PROCESS_ENDED, PROCESS_STARTED
from rprun.backends.seccomp.record import unpack
from rprun.observe.categories import EventCategory
from rprun.observe.fields import SharedFields
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rprun.backends.seccomp.decode import Event
    from rprun.backends.seccomp.lives import Lives
    from rprun.backends.seccomp.ring import Ring
    from rprun.backends.seccomp.usual_opens import UsualOpens
    from rprun.backends.usual import UsualBatch
    from rprun.observe.emitter import Emitter

# Records after which it is worth it to have machine code take them; and that are taken at once.
_MANY = 1024
_EXEC = ObserverEventKind.EXEC


class Records:
    """Takes the records of one run.

    Attributes:
        backlog: those of a supervisor that was killed, which come before what is in the ring by now.
        takes_privilege: programs do not get another user's rights, which is to be said.
    """

    def __init__(
        self,
        ring: Ring,
        emitter: Emitter,
        lives: Lives,
        categories: Collection[EventCategory],
        *,
        tells_lives: bool,
        take_messages: Callable[[], None],
    ) -> None:
        """Begin.

        Args:
            ring: where they are.
            emitter: where their events go.
            lives: who is told of starts and ends.
            categories: what is observed.
            tells_lives: whether it is to know when processes have done something.
            take_messages: as for `Lives.start`. It may have `keep` called.
        """
        self._ring, self._emitter, self._lives = ring, emitter, lives
        self._tells_lives, self._take_messages = tells_lives, take_messages
        self.backlog: list[bytes] = []
        self.takes_privilege = False
        self._in_delivery: list[bytes] = []  # those that are being emitted
        self._usual: UsualOpens | None = None
        self._may_become_many = EventCategory.FILE in categories
        self._taken = 0

    def deliver(self, limit: int) -> int:
        """Emit the events of the oldest records, of so many at most; return how many those were."""
        # Of the ring too, should the backlog end here: whoever has ended may have been answered by the next one.
        records, self.backlog = self.backlog[:limit], self.backlog[limit:]
        events: list[Event | UsualBatch] = []
        self._decode(records, events)
        taken = len(records) + self._take(limit - len(records), events)
        self._emit(events)
        return taken

    def keep(self) -> list[bytes]:
        """Take over what a supervisor that was killed has left; return that, and what has not been emitted yet."""
        while records := self._ring.take(_MANY):
            self.backlog += records
        # What is in hand has been told as much as what waits, should the supervisor be found gone in the midst of it.
        return [*self._in_delivery, *self.backlog]

    def _take(self, limit: int, events: list[Event | UsualBatch]) -> int:
        """Take at most so many records from the ring, and add their events; return how many they were."""
        if self._usual is None:
            records = self._ring.take(limit)
            self._decode(records, events)
            self._prepare_for_many(len(records))
            return len(records)
        left = limit
        # Should the supervisor be found gone in the midst of it, what it had told goes before what the next one tells.
        while left and not self.backlog:
            batch, taken = self._usual.take(left)
            if batch is not None:
                events.append(batch)
            if self._usual.is_left_with_one and taken < left:
                records = self._ring.take(1)
                self._decode(records, events)
                taken += len(records)
            if not taken:
                break
            left -= taken
        return limit - left

    def _prepare_for_many(self, more: int) -> None:
        """Have machine code take the usual records, if there is any, once there are so many that it is worth it."""
        self._taken += more
        if self._taken < _MANY or not self._may_become_many:
            return
        self._may_become_many = False
        from rprun.backends.seccomp.usual_opens import UsualOpens

        try:
            self._usual = UsualOpens(self._ring)
        except OSError:
            # There is none for this machine.
            pass

    def _decode(self, records: list[bytes], events: list[Event | UsualBatch]) -> None:
        """Add the events of records; those before the start of a process are emitted then."""
        self._in_delivery = records
        for record in records:
            if len(record) > PROCESS_STARTED.size:
                decoded = decode(record)
                if self.takes_privilege and decoded and decoded[0][0] is _EXEC:
                    self._warn(record)
                if self._usual is not None and len(decoded) == 1 and type(decoded[0][3]) is SharedFields:
                    self._usual.teach(record, decoded[0][3])
                events += decoded
            elif len(record) == PROCESS_ENDED.size:
                self._lives.note_end(record)
            else:
                self._emit(events)
                events.clear()
                self._lives.start(record, self._take_messages)
        self._in_delivery = []

    def _emit(self, events: list[Event | UsualBatch]) -> None:
        self._emitter.emit_all(events)
        if self._tells_lives:
            self._lives.note_times(events)

    def _warn(self, record: bytes) -> None:
        """Warn of a program that would have got another user's rights, had it not been observed."""
        seen = unpack(record)
        if is_set_id(seen):
            path = os.fsdecode(seen.blobs[1] or b"?")
            self._emitter.warn(
                f"{path} got no privilege: set-user-ID has no effect under observation (run rprun as root, or without)"
            )

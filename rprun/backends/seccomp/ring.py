"""What supervisor and rprun share: a page of words, the requests in hand, and a ring of records.

One process writes records, one reads them, and neither waits for the other. Some facts about that:

- A store through `memoryview.cast("Q")` is one aligned 8-byte move: the other side never sees half a number. The
  `struct` module's standard sizes are written byte by byte, and would not do.
- A record is complete before the word that makes it visible is stored. x86 keeps that order. So that it holds on arm64
  too, the supervisor makes the system call that answers the kernel between the two; its locks are barriers.
- Where several threads write (`share`; x86 only), each makes its record visible by a bit of its length, and the reader
  goes no further than the first that is not complete. So they are read in the order in which their places were
  reserved: before the calls that they are of were answered.
- "The reader sleeps" and "there is something to read" are stored and then looked at crosswise, which no store order
  alone makes safe. So a reader that goes to sleep looks once more a little later; see `backend.py`.
- The kernel writes each request straight into the shared page. If the supervisor is killed at whatever instruction,
  rprun finds there which calls still wait for an answer: one of each thread that answers.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import mmap
import os

from rprun.linux.libc import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Enough for some 50,000 records of the usual size: several seconds of a busy build.
DATA_SIZE = 1 << 23
DATA_OFFSET = mmap.PAGESIZE
_SIZE = DATA_OFFSET + DATA_SIZE
# A request has room for what the kernel may add to it: SECCOMP_GET_NOTIF_SIZES says 80 bytes (Linux 6.18).
REQUEST_OFFSET = 1024
REQUEST_SIZE = 1024
REQUESTS = 2
# Indexes of the shared words: positions count bytes ever written or read.
_WRITTEN, _READ, _LOST, _ASLEEP, _CLOSED, _ENDS_LOST = range(6)
_TELLS_LIVES, _OWED = 64, 65
_ALIGN = 8
_LENGTH_SIZE = 8
# In place of a length: the rest of the ring up to its end is unused. Beside one: the record is not complete; there is
# none after all.
_SKIP = (1 << 64) - 1
_BUSY = 1 << 63
_DISCARD = 1 << 62


class Ring:
    """The shared memory, from either side.

    Attributes:
        fd: its memfd, for a process that is to map it too; close-on-exec.
        bell: an eventfd that is rung when something is published and the reader sleeps; close-on-exec.
        memory: the mapping; `REQUESTS` requests are from `REQUEST_OFFSET` on, at distances of `REQUEST_SIZE`.
    """

    def __init__(self, fd: int = -1, bell: int = -1) -> None:
        """Make the shared memory, or map that of another process.

        Raises:
            OSError: no memory, or no descriptor left.
        """
        self.fd, self.bell, self.memory = _make() if fd < 0 else (fd, bell, mmap.mmap(fd, _SIZE))
        self._words = memoryview(self.memory)[:REQUEST_OFFSET].cast("Q")
        self._words_of_requests = memoryview(self.memory)[REQUEST_OFFSET:DATA_OFFSET].cast("Q")
        self._data = memoryview(self.memory)[DATA_OFFSET:]
        self._lengths = self._data.cast("Q")
        self._lost_before = self._ends_lost_before = 0
        self._placed = self._words[_WRITTEN]
        self._free_to = 0  # where the room ends of which the writer knows
        self._reserve: Callable[[int], int] | None = None

    # -- the writer's side

    def share(self, reserve: Callable[[int], int]) -> None:
        """Write beside other threads from now on, each of which reserves its room by this; see `Answering.reserve`."""
        self._reserve = reserve

    def take_over(self) -> None:
        """Write on behind a writer that is no more. What that had placed and not published is not there."""
        self._placed = self._words[_WRITTEN]

    def put(self, record: bytes, *, is_dispensable: bool = False) -> int:
        """Place a record where `publish` will make it visible; return where it is, -1 where there is no room for it.

        Args:
            record: what is to be read.
            is_dispensable: it is not counted as lost if there is no room for it.
        """
        length = len(record)
        if self._reserve is not None:
            start = self._reserve(length)
            if start < 0:
                self._words[_LOST] += not is_dispensable
                return -1
            start += _LENGTH_SIZE
            self._data[start : start + length] = record
            return start - _LENGTH_SIZE
        size = _LENGTH_SIZE + (length + _ALIGN - 1 & -_ALIGN)
        end = self._placed + size
        start = self._placed % DATA_SIZE
        if end > self._free_to or start + size > DATA_SIZE:
            start = self._make_room(start, size, is_dispensable=is_dispensable)
            if start < 0:
                return -1
            end = self._placed + size
        self._lengths[start // _ALIGN] = length
        start += _LENGTH_SIZE
        self._data[start : start + length] = record
        self._placed = end
        return start - _LENGTH_SIZE

    def _make_room(self, start: int, size: int, *, is_dispensable: bool) -> int:
        """Look for room anew; return where it is, -1 where there is none."""
        skipped = DATA_SIZE - start if start + size > DATA_SIZE else 0
        self._free_to = self._words[_READ] + DATA_SIZE
        if self._placed + skipped + size > self._free_to:
            self._words[_LOST] += not is_dispensable
            return -1
        if skipped:
            self._lengths[start // _ALIGN] = _SKIP
            self._placed += skipped
            start = 0
        return start

    def publish(self, place: int) -> None:
        """Make what was put there visible, and wake the reader if it sleeps."""
        words = self._words
        if self._reserve is None:
            words[_WRITTEN] = self._placed
        else:
            self._lengths[place // _ALIGN] &= ~_BUSY
        if words[_ASLEEP]:
            words[_ASLEEP] = 0
            self.wake()

    def wake(self) -> None:
        """Wake the reader, whether it sleeps or lets records gather."""
        os.eventfd_write(self.bell, 1)

    def withdraw(self, place: int) -> None:
        """Forget what was put there and not published."""
        if self._reserve is None:
            self._placed = self._words[_WRITTEN]
        else:
            self._lengths[place // _ALIGN] ^= _BUSY | _DISCARD

    def lose(self) -> None:
        """Count a record that could not be made."""
        self._words[_LOST] += 1

    def lose_end(self) -> None:
        """Count a process whose end will not be heard of."""
        self._words[_ENDS_LOST] += 1

    def owe(self, count: int) -> None:
        """Say how many messages are still to be sent by another way, which had no room for them."""
        self._words[_OWED] = count

    def tells_lives(self) -> bool:
        """Tell whether the starts and ends of processes are to be told."""
        return bool(self._words[_TELLS_LIVES])

    def is_closed(self) -> bool:
        """Tell whether nobody will read any more."""
        return bool(self._words[_CLOSED])

    # -- the reader's side

    def take(self, most: int) -> list[bytes]:
        """Return the oldest records, at most so many, and make room of where they were."""
        words, lengths, data = self._words, self._lengths, self._data
        position, end = words[_READ], words[_WRITTEN]
        records: list[bytes] = []
        while position < end and len(records) < most:
            start = position % DATA_SIZE
            length = lengths[start // _ALIGN]
            if length == _SKIP:
                position += DATA_SIZE - start
                continue
            if length & _BUSY:
                break
            start += _LENGTH_SIZE
            if not length & _DISCARD:
                records.append(bytes(data[start : start + length]))
            length &= ~_DISCARD
            position += _LENGTH_SIZE + (length + _ALIGN - 1 & -_ALIGN)
        words[_READ] = position
        return records

    def addresses(self) -> tuple[int, int, int, int]:
        """Return where the words are that say up to where was read and written, and the data, and its size less 1."""
        base = address_of(self._words)
        return base + 8 * _READ, base + 8 * _WRITTEN, base + DATA_OFFSET, DATA_SIZE - 1

    def has_records(self) -> bool:
        """Tell whether there is something that `take` would go past."""
        words = self._words
        if words[_READ] == words[_WRITTEN]:
            return False
        length = self._lengths[words[_READ] % DATA_SIZE // _ALIGN]
        return length == _SKIP or not length & _BUSY

    def withdraw_all(self) -> None:
        """Have nothing wait that is not complete, in place of writers that are no more."""
        position, end = self._words[_READ], self._words[_WRITTEN]
        while position < end:
            start = position % DATA_SIZE
            length = self._lengths[start // _ALIGN]
            if length == _SKIP:
                position += DATA_SIZE - start
                continue
            if length & _BUSY:
                self._lengths[start // _ALIGN] = length ^ (_BUSY | _DISCARD)
            position += _LENGTH_SIZE + ((length & ~(_BUSY | _DISCARD)) + _ALIGN - 1 & -_ALIGN)

    def newly_lost(self) -> int:
        """Return how many records found no room since the last call."""
        lost = self._words[_LOST]
        found, self._lost_before = lost - self._lost_before, lost
        return found

    def newly_lost_ends(self) -> int:
        """Return of how many processes more the end will not be heard of since the last call."""
        lost = self._words[_ENDS_LOST]
        found, self._ends_lost_before = lost - self._ends_lost_before, lost
        return found

    def owed(self) -> int:
        """Return how many messages had no room yet."""
        return self._words[_OWED]

    def want_lives(self) -> None:
        """Say that the starts and ends of processes are to be told."""
        self._words[_TELLS_LIVES] = 1

    def sleep(self, *, asleep: bool) -> None:
        """Say whether the reader wants to be woken."""
        self._words[_ASLEEP] = asleep

    def silence(self) -> None:
        """Take note that the bell has been rung."""
        os.eventfd_read(self.bell)

    def close_for_reading(self) -> None:
        """Say that nobody will read any more."""
        self._words[_CLOSED] = 1

    # -- both

    def request(self, place: int = 0) -> memoryview:
        """Return the part of the page that the kernel writes a thread's requests to, and what is behind that.

        For fcntl.ioctl gives the kernel the memory itself only if it has more than 1024 bytes. What has less it copies
        when all is done, which whoever is killed before that has not done.
        """
        return memoryview(self.memory)[REQUEST_OFFSET + REQUEST_SIZE * place : DATA_OFFSET]

    def in_hand(self) -> frozenset[int]:
        """Return the ids of the calls that have been received and are perhaps not yet answered, or not yet told of."""
        first, second = (self._words_of_requests[REQUEST_SIZE // 8 * place] for place in range(REQUESTS))
        return frozenset(number for number in (first, second) if number)

    def forget_requests(self) -> None:
        """Say that no request is in hand, in place of a writer that is no more."""
        for place in range(REQUESTS):
            self._words_of_requests[REQUEST_SIZE // 8 * place] = 0

    def close(self) -> None:
        """Unmap it here."""
        self._words.release()
        self._words_of_requests.release()
        self._lengths.release()
        self._data.release()
        try:
            self.memory.close()
        except BufferError:
            # A view of the request is still held; the mapping goes with it.
            pass
        if self.fd >= 0:
            os.close(self.fd)
            os.close(self.bell)
            self.fd = self.bell = -1


def _make() -> tuple[int, int, mmap.mmap]:
    made: list[int] = []
    try:
        made.append(os.memfd_create("rprun-observation", os.MFD_CLOEXEC))
        os.ftruncate(made[0], _SIZE)
        made.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        # It takes a descriptor of its own.
        return made[0], made[1], mmap.mmap(made[0], _SIZE)
    except OSError:
        for fd in made:
            os.close(fd)
        raise

"""The reader of a BPF ring buffer: records that programs in the kernel submit, in the order of their reservation.

Some facts about it (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst; Linux 5.8):

- Three things are mapped: a page with the consumer's position, which alone may be written; a page with the producer's;
  and the data, twice in a row, so that a record which goes past the end is in one piece. Less than both may be mapped.
- Positions count bytes ever written or read. A record has a header of 8 bytes, its length with two bits above, and is
  filled up to a multiple of 8. The busy bit says that it has been reserved and not submitted yet: reading stops
  there, also if those behind it are complete. The discard bit says that it is to be passed over.
- The kernel wakes when a record is submitted that the reader's position has come to, and says nothing about those
  behind. So the descriptor is watched level-triggered (poll, or epoll without EPOLLET): then each wait compares the
  positions. It is readable also while the oldest record is busy, for the moment until that is submitted.
- A store through `memoryview.cast("Q")` is one aligned 8-byte move, as `rprun/backends/seccomp/ring.py` explains.
- The kernel publishes with release stores. x86 keeps the order of loads; on arm64 nothing in Python asks for it, so
  headers are read first and data in a second round, thousands of instructions later.
- Who submits never waits: with no room the program is told, and must count it.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import mmap
import os
from contextlib import ExitStack
from errno import EINVAL

from rprun.linux import bpf, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUSY, DISCARD = 1 << 31, 1 << 30  # BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT
HEADER_SIZE = 8  # BPF_RINGBUF_HDR_SZ
_LENGTH = DISCARD - 1

# void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
libc.handle.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
libc.handle.mmap.restype = ctypes.c_void_p
# int madvise(void *address, size_t length, int advice);
libc.handle.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
# int munmap(void *address, size_t length);
libc.handle.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MAP_FAILED = (1 << 8 * ctypes.sizeof(ctypes.c_void_p)) - 1


class RingBuffer:
    """A ring buffer map with its mappings, for one reader. It takes two descriptors, both close-on-exec."""

    def __init__(self, size: int, *, longest: int | None = None, name: str = "") -> None:
        """Make the map.

        Args:
            size: bytes of data, a power of two and a multiple of the page size.
            longest: bytes of the longest record, if that is known: no more is mapped of the data's second copy, as each
                page takes its time.
            name: as in `bpf.create_map`.

        Raises:
            OSError: EINVAL for another size, or before Linux 5.8; otherwise as in `bpf.create_map`.
        """
        try:
            self._fd = bpf.create_map(bpf.MapKind.RINGBUF, 0, 0, size, name=name)
        except OSError as error:
            if error.errno != EINVAL:
                raise
            need = f"a power of two, a multiple of {mmap.PAGESIZE}, and Linux 5.8 are needed"
            raise OSError(EINVAL, f"the kernel makes no ring buffer of {size} bytes: {need}") from error
        with ExitStack() as undo:
            undo.callback(os.close, self._fd)
            # This mapping keeps a descriptor of its own.
            self._consumer = undo.enter_context(mmap.mmap(self._fd, mmap.PAGESIZE))
            # Of the second copy; in whole pages, as the size is.
            again = size if longest is None else min(HEADER_SIZE + longest + mmap.PAGESIZE & -mmap.PAGESIZE, size)
            self._producer = _map_readable(self._fd, mmap.PAGESIZE + size + again, mmap.PAGESIZE)
            undo.callback(_unmap, self._producer)
            self._held = undo.pop_all()
        self._look_at(size)

    def _look_at(self, size: int) -> None:
        self._mask = size - 1
        self._read = memoryview(self._consumer).cast("Q")
        producer = memoryview(self._producer).cast("B")
        self._written, self._headers = producer[:8].cast("Q"), producer[mmap.PAGESIZE :].cast("I")

    def fileno(self) -> int:
        """Return the map's descriptor, for programs and to wait for records; -1 once it is closed."""
        return self._fd

    def has_records(self) -> bool:
        """Tell whether the oldest record is complete, so that `take` gets on."""
        position = self._read[0]
        return position < self._written[0] and not self._headers[(position & self._mask) >> 2] & BUSY

    def take(self, limit: int) -> list[bytes]:
        """Return the oldest complete records, at most so many, and make room of where they were."""
        headers, mask, before = self._headers, self._mask, mmap.PAGESIZE + HEADER_SIZE
        position, end = self._read[0], self._written[0]
        found: list[slice[int, int, None]] = []
        while position < end and len(found) < limit:
            start = position & mask
            length = headers[start >> 2]
            if length <= _LENGTH:
                start += before
                found.append(slice(start, start + length))
            elif length & BUSY:
                break
            else:
                length &= _LENGTH
            position += length + (HEADER_SIZE + 7) & -8
        # A slice of a mapping is a copy; it must be made before the room is given back.
        producer: Any = self._producer
        records: list[bytes] = [producer[each] for each in found]
        self._read[0] = position
        return records

    def addresses(self) -> tuple[int, int, int, int]:
        """Return where the positions of consumer and producer are, and the data, until `close`; and the data's mask."""
        consumer, producer = libc.address_of(self._read), libc.address_of(self._written)
        return consumer, producer, producer + mmap.PAGESIZE, self._mask

    def close(self) -> None:
        """Unmap it and let go of it here. Programs that use the map keep it."""
        if self._fd < 0:
            return
        for view in (self._read, self._written, self._headers):
            view.release()
        self._held.close()
        self._fd = -1


def _map_readable(fd: int, size: int, offset: int) -> ctypes.Array[ctypes.c_char]:
    """Map so many bytes of a file, from an offset on, to memory that can only be read (mmap(2)).

    The module `mmap` has the interpreter's other threads wait meanwhile: for thousands of pages some milliseconds.

    Raises:
        OSError: as mmap(2).
    """
    address = libc.handle.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, offset)
    if address == _MAP_FAILED:
        raise libc.last_error()
    # A fork would copy the entries of these pages, for a child that has no use for it; it takes time and no more.
    libc.handle.madvise(address, size, mmap.MADV_DONTFORK)
    return (ctypes.c_char * size).from_address(address)


def _unmap(memory: ctypes.Array[ctypes.c_char]) -> None:
    """Unmap what `_map_readable` has returned, which nothing may refer to any more."""
    libc.handle.munmap(ctypes.addressof(memory), len(memory))

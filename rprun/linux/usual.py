"""Taking the usual records of opens and closes from the ring, and writing their lines, by machine code: `usual.c`.

Where it cannot be loaded (see `machine_code`), its caller does without.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import mmap
import struct

from rprun.linux import machine_code, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    class _Ring(Protocol):
        def addresses(self) -> tuple[int, int, int, int]: ...


OBJECT = machine_code.path_of("usual")
"""Where the machine code for this machine is, if there is any."""

MOST_ENTRIES = 512
"""Records that are taken at once."""
MOST_KNOWN = 2048
LONGEST = 2048
"""Bytes: what a record is about and what its lines end with are known up to this length."""
ENTRY = struct.Struct("=QII")
"""Of what was taken: time in nanoseconds since the epoch, pid, and twice the index of what it is about, and 1 if that
is closed."""
# struct context of usual.h; each is 8 bytes.
_FIELDS = (
    *("consumer", "producer", "data", "mask", "whats", "slots", "arena", "processes", "finders"),
    *("open_head", "close_head", "open_head_size", "close_head_size"),
    *("known", "used", "most", "forms", "formed", "offset", "entries", "room", "made", "limit", "taken"),
    *("arch", "registers"),
)
_OFFSET, _MADE, _LIMIT, _TAKEN = map(_FIELDS.index, ("offset", "made", "limit", "taken"))
_NUMBERS = 512
_WHATS, _SLOTS, _ARENA, _PROCESSES, _FINDERS, _DESCRIPTORS, _BITS = MOST_KNOWN, 8192, 1 << 20, 128, 4096, 256, 64
_WHAT = struct.Struct("=8I")
_FORMS, _FORM_SIZE, FORM_START = 64, 56, 40
# In words of 8 bytes: tgid, bits of mine and theirs, and since, over and what of each descriptor.
_MINE, _THEIRS, _FIRST, _STEP = 1, 1 + _DESCRIPTORS // _BITS, 1 + 2 * _DESCRIPTORS // _BITS, 3
_PROCESS = _FIRST + _STEP * _DESCRIPTORS
# Beside head and end: seq, pid, timestamp_ms, what is between them, and what is written over.
_LINE = 128


_NOBODY, _NOTHING = (memoryview(bytes(8 * size)).cast("Q") for size in (_FIRST, _STEP))
_PATH = b',"path":"'


class Usual:
    """The machine code, and what it knows. A process is its tgid, as in records.

    Attributes:
        outside: how many records it has left to its caller, to be taken before it takes more.
    """

    def __init__(
        self,
        ring: _Ring,
        open_head: bytes,
        close_head: bytes,
        most: int = MOST_KNOWN,
        registers: Mapping[int, int] | None = None,
    ) -> None:
        """Load it.

        Args:
            ring: what is taken from; it must stay open. Its addresses are those of the words that say up to where it
                was read and written, and of its data, and its size, a power of 2, less 1.
            open_head: of the line of an open, what is between its number and the process.
            close_head: the same of a close.
            most: how many files are known at once; not more than `MOST_KNOWN`.
            registers: where it is not the kernel's ring but a supervisor's: of this ABI's calls that open, by their
                numbers, the index of the register with the flags, which is not 0.

        Raises:
            OSError: there is none for this machine, or it cannot be loaded here.
        """
        # Nothing in it waits, so nobody need be let in meanwhile.
        code = machine_code.load(OBJECT, waits=False)
        # long take(struct context *);
        self._take = code.take if registers is None else code.take_answered
        self._take.argtypes = (ctypes.c_void_p,)
        # long learn(struct context *, const char *, word, const char *, word, const char *, word);
        self._learn = code.learn
        self._learn.argtypes = (ctypes.c_void_p, *(ctypes.c_char_p, ctypes.c_size_t) * 3)
        # long learn_form(struct context *, const char *, const char *, word, word);
        self._learn_form = code.learn_form
        self._learn_form.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, *(ctypes.c_size_t,) * 2)
        # long write(const struct context *, const struct entry *, word, word, char *);
        self._write = code.write
        self._write.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
        for function in (self._take, self._learn, self._learn_form, self._write):
            function.restype = ctypes.c_long
        sizes = {
            "whats": _WHAT.size * _WHATS,
            "forms": _FORM_SIZE * _FORMS,
            "slots": 2 * _SLOTS,
            "arena": _ARENA,
            "finders": _FINDERS,
            "entries": ENTRY.size * MOST_ENTRIES,
            "processes": 8 * _PROCESS * _PROCESSES,
        }
        sizes["lines"] = MOST_ENTRIES * (LONGEST + len(open_head) + len(close_head) + _LINE)
        # Not by ctypes, which would fill it with zeros before any of it is needed.
        memory = mmap.mmap(-1, sum(sizes.values()), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._keeper = (ctypes.c_char * len(memory)).from_buffer(memory)
        view, begin = memoryview(memory), ctypes.addressof(self._keeper)
        views: dict[str, memoryview] = {}
        places: dict[str, int] = {}
        for name, size in sizes.items():
            places[name] = begin
            views[name], view = view[:size], view[size:]
            begin += size
        self._heads = [ctypes.create_string_buffer(head, len(head) + 8) for head in (open_head, close_head)]
        of_numbers = bytes((registers or {}).get(number, 0) for number in range(_NUMBERS))
        self._registers = ctypes.create_string_buffer(of_numbers, _NUMBERS)
        consumer, producer, data, mask = ring.addresses()
        values = {
            "consumer": consumer,
            "producer": producer,
            "data": data,
            "mask": mask,
            "open_head": ctypes.addressof(self._heads[0]),
            "close_head": ctypes.addressof(self._heads[1]),
            "open_head_size": len(open_head),
            "close_head_size": len(close_head),
            "room": MOST_ENTRIES,
            "most": min(most, _WHATS),
            "arch": syscalls.AUDIT_ARCH[syscalls.X86_64],
            "registers": ctypes.addressof(self._registers),
            **places,
        }
        context = ctypes.create_string_buffer(8 * len(_FIELDS))
        self._context = memoryview(context).cast("B").cast("q")
        for index, name in enumerate(_FIELDS):
            self._context[index] = values.get(name, 0)
        self._address = ctypes.addressof(context)
        self._entries, self._finders, self._lines = (views[name] for name in ("entries", "finders", "lines"))
        self._processes = views["processes"].cast("Q")
        self._whats, self._arena = views["whats"], views["arena"]
        self._free = list(reversed(range(_PROCESSES)))
        self._into = places["lines"]
        self.outside = 0

    def take(self, limit: int, offset: int) -> tuple[bytes, int]:
        """Take the oldest records, up to the first that is not for this; `outside` tells how many such come first now.

        Args:
            limit: how many at most.
            offset: what their time lacks of that since the epoch, in nanoseconds.

        Returns:
            An `ENTRY` of each of which there is something to tell, and how many records those were.
        """
        context = self._context
        context[_LIMIT], context[_OFFSET] = limit, offset
        self.outside = self._take(self._address)
        made = context[_MADE]
        return bytes(self._entries[: ENTRY.size * made]) if made else b"", context[_TAKEN]

    def learn(self, key: bytes, opened: bytes, closed: bytes) -> int:
        """Have records told of from now on that end with this key; return the index, -1 where there is no room left.

        Args:
            key: not longer than `LONGEST`; nor are the others.
            opened: what the line of an open ends with.
            closed: the same of the close of what it has opened; empty if it has opened nothing.
        """
        index: int = self._learn(self._address, key, len(key), opened, len(opened), closed, len(closed))
        return index

    def learn_form(self, start: bytes, rest: bytes, *, has_closed: bool) -> int:
        """Have opens of any plain path told of that begin so; return the index, -1 where there is no room left.

        Args:
            start: what is in front of the two blobs that make the path: `FORM_START` bytes.
            rest: what is behind the path in the line of the open, and its quotation mark.
            has_closed: it has opened something.
        """
        index: int = self._learn_form(self._address, start, rest, len(rest), has_closed)
        return index

    def by_form(self, index: int) -> tuple[int, bytes]:
        """Return of what was learnt by its form the index of that, and the path."""
        *_, opened, size, _, _, form = _WHAT.unpack_from(self._whats, _WHAT.size * index)
        line = bytes(self._arena[opened : opened + size])
        return form - 1, line[len(_PATH) : line.index(b'"', len(_PATH))]

    def write(self, entries: bytes, number: int) -> bytes:
        """Return the lines of entries, of which the first has this number, with newlines between them."""
        count = len(entries) // ENTRY.size
        size = self._write(self._address, entries, count, number, self._into)
        return bytes(self._lines[: size - 1])

    def introduce(self, process: int) -> None:
        """Have the descriptors of a process known here from now on, of which nothing is known yet, if there is room."""
        place = process % _FINDERS
        if self._free and not self._finders[place]:
            index = self._free.pop()
            self._finders[place] = index + 1
            self._processes[index * _PROCESS] = process

    def take_over(self, process: int, descriptor: int) -> tuple[int, int, int] | None:
        """Return what is known here of a descriptor, and know nothing of it any more.

        Returns:
            By the clock of records since when it is open, 0 if it is not; since when the one was that was closed last,
            0 if none was; and the index of what is open. None if nothing was known.
        """
        at = self._find(process)
        if at < 0 or descriptor >= _DESCRIPTORS:
            return None
        words, bit, word = self._processes, 1 << descriptor % _BITS, at + descriptor // _BITS
        words[word + _THEIRS] |= bit
        if not words[word + _MINE] & bit:
            return None
        words[word + _MINE] &= ~bit
        return self._forget(at, descriptor)

    def give_back(self, process: int, descriptor: int, since: int, over: int, what: int) -> bool:
        """Have a descriptor known here again by what `take_over` has returned; tell whether it is."""
        at = self._find(process)
        if at < 0 or descriptor >= _DESCRIPTORS or not (since or over):
            return False
        words, bit, word = self._processes, 1 << descriptor % _BITS, at + descriptor // _BITS
        words[word + _MINE] |= bit
        words[word + _THEIRS] &= ~bit
        first = at + _FIRST + _STEP * descriptor
        words[first], words[first + 1], words[first + 2] = since, over, what
        return True

    def leave(self, process: int) -> Iterator[tuple[int, int, int, int]]:
        """Give each descriptor of a process that is known here, with what `take_over` returns; forget the process."""
        at = self._find(process)
        if at < 0:
            return
        mine = self._processes[at + _MINE : at + _THEIRS].tolist()
        self._processes[at : at + _FIRST] = _NOBODY
        place = process % _FINDERS
        self._free.append(self._finders[place] - 1)
        self._finders[place] = 0
        for base, bits in zip(range(0, _DESCRIPTORS, _BITS), mine, strict=True):
            while bits:
                descriptor = base + (bits & -bits).bit_length() - 1
                bits &= bits - 1  # noqa: PLW2901 - the lowest one is done
                yield descriptor, *self._forget(at, descriptor)

    def _find(self, process: int) -> int:
        """Return where a process is in the table; -1 if it is not there."""
        at = (self._finders[process % _FINDERS] - 1) * _PROCESS
        return at if at >= 0 and self._processes[at] == process else -1

    def _forget(self, at: int, descriptor: int) -> tuple[int, int, int]:
        first = at + _FIRST + _STEP * descriptor
        place = self._processes[first : first + _STEP]
        since, over, what = place
        place[:] = _NOTHING
        return since, over, what

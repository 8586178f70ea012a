"""Answering the usual notifications of a seccomp listener by machine code: `answering.c` beside this file.

Most of what is trapped are calls with one plain path, of processes that are known. In a build they take an interpreter
some 20 us each, most of which is its code and data coming back into the caches, and driving the command's out of them.
The code here leaves little more than the system calls. Where it cannot be loaded (see `machine_code`), its caller does
without.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
import struct

from rprun.linux import machine_code, seccomp, syscalls
from rprun.linux.libc import handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Mapping

# int sched_getcpu(void);
_processor = handle.sched_getcpu
_processor.argtypes = ()
_processor.restype = ctypes.c_int

OBJECT = machine_code.path_of("answering")
"""Where the machine code for this machine is, if there is any."""

# What `answer` returns: there is a notification that its caller is to answer; RECV has failed; no process is left;
# there is a notification, and some process has ended; there is one, and a second thread would be of use.
RECEIVED, FAILED, DESERTED, LOOK_AROUND, WANTED = range(5)

# struct context of answering.c; each is 8 bytes.
_FIELDS = (
    *("listener", "ended", "bell", "polls", "sync", "at_once", "window"),
    *("request", "request_size", "response", "words", "data", "data_size", "clock", "processor"),
    *("arch", "plans", "known", "before", "now", "look_at", "last", "here", "whereabouts", "stat_files"),
    *("missed", "company", "place", "pinned"),
)
_BEFORE, _NOW, _LAST = (_FIELDS.index(name) for name in ("before", "now", "last"))
# How a call is done there; see answering.c. They are for numbers below _PLANS.
PATH_FIRST, AT, OPENS, EXECUTES = 1, 2, 4, 8
_PLANS = 512
# Slots of the table of known processes; a process that takes the slot of another one makes that one unknown. And of
# that of open files.
_KNOWN = 4096
_STAT_FILES = 8
_STAT_FILE = struct.Struct("=ii")  # thread, descriptor
# struct company of answering.c: its numbers, of them those that are written here, and its sets of processors.
_COMPANY_NUMBERS = 9
_CAN_BE, _IS_OFF, _IS_CAREFUL, _SIZE = 4, 5, 6, 7
_PROCESSORS = 1024
_SET_SIZE = _PROCESSORS // 8
_THREADS = 2
# What `reserve` returns where there is no room.
_FULL = 3
# Nanoseconds: how long RECV takes for a call that waits already, at most.
_AT_ONCE = 1_500


class _Common:
    """What those have in common that answer the same listener."""

    def __init__(self, plans: Mapping[int, int]) -> None:
        self.plans = ctypes.create_string_buffer(bytes(plans.get(number, 0) for number in range(_PLANS)), _PLANS)
        self.table = ctypes.create_string_buffer(4 * _KNOWN)
        self.whereabouts = ctypes.create_string_buffer(16 * _KNOWN)
        self.known = memoryview(self.table).cast("B").cast("I")
        self.company = ctypes.create_string_buffer(4 * _COMPANY_NUMBERS + (1 + _THREADS) * _SET_SIZE)
        self.numbers = memoryview(self.company).cast("B")[: 4 * _COMPANY_NUMBERS].cast("i")

    def set_processors(self, both: bytes) -> None:
        start = 4 * _COMPANY_NUMBERS
        memoryview(self.company).cast("B")[start : start + _SET_SIZE] = both
        self.numbers[_SIZE] = _SET_SIZE
        self.numbers[_CAN_BE] = True


class Answering:
    """The machine code, and what it works on.

    Attributes:
        common: to all that answer the same listener.
    """

    def __init__(
        self,
        memory: mmap.mmap,
        plans: Mapping[int, int],
        *,
        listener: int,
        ended: int,
        bell: int,
        window: int,
        receive_ends: bool,
        is_sync: bool,
        request: int,
        data: int,
        beside: Answering | None = None,
    ) -> None:
        """Load it.

        Args:
            memory: the ring (see `rprun.backends.seccomp.ring`): its words are at the start.
            plans: how calls of this process's own ABI are done, by their numbers; those that are not there are not.
            listener: whose notifications are answered.
            ended: an epoll that is readable when a process has ended.
            bell: the ring's.
            window: nanoseconds between two looks at `ended`.
            receive_ends: RECV ends with the last process under the filter (Linux 6.11).
            is_sync: the listener wakes synchronously.
            request: offset in `memory` of the request in hand.
            data: offset of the ring's records, which go on to its end.
            beside: what another thread answers the same listener by; what that knows this one does.

        Raises:
            OSError: there is none for this machine, or it cannot be loaded here.
        """
        # long answer(struct context *); long is_to_go_elsewhere(struct context *);
        # word reserve(struct context *, word length);
        code = machine_code.load(OBJECT, waits=True)
        answer, is_to_go_elsewhere, reserve = code.answer, code.is_to_go_elsewhere, code.reserve
        answer.argtypes = is_to_go_elsewhere.argtypes = (ctypes.c_void_p,)
        reserve.argtypes = (ctypes.c_void_p, ctypes.c_ulong)
        answer.restype = is_to_go_elsewhere.restype = reserve.restype = ctypes.c_long
        self._keeper = (ctypes.c_char * len(memory)).from_buffer(memory)
        base = ctypes.addressof(self._keeper)
        self._response = ctypes.create_string_buffer(seccomp.RESP_SIZE)
        self._stat_files = ctypes.create_string_buffer(_STAT_FILE.size * _STAT_FILES)
        common = _Common(plans) if beside is None else beside.common
        self.common: _Common = common
        values = {
            "listener": listener,
            "ended": ended,
            "bell": bell,
            "polls": not receive_ends,
            "sync": is_sync,
            "at_once": _AT_ONCE,
            "window": window,
            "request": base + request,
            "request_size": seccomp.NOTIF_SIZE,
            "response": ctypes.addressof(self._response),
            "words": base,
            "data": base + data,
            "data_size": len(memory) - data,
            "clock": ctypes.cast(handle.clock_gettime, ctypes.c_void_p).value or 0,
            "processor": ctypes.cast(_processor, ctypes.c_void_p).value or 0,
            "arch": syscalls.AUDIT_ARCH[syscalls.X86_64],
            "plans": ctypes.addressof(common.plans),
            "known": ctypes.addressof(common.table),
            "whereabouts": ctypes.addressof(common.whereabouts),
            "stat_files": ctypes.addressof(self._stat_files),
            "company": ctypes.addressof(common.company),
            "place": beside is not None,
        }
        context = ctypes.create_string_buffer(8 * len(_FIELDS))
        self._context = memoryview(context).cast("B").cast("q")
        for index, name in enumerate(_FIELDS):
            self._context[index] = values.get(name, 0)
        self._address = ctypes.addressof(context)
        self._answer = answer
        self._is_to_go_elsewhere = is_to_go_elsewhere
        self._reserve = reserve

    def answer(self) -> int:
        """Answer until there is something to do for the caller, and say what."""
        outcome: int = self._answer(self._address)
        return outcome

    def reserve(self, length: int) -> int:
        """Reserve room for a record in the ring; return the offset of its length, -1 where there is none."""
        start: int = self._reserve(self._address, length)
        return start if start != _FULL else -1

    def can_be_two(self) -> bool:
        """Have two threads answer from now on while that is better; tell whether they can.

        Each has a processor of its own then. They can where there are just two processors for this process, and nobody
        has chosen another scheduling policy for it than the usual one. `answer` of what was made beside this is to be
        called by the second thread; it waits there until it is wanted.
        """
        processors = os.sched_getaffinity(0)
        if len(processors) != _THREADS or max(processors) >= _PROCESSORS or os.sched_getscheduler(0) != os.SCHED_OTHER:
            return False
        self.common.set_processors(sum(1 << processor for processor in processors).to_bytes(_SET_SIZE, "little"))
        return True

    def is_one(self) -> None:
        """Take back what `can_be_two` has said: there is no second thread."""
        self.common.numbers[_CAN_BE] = False

    def turn_off(self) -> None:
        """Have every call left to the caller from now on, also by the other thread."""
        self.common.numbers[_IS_OFF] = True

    def times(self) -> tuple[int, int]:
        """Return when the last RECV began and ended, in nanoseconds since the Unix epoch."""
        return self._context[_BEFORE], self._context[_NOW]

    @property
    def last(self) -> int:
        """The thread whose call was answered last."""
        return self._context[_LAST]

    @last.setter
    def last(self, tid: int) -> None:
        self._context[_LAST] = tid

    @property
    def is_careful(self) -> bool:
        """Whether only those paths are looked at there of which the kernel knows (RESOLVE_CACHED)."""
        return bool(self.common.numbers[_IS_CAREFUL])

    @is_careful.setter
    def is_careful(self, careful: bool) -> None:
        self.common.numbers[_IS_CAREFUL] = careful

    def is_to_go_elsewhere(self) -> bool:
        """Tell whether the thread whose call `answer` has left to its caller goes on on another processor than this."""
        return bool(self._is_to_go_elsewhere(self._address))

    def know(self, process: int) -> None:
        """Have the calls of a process's first thread answered: it sees the files that this process sees."""
        self.common.known[process % _KNOWN] = process

    def forget(self, process: int) -> None:
        """Have none of a process answered any more."""
        if self.common.known[process % _KNOWN] == process:
            self.common.known[process % _KNOWN] = 0

    def close(self) -> None:
        """Close what it has opened. Nothing is answered by it any more."""
        for tid, file in _STAT_FILE.iter_unpack(self._stat_files.raw):
            if tid:
                os.close(file)
        ctypes.memset(self._stat_files, 0, len(self._stat_files))

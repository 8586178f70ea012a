"""Answering the usual notifications of a seccomp listener by machine code: `answering.c` beside this file.

Most of what is trapped are calls with one plain path, of processes that are known. In a build they take an interpreter
some 20 us each, most of which is its code and data coming back into the caches, and driving the command's out of them.
The code here leaves little more than the system calls. It is an object without dependencies, made for x86_64; where it
cannot be loaded (another machine, a file system mounted noexec), its caller does without.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
import struct
from errno import ENOEXEC

from rprun.linux import seccomp, syscalls
from rprun.linux.libc import handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Mapping

# int sched_getcpu(void);
_processor = handle.sched_getcpu
_processor.argtypes = ()
_processor.restype = ctypes.c_int

OBJECT = os.path.join(os.path.dirname(__file__), f"answering_{os.uname().machine}.so")
"""Where the machine code for this machine is, if there is any."""

# What `answer` returns: there is a notification that its caller is to answer; RECV has failed; no process is left;
# there is a notification, and some process has ended.
RECEIVED, FAILED, DESERTED, LOOK_AROUND = range(4)

# struct context of answering.c; each is 8 bytes.
_FIELDS = (
    *("listener", "ended", "bell", "polls", "sync", "at_once", "window"),
    *("request", "request_size", "response", "words", "data", "data_size", "clock", "processor"),
    *("arch", "plans", "known", "before", "now", "look_at", "last", "here", "whereabouts", "stat_files"),
    *("careful", "missed"),
)
_BEFORE, _NOW, _LAST, _CAREFUL = (_FIELDS.index(name) for name in ("before", "now", "last", "careful"))
# How a call is done there; see answering.c. They are for numbers below _PLANS.
PATH_FIRST, AT, OPENS, EXECUTES = 1, 2, 4, 8
_PLANS = 512
# Slots of the table of known processes; a process that takes the slot of another one makes that one unknown. And of
# that of open files.
_KNOWN = 4096
_STAT_FILES = 8
_STAT_FILE = struct.Struct("=ii")  # thread, descriptor
# Nanoseconds: how long RECV takes for a call that waits already, at most.
_AT_ONCE = 1_500


class Answering:
    """The machine code, and what it works on."""

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

        Raises:
            OSError: there is none for this machine, or it cannot be loaded here.
        """
        abi = syscalls.native()
        if abi != syscalls.X86_64:
            raise OSError(ENOEXEC, os.strerror(ENOEXEC), OBJECT)
        # long answer(struct context *); long is_to_go_elsewhere(struct context *);
        machine_code = ctypes.CDLL(OBJECT)
        answer, is_to_go_elsewhere = machine_code.answer, machine_code.is_to_go_elsewhere
        answer.argtypes = (ctypes.c_void_p,)
        is_to_go_elsewhere.argtypes = (ctypes.c_void_p,)
        answer.restype = is_to_go_elsewhere.restype = ctypes.c_long
        self._keeper = (ctypes.c_char * len(memory)).from_buffer(memory)
        base = ctypes.addressof(self._keeper)
        self._response = ctypes.create_string_buffer(seccomp.RESP_SIZE)
        self._whereabouts = ctypes.create_string_buffer(16 * _KNOWN)
        self._stat_files = ctypes.create_string_buffer(_STAT_FILE.size * _STAT_FILES)
        self._plans = ctypes.create_string_buffer(bytes(plans.get(number, 0) for number in range(_PLANS)), _PLANS)
        table = ctypes.create_string_buffer(4 * _KNOWN)
        self._known = memoryview(table).cast("B").cast("I")
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
            "arch": syscalls.AUDIT_ARCH[abi],
            "plans": ctypes.addressof(self._plans),
            "known": ctypes.addressof(table),
            "whereabouts": ctypes.addressof(self._whereabouts),
            "stat_files": ctypes.addressof(self._stat_files),
        }
        context = ctypes.create_string_buffer(8 * len(_FIELDS))
        self._context = memoryview(context).cast("B").cast("q")
        for index, name in enumerate(_FIELDS):
            self._context[index] = values.get(name, 0)
        self._address = ctypes.addressof(context)
        self._answer = answer
        self._is_to_go_elsewhere = is_to_go_elsewhere

    def answer(self) -> int:
        """Answer until there is something to do for the caller, and say what."""
        outcome: int = self._answer(self._address)
        return outcome

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
        return bool(self._context[_CAREFUL])

    @is_careful.setter
    def is_careful(self, careful: bool) -> None:
        self._context[_CAREFUL] = careful

    def is_to_go_elsewhere(self) -> bool:
        """Tell whether the thread whose call `answer` has left to its caller goes on on another processor than this."""
        return bool(self._is_to_go_elsewhere(self._address))

    def know(self, process: int) -> None:
        """Have the calls of a process's first thread answered: it sees the files that this process sees."""
        self._known[process % _KNOWN] = process

    def forget(self, process: int) -> None:
        """Have none of a process answered any more."""
        if self._known[process % _KNOWN] == process:
            self._known[process % _KNOWN] = 0

    def close(self) -> None:
        """Close what it has opened. Nothing is answered by it any more."""
        for tid, file in _STAT_FILE.iter_unpack(self._stat_files.raw):
            if tid:
                os.close(file)
        ctypes.memset(self._stat_files, 0, len(self._stat_files))

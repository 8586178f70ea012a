"""The programs at the end of every call: what the watched ones of the command's tree were about, and how they ended.

Some facts about them:

- The raw tracepoint sys_exit is passed by every call of every process of the host while a program is attached, so what
  is not watched must be known by few instructions: the number, one byte of a table, then the process.
- At the end of a call its arguments are still in struct pt_regs, and what it has read of the process's memory is most
  likely still there: a program cannot page it in. What another thread has changed meanwhile is seen changed.
- A call that ends with a restart code (include/linux/errno.h) has not been done: it will be made again, or a signal's
  handler has it end with EINTR, which nobody is told of here. Neither is a record.
- The descriptor may be another one than the call had, if another thread has closed it and opened something meanwhile.
- The program that is attached finds out what a call is, and one of several others goes on (a tail call): each is
  verified by itself, and so at the same time as others. They share the scratch value, and where the plan is.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import struct
from contextlib import ExitStack
from functools import partial

from rprun.backends.ebpf import count_program, path_program, peer_program, plans
from rprun.backends.ebpf.call_frame import ARCH, ARGUMENTS, NUMBER, PLAN
from rprun.backends.ebpf.call_parts import Part, continue_with
from rprun.backends.ebpf.call_plan import find_plan
from rprun.backends.ebpf.common import begin, end
from rprun.backends.ebpf.layout import Kind
from rprun.backends.ebpf.plans import What
from rprun.linux import bpf
from rprun.linux.bpf_assembler import R1, R2, R6, R7, R8, R9, R10, Assembler
from rprun.linux.bpf_map import Map
from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps

_INDEX = struct.Struct("=I")


class CallPrograms:
    """The programs; to be loaded, each at any time and on any thread, and then attached."""

    def __init__(self, maps: Maps, kernel: Kernel, categories: Collection[EventCategory]) -> None:
        """Make what they share.

        Args:
            maps: where processes are looked up and records go.
            kernel: offsets.
            categories: of FILE and NETWORK, those whose calls are to be seen.

        Raises:
            OSError: as `bpf.create_map`.
        """
        with ExitStack() as undo:
            value = plans.table(categories)
            self._table = Map(bpf.MapKind.ARRAY, 4, len(value), 1, name="rprun_plans")
            undo.callback(self._table.close)
            self._table.update(bytes(4), value)
            self._programs = Map(bpf.MapKind.PROG_ARRAY, 4, 4, len(Part), name="rprun_calls")
            undo.callback(self._programs.close)
            table, programs = self._table.fd, self._programs.fd
            self._assemblies: dict[Part, Callable[[], bytes]] = {
                Part.COUNTS: partial(count_program.assemble, maps, kernel, table, categories)
            }
            # A ring of io_uring is of both categories.
            if EventCategory.FILE in categories or EventCategory.NETWORK in categories:
                self._assemblies[Part.PATHS] = partial(path_program.assemble, maps, kernel, table)
            if EventCategory.NETWORK in categories:
                self._assemblies[Part.PEERS] = partial(peer_program.assemble, maps, kernel, table, programs)
            self._parts: dict[Part, bytes] = {}
            self._assemble_entry = partial(assemble, maps, kernel, table, programs)
            self._entry = -1
            undo.pop_all()

    def assemble(self, *parts: Part) -> None:
        """Assemble some of them, which `load` would else do: on a thread of its own, that keeps others waiting."""
        for part in parts:
            if part in self._assemblies and part not in self._parts:
                self._parts[part] = self._assemblies[part]()

    def load(self, *parts: Part) -> None:
        """Load some of them.

        Raises:
            OSError: as `bpf.load_program`.
        """
        self.assemble(*parts)
        for part in parts:
            if part in self._parts:
                program = bpf.load_program(bpf.ProgramKind.RAW_TRACEPOINT, self._parts[part], name=f"rprun_{part.name}")
                try:
                    self._programs.update(_INDEX.pack(part), _INDEX.pack(program))
                finally:
                    os.close(program)

    def prepare_entry(self) -> Callable[[], None]:
        """Assemble the program that is attached; return what loads it, which `attach` would else do.

        Raises:
            OSError: in loading it, as `bpf.load_program`.
        """
        return partial(self._load_entry, self._assemble_entry())

    def _load_entry(self, code: bytes) -> None:
        self._entry = bpf.load_program(bpf.ProgramKind.RAW_TRACEPOINT, code, name="rprun_sys_exit")

    def attach(self) -> list[int]:
        """Have them called from now on; return the descriptors that keep it so, for the caller to close.

        Raises:
            OSError: as `bpf.load_program` and `bpf.open_raw_tracepoint`.
        """
        if self._entry < 0:
            self.prepare_entry()()
        link = bpf.open_raw_tracepoint("sys_exit", self._entry)
        self._close_entry()
        programs, self._programs.fd = self._programs.fd, -1
        self._table.close()
        return [link, programs]

    def close(self) -> None:
        """Let go of what has not been attached. A second call does nothing."""
        self._close_entry()
        self._table.close()
        self._programs.close()

    def _close_entry(self) -> None:
        if self._entry >= 0:
            os.close(self._entry)
            self._entry = -1


def assemble(maps: Maps, kernel: Kernel, table: int, programs: int) -> bytes:
    """Return the program that is attached, as an array of struct bpf_insn.

    Args:
        maps: see `CallPrograms`.
        kernel: see `CallPrograms`.
        table: the descriptor of an ARRAY with what `plans.table` returns.
        programs: that of a PROG_ARRAY with the others, by `Part`.
    """
    code = Assembler()
    code.move(R6, R1)
    find_plan(code, maps, kernel, table)
    begin(code, maps, Kind.CALL)
    _append_call(code)
    code.load(R1, R10, PLAN)
    code.store(R8, plans.PLAN_NOTE, R1)
    code.load(R1, R9, plans.WHAT_AT, size=1)
    for what in (What.PATHS, What.RING):
        code.jump_if_equal(R1, what, "paths")
    for what in (What.DATA, What.CLOSE):
        code.jump_if_equal(R1, what, "counts")
    code.jump_if_not_equal(R1, What.SEND, "peers")
    # What send(2) is: its peer is known from connect and accept.
    code.load(R2, R8, plans.ARGUMENTS_AT + 8 * 4)
    code.jump_if_equal(R2, 0, "counts")
    code.label("peers")
    continue_with(code, programs, Part.PEERS)
    code.jump("out")
    code.label("paths")
    continue_with(code, programs, Part.PATHS)
    code.jump("out")
    code.label("counts")
    continue_with(code, programs, Part.COUNTS)
    code.label("out")
    end(code)
    return code.assemble()


def _append_call(code: Assembler) -> None:
    """Append what comes before the blobs."""
    code.load(R1, R6, 8)
    code.store(R8, plans.RESULT_AT, R1)
    for at, source, size in ((plans.ARCH_AT, ARCH, 4), (plans.NUMBER_AT, NUMBER, 4)):
        code.load(R1, R10, source, size=size)
        code.store(R8, at, R1, size=size)
    for index in range(6):
        code.load(R1, R10, ARGUMENTS + 8 * index)
        code.store(R8, plans.ARGUMENTS_AT + 8 * index, R1)
    code.load(R1, R10, NUMBER + 4, size=4)
    code.shift_left(R1, plans.SUBCALL_SHIFT)
    code.store(R8, plans.MARKS_AT, R1, size=4)
    for at in (plans.PROTOCOL_AT, plans.DOMAIN_AT, plans.TYPE_AT):
        code.store_immediate(R8, at, 0, size=4)
    code.store_immediate(R8, plans.HOW_FLAGS_AT, 0)
    code.store_immediate(R8, plans.HOW_RESOLVE_AT, 0)
    code.move(R7, plans.BLOBS_AT)

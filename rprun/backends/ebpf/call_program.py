"""The program at the end of every call: what the watched ones of the command's tree were about, and how they ended.

Some facts about it:

- The raw tracepoint sys_exit is passed by every call of every process of the host while the program is attached, so
  what is not watched must be known by few instructions: the number, one byte of a table, then the process.
- At the end of a call its arguments are still in struct pt_regs, and what it has read of the process's memory is most
  likely still there: a program cannot page it in. What another thread has changed meanwhile is seen changed.
- A call that ends with a restart code (include/linux/errno.h) has not been done: it will be made again, or a signal's
  handler has it end with EINTR, which nobody is told of here. Neither is a record.
- The descriptor may be another one than the call had, if another thread has closed it and opened something meanwhile.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
from contextlib import closing

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.call_frame import ARCH, ARGUMENTS, NUMBER
from rprun.backends.ebpf.call_paths import append_place, read_how
from rprun.backends.ebpf.call_peers import append_addresses
from rprun.backends.ebpf.call_plan import find_plan
from rprun.backends.ebpf.common import append_none, begin, emit, end
from rprun.backends.ebpf.layout import Kind, Lost
from rprun.backends.ebpf.plans import What
from rprun.backends.ebpf.socket_address import UNIX
from rprun.backends.ebpf.walk import AT_FDCWD
from rprun.linux import bpf
from rprun.linux.bpf_assembler import R1, R2, R6, R7, R8, R9, R10, Assembler
from rprun.linux.bpf_map import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps
    from rprun.observe.categories import EventCategory


def load(maps: Maps, kernel: Kernel, categories: Collection[EventCategory]) -> list[int]:
    """Attach the program; return the descriptors that keep it attached, for the caller to close.

    Args:
        maps: where processes are looked up and records go.
        kernel: offsets.
        categories: of FILE and NETWORK, those whose calls are to be seen.

    Raises:
        OSError: as `bpf.create_map`, `bpf.load_program` and `bpf.open_raw_tracepoint`.
    """
    value = plans.table(categories)
    with closing(Map(bpf.MapKind.ARRAY, 4, len(value), 1, name="rprun_plans")) as table:
        table.update(bytes(4), value)
        code = assemble(maps, kernel, table.fd)
        program = bpf.load_program(bpf.ProgramKind.RAW_TRACEPOINT, code, name="rprun_sys_exit")
    try:
        return [bpf.open_raw_tracepoint("sys_exit", program)]
    finally:
        os.close(program)


def assemble(maps: Maps, kernel: Kernel, table: int) -> bytes:
    """Return the program, as an array of struct bpf_insn.

    Args:
        maps: see `load`.
        kernel: see `load`.
        table: the descriptor of an ARRAY with what `plans.table` returns.
    """
    code = Assembler()
    code.move(R6, R1)
    find_plan(code, maps, kernel, table)
    begin(code, maps, Kind.CALL)
    _append_call(code)
    # R9 is the plan from here on.
    code.load(R1, R9, plans.WHAT_AT, size=1)
    code.jump_if_equal(R1, What.PATHS, "paths")
    code.jump_if_equal(R1, What.RING, "ring")
    append_addresses(code, maps, kernel)
    # The path in a Unix socket's address may be relative. What appends the directory is most of what the verifier goes
    # through, so it is that of a second path.
    code.load(R2, R8, plans.DOMAIN_AT, size=4)
    code.move(R1, AT_FDCWD)
    code.jump_if_equal(R2, UNIX, "directory")
    append_none(code, "out")
    code.jump("captured")

    code.label("ring")
    code.load(R1, R6, 8)
    code.jump_if_less_signed(R1, 0, "out")
    code.jump("captured")

    code.label("paths")
    read_how(code)
    for slot in range(2):
        append_place(code, kernel, slot)
    code.label("captured")
    code.load(R1, R9, plans.WHAT_AT, size=1)
    code.jump_if_equal(R1, What.PATHS, "of files")
    code.jump_if_equal(R1, What.RING, "of files")
    emit(code, maps, Lost.NETWORK)
    code.jump("out")
    code.label("of files")
    emit(code, maps, Lost.FILE)
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

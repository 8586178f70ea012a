"""What a call is: its plan (see `plans`) and its arguments, whichever ABI it was made in."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.call_frame import ARCH, ARGUMENTS, NUMBER, PLAN, REGISTERS, REGISTERS_MOST
from rprun.backends.ebpf.common import copy_kernel, read_kernel, skip_unless_in_tree, task
from rprun.backends.ebpf.plans import What
from rprun.linux import syscalls
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R6, R7, R9, R10, Assembler, Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps

# Bytes that are copied as fast as four.
_LITTLE = 128
# ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK
_RESTARTS = (-512, -513, -514, -516)


def find_plan(code: Assembler, maps: Maps, kernel: Kernel, table: int) -> None:
    """Set R9 to the call's plan and put its arguments onto the stack; end the program for what is not watched.

    Where among the plans it is comes to the stack at `PLAN`.
    """
    registers = kernel.registers
    part = (*registers.arguments, *registers.compat_arguments)
    first, size = min(part), max(part) + 8 - min(part)
    whole = max(size, registers.number + 8 - first)
    at_once = first <= registers.number and whole <= _LITTLE
    if at_once:
        _copy_registers(code, first, whole)
        code.load(R9, R10, REGISTERS + registers.number - first, size=4)
    else:
        code.load(R1, R6, 0)
        read_kernel(code, R9, R1, registers.number, 4)
    # In 64 bits, as x32's bit is no immediate with a sign; the upper half is 0.
    code.store(R10, NUMBER, R9)
    code.bit_and(R9, ~syscalls.X32_BIT)
    code.jump_if_greater_or_equal(R9, plans.NUMBERS, "out")
    code.map_value(R1, table, plans.EITHER_TABLE)
    code.add(R1, R9)
    code.load(R1, R1, 0, size=1)
    code.jump_if_equal(R1, 0, "out")
    skip_unless_in_tree(code, maps, "out")
    code.load(R1, R6, 8)
    for restart in _RESTARTS:
        code.jump_if_equal(R1, restart, "out")

    if not at_once:
        _copy_registers(code, first, size)
    if registers.compat is not None:
        task(code)
        read_kernel(code, R1, R0, kernel.task_compat, 4)
        code.jump_if_any_bit(R1, registers.compat_bit, "compat")
    native = syscalls.native() or ""
    _take(code, syscalls.AUDIT_ARCH[native], tuple(at - first for at in registers.arguments), 8)
    code.map_value(R1, table, plans.NATIVE_TABLE)
    if registers.compat is not None:
        code.jump("taken")
        code.label("compat")
        _take(code, syscalls.AUDIT_ARCH[registers.compat], tuple(at - first for at in registers.compat_arguments), 4)
        code.map_value(R1, table, plans.COMPAT_TABLE)
        code.label("taken")
    code.add(R1, R9)
    code.load(R9, R1, 0, size=1)
    code.jump_if_equal(R9, 0, "out")
    _point_to_plan(code, table)
    code.load(R1, R9, plans.WHAT_AT, size=1)
    code.jump_if_not_equal(R1, What.SOCKETCALL, "true call")
    _take_socketcall(code, table)
    code.label("true call")
    code.store(R10, PLAN, R7)


def _copy_registers(code: Assembler, first: int, size: int) -> None:
    """Copy a part of struct pt_regs to the stack."""
    assert size <= REGISTERS_MOST
    code.load(R1, R6, 0)
    copy_kernel(code, REGISTERS, size, R1, first)


def _take(code: Assembler, arch: int, registers: tuple[int, ...], size: int) -> None:
    """Put the arguments and the architecture where they are looked for; R9 is kept."""
    code.load_constant(R1, arch)
    code.store(R10, ARCH, R1)
    for index, at in enumerate(registers):
        code.load(R1, R10, REGISTERS + at, size=size)
        code.store(R10, ARGUMENTS + 8 * index, R1)


def _point_to_plan(code: Assembler, table: int) -> None:
    """Set R9, the index of a plan, to its address, and R7 to that from the first plan's on."""
    code.shift_left(R9, plans.PLAN.size.bit_length() - 1)
    code.move(R7, R9)
    code.map_value(R1, table, plans.PLANS_TABLE)
    code.add(R1, R9)
    code.move(R9, R1)


def _take_socketcall(code: Assembler, table: int) -> None:
    """Replace the plan and the arguments of socketcall(2) by those of the call that it stands for."""
    code.load(R9, R10, ARGUMENTS)
    code.jump_if_greater_or_equal(R9, plans.SUBCALLS, "out")
    # The number of the call is of 32 bits; the upper half is free for that of the true one.
    code.store(R10, NUMBER + 4, R9, size=4)
    code.map_value(R1, table, plans.SUBCALL_TABLE)
    code.add(R1, R9)
    code.load(R9, R1, 0, size=1)
    code.jump_if_equal(R9, 0, "out")
    _point_to_plan(code, table)
    # No more than the call has: behind that may be no memory. The rest of the 24 bytes is as it was.
    code.load(R2, R9, plans.SIZE_AT, size=1)
    code.jump_if_greater(R2, 24, "out")
    code.jump_if_equal(R2, 0, "out")
    code.move(R1, R10)
    code.add(R1, REGISTERS)
    code.load(R3, R10, ARGUMENTS + 8)
    code.call(Helper.probe_read_user)
    code.jump_if_not_equal(R0, 0, "out")
    for index in range(6):
        code.load(R1, R10, REGISTERS + 4 * index, size=4)
        code.store(R10, ARGUMENTS + 8 * index, R1)

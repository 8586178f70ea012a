"""The programs that tell what is executed: an attempt with the words that were given, then what came of it."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import common
from rprun.backends.ebpf.layout import HEADER_SIZE, Kind, Lost
from rprun.backends.ebpf.loops import begin_loop
from rprun.backends.ebpf.walk import AT_FDCWD, append_path
from rprun.linux import syscalls
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R4, R6, R7, R8, R9, R10, Assembler, Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps

# Arguments and environment have 6 MiB at most (fs/exec.c, bprm_stack_limits).
_PIECE = 24 << 10
_MOST_ARGUMENTS = 256 * _PIECE
_MOST_WORD = 16 << 10  # Of argv[0], which can be 128 KiB long, and never is.

# The programs' own parts of the stack, of 8 bytes each.
_TOTAL, _LENGTH = (-common.STACK - 8 * index for index in range(1, 3))
_PATH, _VECTOR, _DIRECTORY = (-common.STACK - 8 * index for index in range(1, 4))


def on_attempt(maps: Maps, kernel: Kernel, *, at_entry: bool) -> Assembler:
    """sched_prepare_exec(task, bprm), since Linux 6.10, or sys_enter(regs, number): what was given, while it is there.

    The former comes when nothing of the old program has been thrown away, and only execs that will succeed, or kill,
    have come so far. The kernel has just read the arguments, so they are in memory. At the entry of the call they need
    not be, and cannot be paged in: a constant of a forked child often is not.
    """
    code = Assembler()
    code.move(R6, R1)
    if at_entry:
        code.load(R7, R6, 0)
        code.load(R9, R6, 8)
    else:
        common.skip_unless_in_tree(code, maps, "end")
        common.task(code)
        common.read_kernel(code, R7, R0, kernel.task_stack)
        code.map_value(R1, maps.frame.fd)
        code.load(R1, R1, 0)
        code.add(R7, R1)
        common.read_kernel(code, R9, R7, kernel.registers.number, 4)
    native = syscalls.native() or ""
    compat = kernel.registers.compat
    abis = [abi for abi in (native, syscalls.X32 if native == syscalls.X86_64 else None, compat) if abi]
    calls = [(abi, name) for abi in abis for name in ("execve", "execveat")]
    for abi, name in calls:
        code.jump_if_equal(R9, syscalls.NUMBERS[abi][name], f"{abi} {name}")
    code.label("end")
    common.end(code)

    for abi, name in calls:
        code.label(f"{abi} {name}")
        _read_attempt(code, kernel, abi, name, is_compat=abi == compat)
        code.jump("attempt")
    code.label("attempt")
    common.skip_unless_in_tree(code, maps, "end")
    common.begin(code, maps, Kind.ATTEMPT)
    _append_attempt(code, kernel)
    common.emit(code, maps, None)
    code.jump("end")
    return code


def _read_attempt(code: Assembler, kernel: Kernel, abi: str, name: str, *, is_compat: bool) -> None:
    """Put onto the stack what matters of the registers at R7, and the size of a pointer in argv into R9.

    It ends the program if the call was made in another ABI, where the number stands for something else.
    """
    common.task(code)
    common.read_kernel(code, R1, R0, kernel.task_compat, 4)
    code.bit_and(R1, kernel.registers.compat_bit)
    (code.jump_if_equal if is_compat else code.jump_if_not_equal)(R1, 0, "end")
    registers = kernel.registers.compat_arguments if is_compat else kernel.registers.arguments
    path = 0 if name == "execve" else 1
    for index, place in ((path, _PATH), (path + 1, _VECTOR)):
        common.read_kernel(code, R1, R7, registers[index], 4 if is_compat else 8)
        code.store(R10, place, R1)
    if path:
        common.read_kernel(code, R1, R7, registers[0], 4)
    else:
        code.move32(R1, AT_FDCWD)
    code.store(R10, _DIRECTORY, R1)
    code.move(R9, 4 if is_compat or abi == syscalls.X32 else 8)


def _append_attempt(code: Assembler, kernel: Kernel) -> None:
    """Append what is behind the header of an ATTEMPT."""
    code.load(R2, R10, _DIRECTORY)
    common.append_word(code, R2, 4, "end")
    common.append_word(code, 0, 4, "end")
    code.load(R3, R10, _PATH)
    common.append_string(code, Helper.probe_read_user_str, R3, common.PATH_MOST, "end")

    code.load(R3, R10, _VECTOR)
    code.jump_if_equal(R9, 8, "wide")
    common.read_user(code, R3, R3, 0, 4, "no argv")
    code.jump("argv")
    code.label("wide")
    common.read_user(code, R3, R3, 0, 8, "no argv")
    code.label("argv")
    common.append_string(code, Helper.probe_read_user_str, R3, _MOST_WORD, "end")
    code.jump("directory")
    code.label("no argv")
    common.append_none(code, "end")

    code.label("directory")
    code.load(R1, R10, _DIRECTORY)
    code.move32(R2, AT_FDCWD)
    code.jump_if_equal(R1, R2, "not relative")
    append_path(code, kernel, "end")
    code.jump("done")
    code.label("not relative")
    common.append_word(code, 0, 4, "end")
    code.label("done")


def on_exec(maps: Maps, kernel: Kernel) -> Assembler:
    """sched_process_exec(task, old_pid, bprm): the current process runs a new program, or is just about to."""
    code = Assembler()
    code.move(R6, R1)
    common.skip_unless_in_tree(code, maps, "end")
    common.begin(code, maps, Kind.ARGS)
    _emit_arguments(code, maps, kernel)
    common.begin(code, maps, Kind.EXEC)
    code.load(R2, R6, 8)
    common.append_word(code, R2, 4, "end")
    code.load(R2, R10, _TOTAL)
    common.append_word(code, R2, 4, "end")
    code.load(R9, R6, 16)
    common.read_kernel(code, R2, R9, kernel.bprm_interp_flags, 4)
    common.append_word(code, R2, 4, "end")
    common.append_word(code, 0, 4, "end")
    for member in (kernel.bprm_filename, kernel.bprm_interp):
        common.read_kernel(code, R3, R9, member)
        common.append_string(code, Helper.probe_read_kernel_str, R3, common.PATH_MOST, "end")
    code.move(R1, AT_FDCWD)
    append_path(code, kernel, "end")
    common.emit(code, maps, Lost.PROCESS)
    code.label("end")
    common.end(code)
    return code


def _emit_arguments(code: Assembler, maps: Maps, kernel: Kernel) -> None:
    """Emit the argument area of the current process behind the header at R8, and leave its size at R10 + _TOTAL.

    The kernel has just written it, so nothing of it needs to be paged in. Where reading or emitting fails, the pieces
    that are missing tell: they do not make up the size.
    """
    length_at = HEADER_SIZE + 4
    common.task(code)
    common.read_kernel(code, R7, R0, kernel.task_mm)
    common.read_kernel(code, R9, R7, kernel.mm_arg_start)
    common.read_kernel(code, R1, R7, kernel.mm_arg_end)
    code.subtract(R1, R9)
    code.store(R10, _TOTAL, R1)
    # Whole pieces, and then what is left.
    code.store_immediate(R8, length_at, _PIECE, size=4)
    begin_loop(code, R7, 0, "whole piece", "rest")
    code.load(R1, R10, _TOTAL)
    code.subtract(R1, R7)
    code.jump_if_less_signed(R1, _PIECE, "rest")
    code.move(R2, _PIECE)
    _emit_piece(code, maps)
    code.add(R7, _PIECE)
    code.jump_if_less(R7, _MOST_ARGUMENTS, "whole piece")
    code.label("rest")
    code.load(R1, R10, _TOTAL)
    code.subtract(R1, R7)
    code.store(R8, length_at, R1, size=4)
    # By way of memory it is a number that has nothing to do with R7: else the verifier would do this for each turn.
    code.load(R2, R8, length_at, size=4)
    code.jump_if_equal(R2, 0, "no more")
    code.jump_if_greater(R2, _PIECE, "no more")
    _emit_piece(code, maps)
    code.label("no more")


def _emit_piece(code: Assembler, maps: Maps) -> None:
    """Emit R2 bytes of what is at R9 + R7; go to a label if that fails."""
    code.store(R8, HEADER_SIZE, R7, size=4)
    code.move(R1, R8)
    code.add(R1, HEADER_SIZE + 8)
    code.move(R3, R9)
    code.add(R3, R7)
    code.store(R10, _LENGTH, R2)
    code.call(Helper.probe_read_user)
    code.jump_if_not_equal(R0, 0, "no more")
    code.map_address(R1, maps.ring.fileno())
    code.move(R2, R8)
    code.load(R3, R10, _LENGTH)
    code.add(R3, HEADER_SIZE + 8)
    code.move(R4, 0)
    code.call(Helper.ringbuf_output)
    code.jump_if_not_equal(R0, 0, "no more")

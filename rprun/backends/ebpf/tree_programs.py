"""The programs that keep the tree of processes: what announces its root, forks, and ends of processes."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import common
from rprun.backends.ebpf.layout import TGID_AT, TID_AT, Kind, Lost
from rprun.linux import syscalls, token
from rprun.linux.bpf_assembler import R0, R1, R2, R6, R7, R8, R9, R10, Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps
    from rprun.linux.bpf_assembler import Register

_PIDTYPE_TGID = 1  # enum pid_type, include/linux/pid_types.h
_LEVELS = 8  # Pid namespaces may nest 32 deep, and do not.
_SIGNAL_GROUP_EXIT = 4  # include/linux/sched/signal.h
_PARENT = -common.STACK - 8  # The program's own part of the stack.


def on_announcement(maps: Maps, kernel: Kernel, secret: int, namespace_inode: int) -> Assembler:
    """sys_enter(regs, number): every call of the host comes through here, and nearly all must be let go at once."""
    code = Assembler()
    code.move(R6, R1)
    code.load(R1, R6, 8)
    code.jump_if_not_equal(R1, token.NUMBERS[syscalls.native() or ""], "end")
    code.load(R1, R6, 0)
    common.read_kernel(code, R1, R1, kernel.registers.arguments[0])
    code.load_constant(R2, secret)
    code.jump_if_not_equal(R1, R2, "end")
    common.task(code)
    code.move(R9, R0)
    # It is the same for every task.
    common.read_kernel(code, R1, R9, kernel.task_stack)
    code.load(R2, R6, 0)
    code.subtract(R2, R1)
    code.map_value(R1, maps.frame.fd)
    code.store(R1, 0, R2)
    _find_number(code, kernel, R9, namespace_inode)
    common.read_kernel(code, R1, R9, kernel.task_tgid, 4)
    common.put_in_tree(code, maps, R1, "end")
    common.begin(code, maps, Kind.ROOT)
    common.emit(code, maps, None)
    code.label("end")
    common.end(code)
    return code


def on_fork(maps: Maps, kernel: Kernel, namespace_inode: int) -> Assembler:
    """sched_process_fork(parent, child): the child has not run yet, and the parent is the current task."""
    code = Assembler()
    code.move(R6, R1)
    common.skip_unless_in_tree(code, maps, "end")
    code.load(R9, R6, 8)
    common.read_kernel(code, R7, R9, kernel.task_pid, 4)
    common.read_kernel(code, R8, R9, kernel.task_tgid, 4)
    code.jump_if_not_equal(R7, R8, "end")  # A thread.
    # With CLONE_PARENT, and only then, it is another than the current process.
    common.read_kernel(code, R1, R9, kernel.task_real_parent)
    _find_number(code, kernel, R1, namespace_inode)
    code.load(R1, R10, common.PID, size=4)
    code.store(R10, _PARENT, R1)
    _find_number(code, kernel, R9, namespace_inode)
    common.read_kernel(code, R1, R9, kernel.task_tgid, 4)
    common.put_in_tree(code, maps, R1, "full")
    common.begin(code, maps, Kind.FORK)
    common.read_kernel(code, R1, R9, kernel.task_tgid, 4)
    code.store(R8, TID_AT, R1, size=4)
    code.store(R8, TGID_AT, R1, size=4)
    code.load(R2, R10, _PARENT)
    common.append_word(code, R2, 4, "end")
    common.append_word(code, 0, 4, "end")
    common.emit(code, maps, Lost.PROCESS)
    code.label("end")
    common.end(code)
    code.label("full")
    # Whatever it does, nothing of it will be seen.
    for category in Lost:
        common.count_lost(code, maps, category)
    common.end(code)
    return code


def on_exit(maps: Maps, kernel: Kernel) -> Assembler:
    """sched_process_exit(task): a thread ends, which is the current task; with the last one ends the process.

    Two threads that end at the same moment may both see that none lives. Who takes the process out of the tree tells.
    """
    code = Assembler()
    code.move(R6, R1)
    common.skip_unless_in_tree(code, maps, "end")
    code.load(R9, R6, 0)
    common.read_kernel(code, R6, R9, kernel.task_signal)
    common.read_kernel(code, R1, R6, kernel.signal_live, 4)
    code.jump_if_not_equal(R1, 0, "end")
    common.read_kernel(code, R1, R9, kernel.task_tgid, 4)
    common.take_out_of_tree(code, maps, R1, "end")
    # As wait_task_zombie in kernel/exit.c tells the parent: how all were ended, else how the initial thread was.
    common.read_kernel(code, R1, R6, kernel.signal_flags, 4)
    code.jump_if_any_bit(R1, _SIGNAL_GROUP_EXIT, "all")
    common.read_kernel(code, R9, R9, kernel.task_group_leader)
    common.read_kernel(code, R9, R9, kernel.task_exit_code, 4)
    code.jump("status")
    code.label("all")
    common.read_kernel(code, R9, R6, kernel.signal_group_exit_code, 4)
    code.label("status")
    common.begin(code, maps, Kind.EXIT)
    common.append_word(code, R9, 4, "end")
    common.append_word(code, 0, 4, "end")
    common.emit(code, maps, Lost.PROCESS)
    code.label("end")
    common.end(code)
    return code


def _find_number(code: Assembler, kernel: Kernel, task: Register, namespace_inode: int) -> None:
    """Put a task's process's number in rprun's own pid namespace at R10 + PID; 0 if it has none there.

    A struct pid has a number for each namespace from the initial one down. R7 and R8 are lost.
    """
    found, done = common.new_label("number"), common.new_label("number found")
    common.read_kernel(code, R1, task, kernel.task_signal)
    common.read_kernel(code, R7, R1, kernel.signal_pids + 8 * _PIDTYPE_TGID)
    common.read_kernel(code, R8, R7, kernel.pid_level, 4)
    code.store_immediate(R10, common.PID, 0, size=4)
    code.add(R7, kernel.pid_numbers)
    for level in range(_LEVELS):
        code.jump_if_less(R8, level, done)
        common.read_kernel(code, R1, R7, kernel.upid_ns)
        common.read_kernel(code, R1, R1, kernel.pid_namespace_inum, 4)
        # An inode is a number without sign, and may have the highest of its 32 bits.
        code.load_constant(R2, namespace_inode)
        code.jump_if_equal(R1, R2, found)
        code.add(R7, kernel.upid_size)
    code.jump(done)
    code.label(found)
    common.read_kernel(code, R1, R7, kernel.upid_nr, 4)
    code.store(R10, common.PID, R1, size=4)
    code.label(done)

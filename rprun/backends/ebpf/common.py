"""What the programs have in common, as macros over an assembler: each appends the instructions that its name says.

Some facts about all of them:

- R6 is the context, R7 the size of the record so far, R8 the scratch value that it is put together in; R9 is free.
  They are kept by calls, and only what is said to set them does. All macros lose R0 to R5.
- Of the stack the macros use `STACK` bytes, R10 - 1 downwards; below it belongs to the program.
- The verifier must see that an access is within the scratch. R7 is a number with bounds that it follows, so there is a
  comparison (`need_room`) before each access. Of two ways that come together again the one with the wider bounds should
  not be jumped to: the verifier goes straight on first, and need not follow the other if its bounds lie within.
- One scratch value a CPU is enough. A tracepoint runs its programs with preemption disabled, on the task that it is
  about (include/linux/tracepoint.h, __DO_TRACE; for sys_enter and sys_exit include/trace/bpf_probe.h), and none of ours
  can be met in an interrupt: calls, forks, execs and exits are done by tasks. Nor do two nest in one task: an exec or
  an exit happens within a system call, but after the program at its entry has ended and before that at its exit begins.
  A kernel with PREEMPT_RT may disable migration only: there it would not be enough.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from itertools import count

from rprun.backends.ebpf import layout
from rprun.backends.ebpf.maps import SCRATCH_SIZE
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R4, R7, R8, R10, Assembler, Helper, Register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.layout import Kind, Lost
    from rprun.backends.ebpf.maps import Maps

STACK = 32
PID = -4
"""Where on the stack the process's number for the header is: u32."""
PATH_MOST = 4097
"""For `append_string`: PATH_MAX (include/uapi/linux/limits.h) and one more."""
_KEY = -8  # u32
_VALUE = -16  # u64
_labels = count()


def new_label(about: str) -> str:
    """Return a label that nothing else has."""
    return f"{about} {next(_labels)}"


def end(code: Assembler) -> None:
    """End the program; what it returns is for nobody."""
    code.move(R0, 0)
    code.exit()


def task(code: Assembler) -> None:
    """Set R0 to the current struct task_struct, as a number that can be read from by `read_kernel`."""
    code.call(Helper.get_current_task)


def read_kernel(code: Assembler, destination: Register, base: Register, offset: int, size: int = 8) -> None:
    """Set a register to the 1, 2, 4 or 8 bytes of the kernel's memory at `base` + `offset`; to 0 if there are none."""
    copy_kernel(code, _VALUE, size, base, offset)
    code.load(destination, R10, _VALUE, size=size)


def copy_kernel(code: Assembler, place: int, size: int, base: Register, offset: int) -> None:
    """Copy the kernel's memory at `base` + `offset` to the stack at R10 + `place`; zeros if there is none."""
    _copy(code, Helper.probe_read_kernel, place, size, base, offset)


def _copy(code: Assembler, helper: Helper, place: int, size: int, base: Register, offset: int) -> None:
    # First, as `base` may be a register that is set below.
    code.move(R3, base)
    code.add(R3, offset)
    code.move(R1, R10)
    code.add(R1, place)
    code.move(R2, size)
    code.call(helper)


def read_user(code: Assembler, destination: Register, base: Register, offset: int, size: int, unreadable: str) -> None:
    """Do so with memory of the current process; go to a label if it cannot be read, or not without paging it in."""
    _copy(code, Helper.probe_read_user, _VALUE, size, base, offset)
    code.jump_if_not_equal(R0, 0, unreadable)
    code.load(destination, R10, _VALUE, size=size)


def skip_unless_in_tree(code: Assembler, maps: Maps, label: str) -> None:
    """Go to a label if the current process is not of the command's tree; keep its number for `begin`."""
    code.call(Helper.get_current_pid_tgid)
    code.shift_right(R0, 32)
    look_up_in_tree(code, maps, R0, label)
    code.load(R1, R0, 0, size=4)
    code.store(R10, PID, R1, size=4)


def look_up_in_tree(code: Assembler, maps: Maps, tgid: Register, label: str) -> None:
    """Set R0 to the address of a process's value in `tree`; go to a label if there is none."""
    _point_to_key(code, maps, tgid)
    code.call(Helper.map_lookup_elem)
    code.jump_if_equal(R0, 0, label)


def put_in_tree(code: Assembler, maps: Maps, tgid: Register, full: str) -> None:
    """Put a process into `tree`, with the number at R10 + PID; go to a label if that is full."""
    _point_to_key(code, maps, tgid)
    code.move(R3, R10)
    code.add(R3, PID)
    code.move(R4, 0)
    code.call(Helper.map_update_elem)
    code.jump_if_not_equal(R0, 0, full)


def take_out_of_tree(code: Assembler, maps: Maps, tgid: Register, label: str) -> None:
    """Take a process out of `tree`; go to a label if it was not there any more."""
    _point_to_key(code, maps, tgid)
    code.call(Helper.map_delete_elem)
    code.jump_if_not_equal(R0, 0, label)


def _point_to_key(code: Assembler, maps: Maps, tgid: Register) -> None:
    """Set R1 and R2 to what each helper for maps takes first: `tree`, and the address of a process's key."""
    code.store(R10, _KEY, tgid, size=4)
    code.map_address(R1, maps.tree.fd)
    code.move(R2, R10)
    code.add(R2, _KEY)


def point_to_scratch(code: Assembler, maps: Maps) -> None:
    """Set R8 to the scratch value."""
    found = new_label("scratch")
    code.store_immediate(R10, _KEY, 0, size=4)
    code.map_address(R1, maps.scratch.fd)
    code.move(R2, R10)
    code.add(R2, _KEY)
    code.call(Helper.map_lookup_elem)
    code.jump_if_not_equal(R0, 0, found)
    # It is always there, but the verifier wants the comparison.
    end(code)
    code.label(found)
    code.move(R8, R0)


def begin(code: Assembler, maps: Maps, kind: Kind) -> None:
    """Set R8 to the scratch value, with the header about the current thread in it, and R7 to the header's size.

    The number at R10 + PID goes into it, as `skip_unless_in_tree` leaves it.
    """
    point_to_scratch(code, maps)
    code.store_immediate(R8, layout.KIND_AT, kind, size=4)
    code.load(R1, R10, PID, size=4)
    code.store(R8, layout.PID_AT, R1, size=4)
    code.call(Helper.get_current_pid_tgid)
    code.store(R8, layout.TID_AT, R0, size=4)
    code.shift_right(R0, 32)
    code.store(R8, layout.TGID_AT, R0, size=4)
    code.call(Helper.ktime_get_ns)
    code.store(R8, layout.TIME_AT, R0)
    code.move(R7, layout.HEADER_SIZE)


def need_room(code: Assembler, size: int, label: str) -> None:
    """Go to a label unless there is room for so many bytes at R8 + R7."""
    code.jump_if_greater(R7, SCRATCH_SIZE - size, label)


def append_word(code: Assembler, source: Register | int, size: int, label: str) -> None:
    """Append a register's lower 4 or 8 bytes, not of R1, or a number; go to a label if there is no room."""
    need_room(code, size, label)
    code.move(R1, R8)
    code.add(R1, R7)
    if isinstance(source, Register):
        code.store(R1, 0, source, size=size)
    else:
        code.store_immediate(R1, 0, source, size=size)
    code.add(R7, size)


def append_string(code: Assembler, helper: Helper, address: Register, most: int, label: str) -> None:
    """Append the blob of a string, without its NUL; None if it cannot be read, or is not shorter than `most` - 1.

    Args:
        code: the program.
        helper: probe_read_user_str or probe_read_kernel_str.
        address: where the string is; not R1 or R2.
        most: bytes to read at most. A string that fills them, NUL included, may have been cut: PATH_MAX + 1 for paths.
        label: where to go if there is no room for `most`.
    """
    unreadable, done = new_label("no string"), new_label("string")
    need_room(code, 4 + most, label)
    code.move(R3, address)
    code.move(R1, R8)
    code.add(R1, R7)
    code.add(R1, 4)
    code.move(R2, most)
    code.call(helper)
    # As a number without sign an errno is greater, too. An empty string has its NUL; 0 comes for no bytes at all.
    code.jump_if_greater_or_equal(R0, most, unreadable)
    code.jump_if_equal(R0, 0, unreadable)
    code.add(R0, -1)
    code.move(R1, R8)
    code.add(R1, R7)
    code.store(R1, 0, R0, size=4)
    code.add(R7, 4)
    code.add(R7, R0)
    code.jump(done)
    code.label(unreadable)
    append_none(code, label)
    code.label(done)


def append_none(code: Assembler, label: str) -> None:
    """Append the blob that stands for None; go to a label if there is no room."""
    append_word(code, -1, 4, label)


def emit(code: Assembler, maps: Maps, category: Lost | None) -> None:
    """Give the record to the ring.

    Args:
        code: the program.
        maps: where the ring is.
        category: the counter to add 1 to if the ring has no room; None if nothing is lost by that but detail.
    """
    done = new_label("emitted")
    code.jump_if_greater(R7, SCRATCH_SIZE, done)  # It never is; the verifier must know.
    code.map_address(R1, maps.ring.fileno())
    code.move(R2, R8)
    code.move(R3, R7)
    code.move(R4, 0)
    code.call(Helper.ringbuf_output)
    if category is not None:
        code.jump_if_equal(R0, 0, done)
        count_lost(code, maps, category)
    code.label(done)


def count_lost(code: Assembler, maps: Maps, category: Lost) -> None:
    """Add 1 to a counter."""
    code.map_value(R1, maps.lost.fd, 8 * category)
    code.move(R2, 1)
    code.atomic_add(R1, 0, R2)

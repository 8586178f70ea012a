"""Loops that the verifier goes through once, where the kernel can promise that they end.

Some facts about it (include/uapi/linux/bpf.h: BPF_MAY_GOTO; kernel/bpf/verifier.c):

- Of a loop with a counter the verifier takes every turn, as the counter's value differs. That makes up nearly all of
  the time that it takes for a program.
- Linux 6.9 has an instruction that ends a loop after millions of turns. With it in a loop the verifier need not see the
  end, and is content once a turn brings it nothing new: so nothing that it knows may differ from turn to turn. What has
  been in the value of a map is any number for it, and so is a counter from there. The loop still ends by that.
- The kernel keeps the instruction's own count behind the program's stack; without the JIT compiler there is no room for
  it behind the 512 bytes that these programs use.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
from errno import EINVAL
from functools import cache

from rprun.backends.ebpf.maps import SCRATCH_SIZE
from rprun.linux import bpf
from rprun.linux.bpf_assembler import R0, R8, R10, Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.linux.bpf_assembler import Register

_HIDDEN = SCRATCH_SIZE - 8  # From R8: the last of what `walk.NOTES` keeps free.
_STACK_SIZE = 512


def begin_loop(
    code: Assembler,
    counter: Register,
    start: int,
    label: str,
    end: str,
    *,
    changing: tuple[Register, ...] = (),
    places: tuple[int, ...] = (),
) -> None:
    """Set a register to a number, and name the place that the loop comes back to.

    What is in the loop must compare the counter, and bound by itself what else changes with each turn: the verifier
    may know neither the counter nor the turn.

    Args:
        code: the program; R8 is the scratch value.
        counter: one of R1 to R9 but R8.
        start: its value in the first turn.
        label: the name.
        end: a label behind the loop. It is never gone to from here, but the verifier believes so.
        changing: other registers that are numbers and change with each turn. The verifier takes them for any number
            when the loop begins: bounds that it knew would move with each turn, until they meet those of a comparison.
        places: where on the stack the loop stores numbers of 8 bytes, and there are some already: the same for them.
    """
    if not has_may_goto():
        code.move(counter, start)
        code.label(label)
        return
    for place in places:
        code.load(counter, R10, place)
        forget(code, counter)
        code.store(R10, place, counter)
    code.move(counter, start)
    for register in (counter, *changing):
        forget(code, register)
    code.label(label)
    code.may_goto(end)


def forget(code: Assembler, register: Register) -> None:
    """Have the verifier take a number in a register for any: R8 is the scratch value."""
    code.store(R8, _HIDDEN, register)
    code.load(register, R8, _HIDDEN)


@cache
def has_may_goto() -> bool:
    """Tell whether the kernel takes the instruction, in a program with as much stack as can be.

    Raises:
        OSError: as `bpf.load_program`, but for a kernel that does not know it.
    """
    code = Assembler()
    code.store_immediate(R10, -_STACK_SIZE, 0)
    code.may_goto("end")
    code.label("end")
    code.move(R0, 0)
    code.exit()
    try:
        os.close(bpf.load_program(bpf.ProgramKind.RAW_TRACEPOINT, code.assemble(), name="rprun_may_goto"))
    except OSError as error:
        if error.errno != EINVAL:
            raise
        return False
    return True

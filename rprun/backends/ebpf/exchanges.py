"""Exchanges of a number in memory that no other CPU can come between, where the kernel has them.

Linux 5.12 has BPF_XCHG and BPF_CMPXCHG (include/uapi/linux/bpf.h). Before, another CPU may change the number between
the load and the store that take their place.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
from errno import EINVAL
from functools import cache

from rprun.backends.ebpf.common import new_label
from rprun.linux import bpf
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R10, Assembler
from rprun.linux.syscalls import X86_64, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.linux.bpf_assembler import Register

_ENOTSUPP = 524  # include/linux/errno.h; of a JIT compiler that lacks an instruction.


def exchange(code: Assembler, base: Register, at: int, register: Register) -> None:
    """Put a register at `base` + `at`, and what was there into the register; R3 is lost, and may be neither."""
    if has_exchanges():
        code.exchange(base, at, register)
        return
    code.load(R3, base, at)
    code.store(base, at, register)
    code.move(register, R3)


def compare_exchange(code: Assembler, base: Register, at: int, register: Register) -> None:
    """Do so only if R0 was there; what was there comes into R0 in any case. R3 is lost."""
    if has_exchanges():
        code.compare_exchange(base, at, register)
        return
    other = new_label("other")
    code.load(R3, base, at)
    code.jump_if_not_equal(R3, R0, other)
    code.store(base, at, register)
    code.label(other)
    code.move(R0, R3)


def order_loads(code: Assembler, base: Register, at: int) -> None:
    """Have what is loaded from now on be no older than what has been; `base` + `at` is 8 bytes, and R0 and R2 are lost.

    aarch64 may load the later first, but for an exchange in between: of any number for itself.
    """
    if loads_in_order() or not has_exchanges():
        return
    code.load(R0, base, at)
    code.move(R2, R0)
    code.compare_exchange(base, at, R2)


def loads_in_order() -> bool:
    """Tell whether this machine does without."""
    return native() == X86_64


@cache
def has_exchanges() -> bool:
    """Tell whether the kernel, and its JIT compiler for this machine, take the instructions.

    Raises:
        OSError: as `bpf.load_program`, but for a kernel that does not know them.
    """
    code = Assembler()
    code.store_immediate(R10, -8, 0)
    code.move(R1, 1)
    code.exchange(R10, -8, R1)
    code.move(R0, 1)
    code.compare_exchange(R10, -8, R1)
    code.move(R0, 0)
    code.exit()
    try:
        os.close(bpf.load_program(bpf.ProgramKind.RAW_TRACEPOINT, code.assemble(), name="rprun_exchange"))
    except OSError as error:
        if error.errno not in (EINVAL, _ENOTSUPP):
            raise
        return False
    return True

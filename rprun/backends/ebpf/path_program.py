"""The program for calls that are about paths, and for io_uring_setup."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.call_frame import FD, load_argument
from rprun.backends.ebpf.call_parts import take_over
from rprun.backends.ebpf.call_paths import append_place, read_how
from rprun.backends.ebpf.common import emit, end, new_label
from rprun.backends.ebpf.descriptors import identify, keep
from rprun.backends.ebpf.layout import Lost
from rprun.backends.ebpf.plans import What
from rprun.backends.ebpf.walk import load_file
from rprun.linux.bpf_assembler import R1, R6, R8, R9, R10, Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps


def assemble(maps: Maps, kernel: Kernel, table: int) -> bytes:
    """Return the program; the arguments are those of `call_program.assemble`."""
    code = Assembler()
    take_over(code, maps, table)
    code.load(R1, R9, plans.WHAT_AT, size=1)
    code.jump_if_not_equal(R1, What.RING, "paths")
    code.load(R1, R6, 8)
    code.jump_if_less_signed(R1, 0, "out")
    code.jump("captured")
    code.label("paths")
    _keep_opened(code, maps, kernel)
    read_how(code)
    for slot in range(2):
        append_place(code, kernel, slot)
    code.label("captured")
    emit(code, maps, Lost.FILE)
    code.label("out")
    end(code)
    return code.assemble()


def _keep_opened(code: Assembler, maps: Maps, kernel: Kernel) -> None:
    """Note how a call opens a file, and have the descriptor known from now on that it has opened."""
    done, no_flags, opened = map(new_label, ("not opened", "no flags", "opened"))
    code.load(R1, R9, plans.OPENS_AT, size=1)
    code.jump_if_equal(R1, plans.NONE, done)
    code.jump_if_equal(R1, plans.DESCRIPTOR, no_flags)
    load_argument(code, R1, R1)
    code.store(R8, plans.OPEN_FLAGS_AT, R1, size=4)
    code.label(no_flags)
    code.load(R1, R6, 8)
    code.jump_if_greater_or_equal_signed(R1, 0, opened)
    code.store(R8, plans.FAILURE_AT, R1, size=4)
    code.jump(done)
    code.label(opened)
    code.store(R10, FD, R1)
    load_file(code, kernel, R1, done)
    identify(code, kernel)
    keep(code, maps, Lost.FILE, is_new=True)
    code.label(done)

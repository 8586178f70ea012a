"""The program for calls that move bytes through a descriptor, or close one."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.call_frame import FD, load_argument
from rprun.backends.ebpf.call_parts import take_over
from rprun.backends.ebpf.common import end
from rprun.backends.ebpf.counting import append_count
from rprun.backends.ebpf.descriptors import close
from rprun.backends.ebpf.plans import What
from rprun.linux.bpf_assembler import R1, R9, R10, Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps
    from rprun.observe.categories import EventCategory


def assemble(maps: Maps, kernel: Kernel, table: int, categories: Collection[EventCategory]) -> bytes:
    """Return the program; the arguments are those of `call_program.assemble`, with what is to be counted."""
    code = Assembler()
    take_over(code, maps, table)
    code.load(R1, R9, plans.WHAT_AT, size=1)
    code.jump_if_not_equal(R1, What.CLOSE, "count")
    code.load(R1, R9, plans.ADDRESS_AT, size=1)
    load_argument(code, R1, R1)
    code.store(R10, FD, R1)
    close(code, maps, kernel, "out")
    code.label("count")
    append_count(code, maps, kernel, categories)
    code.label("out")
    end(code)
    return code.assemble()

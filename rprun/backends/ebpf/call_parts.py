"""How one of the programs at the end of calls goes on with another one."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from enum import IntEnum

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.common import point_to_scratch
from rprun.linux.bpf_assembler import R1, R2, R3, R6, R7, R8, R9, Assembler, Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.maps import Maps


class Part(IntEnum):
    """The index of a program among those that one can go on with."""

    PATHS = 0
    PEERS = 1
    COUNTS = 2


def continue_with(code: Assembler, programs: int, part: Part) -> None:
    """Let another program go on, which does not come back; where that is not loaded, nothing happens.

    Args:
        code: the program.
        programs: the descriptor of the PROG_ARRAY.
        part: which one.
    """
    code.move(R1, R6)
    code.map_address(R2, programs)
    code.move(R3, int(part))
    code.call(Helper.tail_call)


def take_over(code: Assembler, maps: Maps, table: int) -> None:
    """Go on where another program has ended: R6 is the context, R8 the scratch value, R9 the call's plan.

    R7 is behind the fixed part of a CALL record.
    """
    code.move(R6, R1)
    point_to_scratch(code, maps)
    code.load(R1, R8, plans.PLAN_NOTE)
    code.jump_if_greater_or_equal(R1, plans.PLAN.size * plans.MOST_PLANS, "out")  # Never; the verifier must know.
    code.map_value(R9, table, plans.PLANS_TABLE)
    code.add(R9, R1)
    code.move(R7, plans.BLOBS_AT)

"""Who may change an element of `maps.descriptors`, where several CPUs are at it.

Some facts about it:

- Who exchanges the time since which an element was about its file with something else tells of its end. That only
  succeeds if the time is there still. So what was read of the element between a first look at the time and the exchange
  is of that one file, and is told; nobody takes anything out of the element after it, however long a processor stands
  still.
- Who makes the element be about another file sets the counters anew. Until that is done the time is `CLAIMED`, so that
  it is done by one. A thread that has just opened a file is alone with its number and need not wait. Of several that
  come upon a file at the same moment, which was not seen opened, the others wait for the one; not for ever.
- Without exchanges (see there) both may tell: the time in the records is the same, and of two that are the same the
  second one is passed over by who reads them. Or the one that closes may put its 0 over what the other one has put
  there meanwhile: of the next file nothing is known then, until it is written to.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import layout
from rprun.backends.ebpf.call_frame import CATEGORY, CLOSED, ELEMENT, FILE, SINCE, VALUE
from rprun.backends.ebpf.common import new_label
from rprun.backends.ebpf.exchanges import compare_exchange, exchange, order_loads
from rprun.backends.ebpf.layout import CLAIMED
from rprun.backends.ebpf.loops import begin_loop
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R4, R8, R10, Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.layout import Lost

COUNTERS = layout.SENT_AT, layout.RECEIVED_AT
_PAUSE = CLOSED  # Where nothing is told of meanwhile; an atomic instruction takes longer than others.
_MOST_TURNS = 100  # About 1 us: what is waited for are ten instructions.


def exchange_since(code: Assembler, successor: int) -> None:
    """Put a number in place of the time since which the element at `ELEMENT` was about its file, if that is at `SINCE`.

    What was there comes into R0.
    """
    code.load(R0, R10, SINCE)
    code.load(R1, R10, ELEMENT)
    code.move(R2, successor)
    compare_exchange(code, R1, layout.SINCE_AT, R2)


def claim_free(code: Assembler, otherwise: str) -> None:
    """Claim the element at `ELEMENT` if it is about nothing; go to a label if it is about something."""
    code.move(R0, 0)
    code.load(R1, R10, ELEMENT)
    code.move(R2, CLAIMED)
    compare_exchange(code, R1, layout.SINCE_AT, R2)
    code.jump_if_not_equal(R0, 0, otherwise)


def occupy(code: Assembler, category: Lost, *, are_counted: bool) -> None:
    """Have the element at `ELEMENT`, which is claimed, be about the file at `FILE`.

    Args:
        code: the program.
        category: of the call.
        are_counted: whether bytes have been: those at `VALUE`.
    """
    code.load(R1, R10, ELEMENT)
    for at in COUNTERS:
        if are_counted:
            code.load(R2, R10, VALUE + at)
            code.store(R1, at, R2)
        else:
            code.store_immediate(R1, at, 0)
    code.load(R2, R10, FILE)
    code.store(R1, layout.FILE_AT, R2)
    code.store_immediate(R1, layout.CATEGORY_AT, int(category))
    code.load(R2, R8, layout.TIME_AT)
    exchange(code, R1, layout.SINCE_AT, R2)


def join(code: Assembler, category: Lost, otherwise: str, known: str) -> None:
    """Have the element at `ELEMENT` be about the file at `FILE`, with the counters at `VALUE`, as others may do, too.

    Args:
        code: the program.
        category: of the call.
        otherwise: where to go if it is about something else, or it takes too long to see that.
        known: where to go if another one has done so: the counters have been added to its own.
    """
    again, wait, others, done = map(new_label, ("again", "wait", "others", "joined"))
    claim_free(code, wait)
    occupy(code, category, are_counted=True)
    code.jump(done)
    code.label(wait)
    code.load(R1, R10, ELEMENT)
    code.store_immediate(R10, _PAUSE, 0)
    begin_loop(code, R4, 0, again, otherwise)
    code.load(R2, R1, layout.SINCE_AT)
    code.jump_if_greater(R2, CLAIMED, others)
    code.atomic_add(R10, _PAUSE, R2)
    code.add(R4, 1)
    code.jump_if_less(R4, _MOST_TURNS, again)
    code.jump(otherwise)
    code.label(others)
    code.load(R3, R1, layout.FILE_AT)
    code.load(R2, R10, FILE)
    code.jump_if_not_equal(R3, R2, otherwise)
    for at in COUNTERS:
        code.load(R2, R10, VALUE + at)
        code.atomic_add(R1, at, R2)
    code.jump(known)
    code.label(done)


def copy_counters(code: Assembler) -> None:
    """Copy what a CLOSED record says of the element at `ELEMENT`, to be told if the exchange shows it to be right."""
    code.load(R1, R10, ELEMENT)
    order_loads(code, R1, layout.SINCE_AT)
    for at, source in ((8, layout.SENT_AT), (16, layout.RECEIVED_AT)):
        code.load(R2, R1, source)
        code.store(R10, CLOSED + layout.HEADER_SIZE + at, R2)
    code.load(R2, R1, layout.CATEGORY_AT)
    code.store(R10, CATEGORY, R2)

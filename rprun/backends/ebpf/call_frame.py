"""What the parts of the program at the end of calls have in common: where on the stack things are, and two macros.

R9 is the call's plan throughout, but where something else is said.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import layout, plans
from rprun.backends.ebpf.common import copy_kernel
from rprun.linux.bpf_assembler import R3, R7, R8, R10, Assembler, Register

# Below the stack of the macros in `common`, down to what `walk` uses.
NUMBER, ARCH, ARGUMENTS = -40, -48, -96
"""The call's number, the AUDIT_ARCH of its ABI, and its six arguments, until they are in the record."""
REGISTERS, REGISTERS_MOST = -384, 288
"""A part of struct pt_regs, or what socketcall(2) points to."""
TEXT, SK, LENGTH, MESSAGE, PLAN = range(-104, -144, -8)
"""In its place, once the arguments have been taken out of it. `SK` is the struct sock of the call's socket, or 0."""
# About a descriptor: its number, its file (`descriptors.identify`), the key of its element in `maps.descriptors` and a
# value for that; how many bytes a call has moved, and which member of the value counts them; the file's type; the
# address of the element; a CLOSED record; the file's inode.
FD, FILE, KEY, VALUE, MOVED, MEMBER, MODE, ELEMENT, CLOSED, INODE = (
    -144, -152, -160, -200, -208, -216, -224, -232, -296, -304,
)  # fmt: skip
_PARTS, _PARTS_MOST = -384, 80  # In place of the registers too, up to those above.
CATEGORY, SINCE = (CLOSED + layout.HEADER_SIZE + at for at in (24, 32))
"""In the CLOSED record: the category, and since when the element has been about its file."""


def load_argument(code: Assembler, destination: Register, index: Register) -> None:
    """Set a register to the argument whose index, below 8, is in another one."""
    code.bit_and(index, 7)
    code.shift_left(index, 3)
    code.add(index, R8)
    code.load(destination, index, plans.ARGUMENTS_AT)


def load_end(code: Assembler, destination: Register) -> None:
    """Set a register to the address behind the record."""
    code.move(destination, R8)
    code.add(destination, R7)


def copy_parts(code: Assembler, base: int, *members: tuple[int, int]) -> tuple[int, ...]:
    """Copy members of a structure of the kernel to the stack, zeros if there are none; return where each is.

    Where they are near each other that is one copy, which costs hardly more than that of a single one. What was copied
    before is lost.

    Args:
        code: the program.
        base: where on the stack the structure's address is.
        members: offset and size of each; all but the last are of 8 bytes at most.
    """
    # The verifier wants what is loaded from the stack to be aligned, which each is in the structure.
    first = min(offset for offset, _ in members) // 8 * 8
    size = max(offset + size for offset, size in members) - first
    if size <= _PARTS_MOST:
        code.load(R3, R10, base)
        copy_kernel(code, _PARTS, size, R3, first)
        return tuple(_PARTS + offset - first for offset, _ in members)
    places = tuple(range(_PARTS, _PARTS + 8 * len(members), 8))
    for place, (offset, size) in zip(places, members, strict=True):
        code.load(R3, R10, base)
        copy_kernel(code, place, size, R3, offset)
    return places

"""How much goes through a descriptor: what reads, writes, sends and receives have moved, by their results.

Some facts about it:

- Writing to a mapping (mmap(2)) is no call, and what io_uring and io_submit(2) do comes by no result: neither is
  counted.
- What MSG_PEEK and MSG_ERRQUEUE give is there still, or was sent by the process itself.
- The first call that is counted for a descriptor that was not seen to be opened has a FOUND record: a CALL record whose
  result is the descriptor, and whose blobs are the names of the path that leads to the file, or the address of the
  socket's peer.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import layout, plans
from rprun.backends.ebpf.call_frame import (
    ELEMENT,
    FD,
    FILE,
    INODE,
    MEMBER,
    MESSAGE,
    MODE,
    MOVED,
    SINCE,
    VALUE,
    load_argument,
)
from rprun.backends.ebpf.call_peers import IS_SOCKET, TYPE_OF_FILE, read_socket
from rprun.backends.ebpf.common import emit, new_label, read_kernel, read_user
from rprun.backends.ebpf.descriptors import count_unkept, find, identify_by_inode, put, tell_end
from rprun.backends.ebpf.flows import NO_FLAGS, Flow
from rprun.backends.ebpf.layout import Kind, Lost
from rprun.backends.ebpf.loops import begin_loop, forget
from rprun.backends.ebpf.socket_address import append_socket_address
from rprun.backends.ebpf.walk import append_path, load_file
from rprun.linux.bpf_assembler import R0, R1, R2, R4, R6, R7, R8, R9, R10, Assembler
from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps

_FIFO, _DEVICE, _BLOCK_DEVICE, _REGULAR = 0x1000, 0x2000, 0x6000, 0x8000  # include/uapi/linux/stat.h
_TAKES_NOTHING = 0x2 | 0x2000  # MSG_PEEK, MSG_ERRQUEUE: include/linux/socket.h
_MOST_MESSAGES = 1024  # UIO_MAXIOV, include/uapi/linux/uio.h
_SENT, _RECEIVED = layout.SENT_AT, layout.RECEIVED_AT


def append_count(code: Assembler, maps: Maps, kernel: Kernel, categories: Collection[EventCategory]) -> None:
    """Add what the call has moved to what is kept of its descriptor; ends at the label `out`."""
    code.load(R1, R9, plans.FLOW_AT, size=1)
    code.jump_if_equal(R1, Flow.NONE, "out")
    code.load(R1, R6, 8)
    code.jump_if_less_or_equal_signed(R1, 0, "out")
    code.store(R10, MOVED, R1)
    code.load(R1, R9, plans.FLOW_FLAGS_AT, size=1)
    code.jump_if_equal(R1, NO_FLAGS, "taken for good")
    load_argument(code, R1, R1)
    code.jump_if_any_bit(R1, _TAKES_NOTHING, "out")
    code.label("taken for good")
    _find_file(code, kernel)
    if EventCategory.NETWORK in categories:
        _add_messages(code)

    find(code, maps, "first")
    code.load(R1, R0, layout.SINCE_AT)
    code.jump_if_less_or_equal(R1, layout.CLAIMED, "first")
    code.load(R4, R0, layout.FILE_AT)
    code.load(R2, R10, FILE)
    code.jump_if_not_equal(R4, R2, "stale")
    code.load(R1, R10, ELEMENT)
    code.load(R2, R10, MOVED)
    code.load(R4, R10, MEMBER)
    code.jump_if_equal(R4, _RECEIVED, "add received")
    code.atomic_add(R1, _SENT, R2)
    code.jump("out")
    code.label("add received")
    code.atomic_add(R1, _RECEIVED, R2)
    code.jump("out")

    code.label("stale")
    code.store(R10, SINCE, R1)
    tell_end(code, maps, "first")
    # What is there now may be nothing that is kept, as a pipe.
    code.label("first")
    _append_found(code, maps, kernel, categories)


def _find_file(code: Assembler, kernel: Kernel) -> None:
    """Put descriptor, struct file and type at their places, and which counter counts; go to `out` if none does."""
    code.load(R1, R8, plans.ARGUMENTS_AT)
    code.store(R10, FD, R1)
    code.move(R1, _SENT)
    code.store(R10, MEMBER, R1)
    code.load(R2, R9, plans.FLOW_AT, size=1)
    code.jump_if_equal(R2, Flow.OUT, "found type")
    code.jump_if_equal(R2, Flow.OUT_MESSAGES, "found type")
    code.jump_if_not_equal(R2, Flow.BETWEEN, "into")
    code.load(R1, R8, plans.ARGUMENTS_AT + 16)
    code.store(R10, FD, R1)
    _load_type(code, kernel)
    code.jump_if_not_equal(R1, _FIFO, "typed")
    # Into a pipe: what a socket has received, else what is written, which counts if the pipe has a name.
    code.load(R1, R8, plans.ARGUMENTS_AT)
    code.store(R10, FD, R1)
    _load_type(code, kernel)
    code.jump_if_equal(R1, IS_SOCKET, "into")
    code.load(R1, R8, plans.ARGUMENTS_AT + 16)
    code.store(R10, FD, R1)
    code.jump("found type")
    code.label("into")
    code.move(R1, _RECEIVED)
    code.store(R10, MEMBER, R1)
    code.label("found type")
    _load_type(code, kernel)
    code.label("typed")
    code.store(R10, MODE, R1)
    code.jump_if_equal(R1, IS_SOCKET, "of a socket")
    code.load(R2, R10, MEMBER)
    code.jump_if_equal(R2, _RECEIVED, "out")
    code.label("of a socket")
    # On some ways both are constants here, and the verifier would go through all that follows for each pair of them.
    for at in (MODE, MEMBER):
        code.load(R1, R10, at)
        forget(code, R1)
        code.store(R10, at, R1)
    code.load(R1, R10, INODE)
    identify_by_inode(code, kernel)


def _load_type(code: Assembler, kernel: Kernel) -> None:
    """Put the struct file of `FD` and its inode at their places, and set R1 to its type; go to `out` without one."""
    code.load(R1, R10, FD)
    load_file(code, kernel, R1, "out")
    code.store(R10, FILE, R0)
    read_kernel(code, R1, R0, kernel.file_f_inode)
    code.store(R10, INODE, R1)
    read_kernel(code, R1, R1, kernel.inode_i_mode, 2)
    code.bit_and(R1, TYPE_OF_FILE)


def _add_messages(code: Assembler) -> None:
    """Put the sum of msg_len of the struct mmsghdr that the call has filled at `MOVED`, if it is of those calls."""
    code.load(R1, R9, plans.FLOW_AT, size=1)
    code.jump_if_equal(R1, Flow.IN_MESSAGES, "summed")
    code.jump_if_not_equal(R1, Flow.OUT_MESSAGES, "one")
    code.label("summed")
    # sizeof(struct mmsghdr) and offset of msg_len, with long pointers or with short ones
    code.load(R2, R9, plans.SHORT_AT, size=1)
    code.shift_left(R2, 5)
    code.move(R7, 64)
    code.subtract(R7, R2)
    code.load(R1, R8, plans.ARGUMENTS_AT + 8)
    code.add(R1, R7)
    code.add(R1, -8)
    code.jump_if_equal(R2, 0, "long")
    code.add(R1, 4)
    code.label("long")
    code.store(R10, MESSAGE, R1)
    code.move(R1, 0)
    code.store(R10, VALUE, R1)
    begin_loop(code, R9, 0, "sum", "whole", places=(MESSAGE, VALUE))
    code.load(R1, R10, MOVED)
    code.jump_if_greater_or_equal(R9, R1, "whole")
    code.load(R4, R10, MESSAGE)
    read_user(code, R1, R4, 0, 4, "whole")
    code.load(R2, R10, VALUE)
    code.add(R2, R1)
    code.store(R10, VALUE, R2)
    code.load(R4, R10, MESSAGE)
    code.add(R4, R7)
    code.store(R10, MESSAGE, R4)
    code.add(R9, 1)
    code.jump_if_less(R9, _MOST_MESSAGES, "sum")
    code.label("whole")
    code.load(R1, R10, VALUE)
    code.store(R10, MOVED, R1)
    code.label("one")
    # The plan is not asked any more. If it was here on some ways, the verifier would go through what follows for them.
    code.move(R9, 0)


def _append_found(code: Assembler, maps: Maps, kernel: Kernel, categories: Collection[EventCategory]) -> None:
    """Make an element of what the call has moved, and a FOUND record of what it is about."""
    full = new_label("full")
    for at in (_SENT, _RECEIVED):
        code.move(R1, 0)
        code.store(R10, VALUE + at, R1)
    code.load(R1, R10, MOVED)
    code.load(R2, R10, MEMBER)
    code.jump_if_equal(R2, _RECEIVED, "first received")
    code.store(R10, VALUE + _SENT, R1)
    code.jump("first of all")
    code.label("first received")
    code.store(R10, VALUE + _RECEIVED, R1)
    code.label("first of all")
    code.store_immediate(R8, layout.KIND_AT, Kind.FOUND, size=4)
    code.load(R1, R10, FD)
    code.store(R8, plans.RESULT_AT, R1)
    code.move(R7, plans.BLOBS_AT)
    code.load(R1, R10, MODE)
    if EventCategory.NETWORK in categories:
        code.jump_if_equal(R1, IS_SOCKET, "found socket")
    if EventCategory.FILE in categories:
        for mode in (_REGULAR, _DEVICE, _BLOCK_DEVICE):
            code.jump_if_equal(R1, mode, "found file")
    code.jump("out")
    if EventCategory.NETWORK in categories:
        code.label("found socket")
        put(code, maps, Lost.NETWORK, full + " network", "out")
        code.load(R1, R10, FD)
        read_socket(code, kernel)
        append_socket_address(code, kernel, peer=True)
        emit(code, maps, Lost.NETWORK)
        code.jump("out")
        code.label(full + " network")
        count_unkept(code, maps, Lost.NETWORK, is_new=False)
        code.jump("out")
    if EventCategory.FILE in categories:
        code.label("found file")
        put(code, maps, Lost.FILE, full + " file", "out")
        code.load(R1, R10, FD)
        append_path(code, kernel, "out")
        emit(code, maps, Lost.FILE)
        code.jump("out")
        code.label(full + " file")
        count_unkept(code, maps, Lost.FILE, is_new=False)

"""The addresses that a network call is about: what it is given, or what the kernel knows of its socket."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.call_frame import (
    FD,
    INODE,
    LENGTH,
    MESSAGE,
    PLAN,
    SK,
    TEXT,
    copy_parts,
    load_argument,
    load_end,
)
from rprun.backends.ebpf.common import append_none, need_room, new_label, read_kernel, read_user
from rprun.backends.ebpf.descriptors import identify_by_number, keep
from rprun.backends.ebpf.kernel import UNKNOWN
from rprun.backends.ebpf.layout import Lost
from rprun.backends.ebpf.loops import begin_loop
from rprun.backends.ebpf.plans import What
from rprun.backends.ebpf.socket_address import ADDRESS_MAX, append_socket_address
from rprun.backends.ebpf.walk import NOTES, forget_size, load_file
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R4, R6, R7, R8, R9, R10, Assembler, Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps

TYPE_OF_FILE, IS_SOCKET = 0xF000, 0xC000  # S_IFMT, S_IFSOCK: include/uapi/linux/stat.h

# From R8.
_FOUND, _SHORT, _STRIDE, _COUNT, _MORE = range(NOTES + 8, NOTES + 48, 8)


def append_addresses(code: Assembler, maps: Maps, kernel: Kernel) -> None:
    """Note the kind of the socket, and append the addresses that a network call is about."""
    code.load(R1, R8, plans.ARGUMENTS_AT)
    code.load(R2, R9, plans.WHAT_AT, size=1)
    code.jump_if_not_equal(R2, What.ACCEPT, "socket")
    code.load(R3, R6, 8)
    code.jump_if_less_signed(R3, 0, "socket")
    code.move(R1, R3)
    code.label("socket")
    code.store(R10, FD, R1)
    read_socket(code, kernel)
    _keep_socket(code, maps)

    code.load(R1, R9, plans.WHAT_AT, size=1)
    code.jump_if_equal(R1, What.LISTEN, "listen")
    code.jump_if_equal(R1, What.ACCEPT, "accept")
    code.jump_if_equal(R1, What.MESSAGE, "messages")
    code.jump_if_equal(R1, What.MESSAGES, "messages")
    code.load(R1, R9, plans.ADDRESS_AT, size=1)
    code.move(R2, R1)
    code.add(R2, 1)
    load_argument(code, R3, R1)
    load_argument(code, R4, R2)
    _append_given(code)
    code.jump("base")

    code.label("listen")
    append_socket_address(code, kernel, peer=False)
    code.jump("base")
    code.label("accept")
    code.load(R1, R6, 8)
    code.jump_if_greater_or_equal_signed(R1, 0, "accepted")
    append_none(code, "out")
    code.jump("base")
    code.label("accepted")
    append_socket_address(code, kernel, peer=True)
    code.jump("base")
    code.label("messages")
    _append_messages(code, maps)

    code.label("base")


def _keep_socket(code: Assembler, maps: Maps) -> None:
    """Have the socket that a call with FD at its place is about known from now on."""
    done, known = new_label("kept"), new_label("known")
    code.load(R1, R10, SK)
    code.jump_if_equal(R1, 0, done)
    code.load(R2, R9, plans.WHAT_AT, size=1)
    for what in (What.NAME, What.LISTEN):
        code.jump_if_equal(R2, what, known)
    code.jump_if_not_equal(R2, What.ACCEPT, done)
    code.load(R1, R6, 8)
    code.jump_if_less_signed(R1, 0, known)
    keep(code, maps, Lost.NETWORK, is_new=True)
    code.jump(done)
    code.label(known)
    keep(code, maps, Lost.NETWORK, is_new=False)
    code.label(done)


def read_socket(code: Assembler, kernel: Kernel) -> None:
    """Put domain, type and protocol of the socket of descriptor R1 into the record, its struct sock at `SK`, or 0."""
    done = new_label("no socket")
    code.store_immediate(R10, SK, 0)
    load_file(code, kernel, R1, done)
    code.store(R10, LENGTH, R0)
    inode, socket = copy_parts(code, LENGTH, (kernel.file_f_inode, 8), (kernel.file_private_data, 8))
    for place, at in ((INODE, inode), (TEXT, socket)):
        code.load(R1, R10, at)
        code.store(R10, place, R1)
    mode, number = copy_parts(code, INODE, (kernel.inode_i_mode, 2), (kernel.inode_i_ino, 8))
    code.load(R1, R10, mode, size=2)
    code.bit_and(R1, TYPE_OF_FILE)
    code.jump_if_not_equal(R1, IS_SOCKET, done)
    code.load(R0, R10, number)
    code.load(R1, R10, LENGTH)
    identify_by_number(code)
    code.load(R1, R10, TEXT)
    read_kernel(code, R1, R1, kernel.socket_sk)
    code.jump_if_equal(R1, 0, done)
    code.store(R10, SK, R1)
    read_kernel(code, R2, R1, kernel.sock_skc_family, 2)
    code.store(R8, plans.DOMAIN_AT, R2, size=4)
    if UNKNOWN not in (kernel.sock_sk_type, kernel.sock_sk_protocol):
        parts = copy_parts(code, SK, (kernel.sock_sk_type, 2), (kernel.sock_sk_protocol, 2))
        for at, part in zip((plans.TYPE_AT, plans.PROTOCOL_AT), parts, strict=True):
            code.load(R1, R10, part, size=2)
            code.store(R8, at, R1, size=4)
        code.load(R1, R8, plans.MARKS_AT, size=4)
        code.bit_or(R1, plans.SOCKET_READ)
        code.store(R8, plans.MARKS_AT, R1, size=4)
    code.label(done)


def _append_given(code: Assembler) -> None:
    """Append the struct sockaddr at address R3 of length R4; what is too long to be one becomes None."""
    none, done = new_label("no address"), new_label("address")
    code.move32(R4, R4)
    code.jump_if_greater(R4, ADDRESS_MAX, none)
    need_room(code, 4 + ADDRESS_MAX, "out")
    code.store(R10, LENGTH, R4)
    load_end(code, R1)
    code.add(R1, 4)
    code.move(R2, R4)
    code.call(Helper.probe_read_user)
    code.jump_if_not_equal(R0, 0, none)
    code.load(R4, R10, LENGTH)
    code.jump_if_greater(R4, ADDRESS_MAX, none)  # Never; the verifier must know.
    load_end(code, R1)
    code.store(R1, 0, R4, size=4)
    code.add(R7, 4)
    code.add(R7, R4)
    code.jump(done)
    code.label(none)
    append_none(code, "out")
    code.label(done)


def _append_messages(code: Assembler, maps: Maps) -> None:
    """Append the addresses that sendmsg's message names, or those of sendmmsg that were sent.

    A failed sendmmsg has failed at its first. A message that names nobody is of a connected socket, and no event.
    """
    code.store_immediate(R8, _FOUND, 0)
    # sizeof(struct mmsghdr), of user space with long pointers or with short ones
    code.load(R2, R9, plans.SHORT_AT, size=1)
    code.store(R8, _SHORT, R2)
    code.shift_left(R2, 5)
    code.move(R1, 64)
    code.subtract(R1, R2)
    code.store(R8, _STRIDE, R1)
    code.load(R1, R8, plans.ARGUMENTS_AT + 8)
    code.store(R10, MESSAGE, R1)
    _count_messages(code)
    code.store(R10, PLAN, R9)
    code.store_immediate(R10, LENGTH, 0)

    begin_loop(code, R9, 0, "message", "sent", changing=(R7,), places=(MESSAGE, LENGTH))
    forget_size(code, "out")
    code.load(R1, R8, _COUNT)
    code.jump_if_less_or_equal(R1, R9, "sent")
    _read_message(code, nobody="next", unreadable="unreadable")
    code.store_immediate(R8, _FOUND, 1)
    # The kernel takes what is too long for a sockaddr_storage, and looks no further.
    code.jump_if_less_or_equal(R4, ADDRESS_MAX, "bounded")
    code.move(R4, ADDRESS_MAX)
    code.label("bounded")
    _append_given(code)
    code.jump("next")
    code.label("unreadable")
    code.store_immediate(R8, _FOUND, 1)
    append_none(code, "out")
    code.label("next")
    code.load(R1, R10, MESSAGE)
    code.load(R2, R8, _STRIDE)
    code.add(R1, R2)
    code.store(R10, MESSAGE, R1)
    code.add(R9, 1)
    code.jump_if_less(R9, plans.MOST_MESSAGES, "message")

    code.label("sent")
    code.load(R9, R10, PLAN)
    code.load(R1, R8, _FOUND)
    code.jump_if_equal(R1, 0, "count")
    code.load(R2, R8, _MORE)
    code.map_value(R1, maps.lost.fd, 8 * Lost.NETWORK)
    code.atomic_add(R1, 0, R2)


def _count_messages(code: Assembler) -> None:
    """Note how many messages are looked at, and how many have been sent that are not."""
    code.store_immediate(R8, _MORE, 0)
    code.store_immediate(R8, _COUNT, 1)
    code.load(R2, R9, plans.WHAT_AT, size=1)
    code.jump_if_not_equal(R2, What.MESSAGES, "counted")
    code.load(R2, R6, 8)
    code.jump_if_less_signed(R2, 0, "counted")
    code.store(R8, _COUNT, R2)
    code.jump_if_less_or_equal(R2, plans.MOST_MESSAGES, "counted")
    code.store_immediate(R8, _COUNT, plans.MOST_MESSAGES)
    code.add(R2, -plans.MOST_MESSAGES)
    code.store(R8, _MORE, R2)
    code.label("counted")


def _read_message(code: Assembler, *, nobody: str, unreadable: str) -> None:
    """Set R3 and R4 to address and length of what the struct msghdr at `MESSAGE` names; go to labels otherwise."""
    # struct user_msghdr begins with msg_name and msg_namelen; struct compat_msghdr too.
    code.load(R4, R10, MESSAGE)
    code.load(R1, R8, _SHORT)
    code.jump_if_not_equal(R1, 0, "short")
    read_user(code, R0, R4, 0, 8, unreadable)
    code.store(R10, LENGTH, R0)
    code.load(R4, R10, MESSAGE)
    read_user(code, R4, R4, 8, 4, unreadable)
    code.load(R3, R10, LENGTH)
    code.jump("header")
    code.label("short")
    read_user(code, R3, R4, 0, 8, unreadable)
    code.move(R4, R3)
    code.shift_right(R4, 32)
    code.move32(R3, R3)
    code.label("header")
    code.jump_if_equal(R3, 0, nobody)
    code.jump_if_equal(R4, 0, nobody)

"""A child that is about to become the command puts itself under a filter and sends the listener away.

From the moment when the filter is in place every trapped call of this process waits for somebody with the listener.
So the sendmsg(2) that carries the listener there must not be trapped: the filter lets exactly that one pass, known by
its descriptor and the address of its header, which nobody else's call can have but by guessing 60 bits.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
import struct
from _socket import SCM_RIGHTS, SOL_SOCKET
from errno import EINVAL

from rprun.linux import libc, seccomp, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

OK = "ok"
FAILED = "failed"
# struct cmsghdr { size_t cmsg_len; int cmsg_level; int cmsg_type; }; (cmsg(3)) and a descriptor
_RIGHTS = struct.Struct("@N3i")


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    # struct msghdr of bits/socket.h (recvmsg(2)); the same on every 64-bit Linux.
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_IoVector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


def install_and_send(
    channel: int, traps: Mapping[int, Collection[int]], nonzero: Mapping[tuple[int, int], int]
) -> None:
    """Install the filter in this process and send the listener, with a word on how, over a Unix socket.

    If the kernel refuses, that is what is sent, and the process goes on without a filter.

    Args:
        channel: descriptor of a SOCK_SEQPACKET socket; closed here.
        traps: as for `seccomp.build_filter`.
        nonzero: the same.

    Raises:
        OSError: the filter is in place and the listener could not be sent.
    """
    header = _MessageHeader()
    # Without a table for this machine there are no traps either, and the kernel is not asked: see `seccomp.install`.
    number = syscalls.NUMBERS.get(syscalls.native() or "", {}).get("sendmsg", -1)
    try:
        program = seccomp.build_filter(traps, nonzero=nonzero, exempt=(number, channel, ctypes.addressof(header)))
        listener, installed = seccomp.install_best(program)
    except OSError as error:
        try:
            os.write(channel, f"{FAILED} {error.errno or EINVAL}".encode())
        finally:
            os.close(channel)
        return
    word = f"{OK} {int(installed.no_new_privs)} {int(installed.wait_killable)}".encode()
    text = ctypes.create_string_buffer(word, len(word))
    vector = _IoVector(ctypes.addressof(text), len(word))
    # CMSG_LEN of one descriptor, and CMSG_SPACE (cmsg(3)): a header of size_t and two ints, all padded to 8.
    control = ctypes.create_string_buffer(_RIGHTS.pack(_RIGHTS.size, SOL_SOCKET, SCM_RIGHTS, listener), 24)
    header.vectors = ctypes.pointer(vector)
    header.vector_count = 1
    header.control = ctypes.addressof(control)
    header.control_length = 24
    try:
        # Where this fails there is no way back: the filter stays, and nobody answers. The command must not be started.
        libc.syscall(number, channel, ctypes.addressof(header), 0)
    finally:
        os.close(listener)
        os.close(channel)

"""Messages with descriptors between processes: connected sockets of unix(7), SOCK_SEQPACKET.

By `_socket` alone: the standard library's `socket` takes 2 ms to be imported, for names that are not needed here.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    MSG_CMSG_CLOEXEC,
    MSG_PEEK,
    SCM_RIGHTS,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)

Socket = socket
"""Has no more than the kernel has: no `with`, for one."""

_DESCRIPTOR = struct.Struct("=i")
_ROOM = CMSG_LEN(_DESCRIPTOR.size)
_LONGEST = 256  # Bytes of a message.


def pair() -> tuple[Socket, Socket]:
    """Return two that are connected, close-on-exec.

    Raises:
        OSError: no descriptor left.
    """
    return socketpair(AF_UNIX, SOCK_SEQPACKET)


def send(to: Socket, message: bytes, descriptor: int = -1) -> None:
    """Send a message, and a descriptor with it unless that is -1.

    Raises:
        OSError: EAGAIN where it does not block and there is no room; ETOOMANYREFS for too many under way; EPIPE or
            ECONNRESET where nobody is left to receive it.
    """
    if descriptor < 0:
        to.send(message)
    else:
        to.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, _DESCRIPTOR.pack(descriptor))])


def receive(source: Socket, *, leaves: bool = False) -> tuple[bytes, int]:
    """Return the next message and the descriptor that came with it, close-on-exec, or -1.

    The message is empty where nobody is left to send one.

    Args:
        source: where it comes from.
        leaves: it is only looked at, and stays for the next who asks; the descriptor is another one then.

    Raises:
        OSError: EAGAIN where it does not block and there is none; ECONNRESET.
    """
    flags = MSG_CMSG_CLOEXEC | (MSG_PEEK if leaves else 0)
    message, control, _, _ = source.recvmsg(_LONGEST, _ROOM, flags)
    for level, kind, data in control:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS) and len(data) == _DESCRIPTOR.size:
            descriptor: int = _DESCRIPTOR.unpack(data)[0]
            return message, descriptor
    return message, -1

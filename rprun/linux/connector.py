"""The proc connector: the kernel's own messages of every fork, exec and exit on the host.

Some facts about it (drivers/connector/cn_proc.c, include/uapi/linux/cn_proc.h, netlink(7)):

- Since Linux 6.6 anyone may listen, and choose the kinds of messages; before, CAP_NET_ADMIN was needed and there was no
  choice. The shorter request of those days is not made here, so an older kernel stays silent.
- A request from another pid or user namespace than the initial one is ignored without a word, yet messages come if
  somebody else on the host listens; in another network namespace there is nobody to take the request. A listener whose
  request was heeded is told by what it does not get: the kinds that it did not ask for.
- All numbers are those of the initial pid namespace. A process is a thread group; a message is about one thread.
- An exit message is sent after the parent could have reaped the process: a message may come later than wait(2) returns.
- The times are those of CLOCK_MONOTONIC.
- What finds no room in the socket is dropped, and the next read fails with ENOBUFS, once, however many those were. The
  sequence numbers are of no help: they are counted per CPU and for all kinds and processes of the host.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct
from _socket import AF_NETLINK, SO_RCVBUF, SOCK_DGRAM, SOCK_NONBLOCK, SOL_SOCKET, socket
from errno import ENOBUFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

# include/uapi/linux/netlink.h, connector.h, cn_proc.h
NETLINK_CONNECTOR = 11
_NLMSG_DONE = 3
_CN_IDX_PROC = _CN_VAL_PROC = 1
_LISTEN, _IGNORE = 1, 2
FORK, EXEC, COMM, EXIT = 0x1, 0x2, 0x200, 0x80000000

# struct nlmsghdr: length, type, flags, sequence, port.
_NLMSGHDR = struct.Struct("=IHHII")
# struct cn_msg: index, value, sequence, acknowledgement, length, flags.
_CN_MSG = struct.Struct("=IIIIHH")
# struct proc_input: operation, kinds (Linux 6.6).
_PROC_INPUT = struct.Struct("=II")
# struct proc_event behind both headers: kind, cpu, time, and the six numbers of an exit, which has the most.
EVENT = struct.Struct("=36xIIQ6i")
# From include/asm-generic/socket.h, the same for every ABI here; Python has no name for it.
_SO_RCVBUFFORCE = 33
# Bytes of the kernel's memory for what has not been read; a message takes some 800. Without CAP_NET_ADMIN it is cut to
# sysctl net.core.rmem_max.
_ROOM = 16 << 20


class Message(tuple[int, int, int, int, int, int]):
    """One message; what the numbers are depends on its kind."""

    __slots__ = ()

    def __new__(cls, kind: int, time_ns: int, pid: int, tgid: int, parent: int, status: int) -> Self:
        """Put them together."""
        return super().__new__(cls, (kind, time_ns, pid, tgid, parent, status))

    @property
    def kind(self) -> int:
        """FORK, EXEC, EXIT, or one of those that were not asked for."""
        return self[0]

    @property
    def time_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return self[1]

    @property
    def pid(self) -> int:
        """The thread that it is about; of FORK, the new one."""
        return self[2]

    @property
    def tgid(self) -> int:
        """Its process."""
        return self[3]

    @property
    def parent(self) -> int:
        """The process that is its parent, of FORK and EXIT; otherwise 0. A thread has the parent of its process."""
        return self[4]

    @property
    def status(self) -> int:
        """The wait status of this thread, of EXIT; otherwise 0."""
        return self[5]


def parse(datagram: bytes) -> Message | None:
    """Return what a datagram says; None where it is no message of the kernel's about a process."""
    if len(datagram) < EVENT.size:
        return None
    kind, _cpu, time_ns, first, second, third, fourth, _fifth, sixth = EVENT.unpack_from(datagram)
    if kind == FORK:
        return Message(kind, time_ns, third, fourth, second, 0)
    if kind == EXIT:
        return Message(kind, time_ns, first, second, sixth, third & 0xFFFF)
    return Message(kind, time_ns, first, second, 0, 0) if kind else None


class Connector:
    """A socket that gets the messages of some kinds."""

    def __init__(self, kinds: int) -> None:
        """Open it and ask for messages.

        Args:
            kinds: FORK, EXEC, EXIT, or several of them, or-ed.

        Raises:
            OSError: EPROTONOSUPPORT: the kernel has no connector; EPERM: before Linux 6.6, without CAP_NET_ADMIN;
                ECONNREFUSED: in a network namespace of its own; others: no descriptor left.
        """
        self._kinds = kinds
        self._socket = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK, NETLINK_CONNECTOR)
        try:
            try:
                self._socket.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
            except PermissionError:
                self._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, _ROOM)
            self._socket.bind((0, _CN_IDX_PROC))
            self._ask(_LISTEN)
        except OSError:
            self._socket.close()
            raise

    def _ask(self, operation: int) -> None:
        request = _PROC_INPUT.pack(operation, self._kinds)
        header = _CN_MSG.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(request), 0)
        length = _NLMSGHDR.size + len(header) + len(request)
        self._socket.send(_NLMSGHDR.pack(length, _NLMSG_DONE, 0, 0, 0) + header + request)

    def fileno(self) -> int:
        """Return the descriptor that is readable while messages wait."""
        return self._socket.fileno()

    def read(self) -> Message | None:
        """Return the next message, None if none waits.

        Raises:
            OverflowError: messages of unknown number have been dropped. Those that wait already are older than these;
                none come until all of them have been read.
        """
        while True:
            try:
                datagram, (port, _groups) = self._socket.recvfrom(256)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno == ENOBUFS:
                    raise OverflowError("messages of the proc connector were dropped") from error
                raise
            # 0 is the kernel; a process with CAP_NET_ADMIN could send something too.
            message = parse(datagram) if port == 0 else None
            if message is not None:
                return message

    def close(self) -> None:
        """Ask for no more, which spares the kernel the making of messages, and let go; a second call does nothing."""
        if self._socket.fileno() < 0:
            return
        try:
            self._ask(_IGNORE)
        except OSError:
            # Then the kernel finds out by itself that nobody is there.
            pass
        self._socket.close()

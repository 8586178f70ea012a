"""The sockets of a network namespace, as /proc/PID/net lists them (proc_pid_net(5)); nothing here raises.

Some facts about these files:

- An address is hexadecimal in the byte order of the machine, in groups of four bytes; its port is a plain number.
- A connection that nobody holds any more, as in TIME_WAIT, has the inode 0.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# include/net/tcp_states.h
_TCP_LISTEN = b"0A"
_TABLES = (
    ("tcp", "inet", "tcp", socket.AF_INET),
    ("tcp6", "inet6", "tcp", socket.AF_INET6),
    ("udp", "inet", "udp", socket.AF_INET),
    ("udp6", "inet6", "udp", socket.AF_INET6),
)


class Entry:
    """A socket: its inode, `family` and `protocol` as events name them, own address and peer, and whether it listens.

    The peer is None where there is none.
    """

    __slots__ = ("family", "inode", "listens", "local", "protocol", "remote")

    def __init__(
        self, family: str, protocol: str, local: tuple[str, int], remote: tuple[str, int] | None, inode: int
    ) -> None:
        self.family = family
        self.protocol = protocol
        self.local = local
        self.remote = remote
        self.inode = inode
        self.listens = False


def inet(process: int) -> Iterator[Entry]:
    """Yield the TCP and UDP sockets of a process's network namespace that somebody holds."""
    for name, family, protocol, number in _TABLES:
        for line in _lines(process, name):
            # Slot, own address, peer, state, ... and in the tenth place the inode.
            fields = line.split(None, 10)
            if len(fields) < 10 or fields[9] == b"0":
                continue
            remote = decode(fields[2], number)
            entry = Entry(family, protocol, decode(fields[1], number), remote if remote[1] else None, int(fields[9]))
            entry.listens = protocol == "tcp" and fields[3] == _TCP_LISTEN
            yield entry


def others(process: int) -> Iterator[int]:
    """Yield the inodes of the unix and netlink sockets of a process's network namespace."""
    for line in _lines(process, "unix"):
        fields = line.split(None, 7)
        if len(fields) > 6 and fields[6].strip().isdigit():
            yield int(fields[6])
    for line in _lines(process, "netlink"):
        last = line.split()[-1:]
        if last and last[0].isdigit():
            yield int(last[0])


def decode(text: bytes, family: int) -> tuple[str, int]:
    """Return address and port of an entry's second or third field."""
    address, _, port = text.partition(b":")
    words = bytes.fromhex(address.decode("ascii"))
    if sys.byteorder == "little":
        words = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    return socket.inet_ntop(family, words), int(port, 16)


def _lines(process: int, name: str) -> list[bytes]:
    """Return the lines of a table but the first, which names the columns."""
    try:
        with open(f"/proc/{process}/net/{name}", "rb") as stream:
            return stream.read().splitlines()[1:]
    except OSError:
        return []

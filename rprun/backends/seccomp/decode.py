"""Events of the calls that were seen: what the bytes that were read from a process mean.

Nothing is asked of the system here. A path is the directory and the text, joined; `..` and symbolic links are not
resolved, and double slashes stay. Each event is an attempt: it was seen before the kernel acted on it.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import stat
import struct
from _socket import AF_INET6, inet_ntoa, inet_ntop
from time import time_ns

from rprun.backends.seccomp import calls, record
from rprun.observe.categories import EventCategory
from rprun.observe.fields import SharedFields
from rprun.observe.kinds import ObserverEventKind, category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    Fields: TypeAlias = dict[str, Any]
    # Kind, process, nanoseconds since the Unix epoch, fields.
    Event: TypeAlias = tuple[ObserverEventKind, int, int, Fields]

_K = ObserverEventKind
# include/uapi/asm-generic/fcntl.h, the same for every ABI here.
_CREATES = 0o100 | 0o20000000  # O_CREAT, __O_TMPFILE
_O_PATH = 0o10000000
_CREAT = 0o1101  # creat(2): O_CREAT | O_WRONLY | O_TRUNC
# The fourth, which only opens a device for ioctl(2), asks for the leave to read and to write.
_ACCESS = ("read", "write", "readwrite", "readwrite")
_AT_REMOVEDIR = 0x200

# include/linux/socket.h. The others are named after their number.
_INET, _INET6, _UNIX = 2, 10, 1
_FAMILIES = {
    0: "unspec", 1: "unix", 2: "inet", 3: "ax25", 4: "ipx", 5: "appletalk", 9: "x25", 10: "inet6", 15: "key",
    16: "netlink", 17: "packet", 21: "rds", 24: "pppox", 29: "can", 30: "tipc", 31: "bluetooth", 37: "caif",
    38: "alg", 39: "nfc", 40: "vsock", 41: "kcm", 42: "qipcrtr", 43: "smc", 44: "xdp", 45: "mctp",
}  # fmt: skip
# include/uapi/linux/in.h
_PROTOCOLS = {
    1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmpv6", 132: "sctp", 136: "udplite", 255: "raw",
    262: "mptcp",
}  # fmt: skip
# include/linux/net.h
_TYPES = {1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket", 6: "dccp", 10: "packet"}
_FAMILY = struct.Struct("=H")
_SOCKADDR_IN6 = struct.Struct("!HI16s")  # sin6_port, sin6_flowinfo, sin6_addr; then sin6_scope_id

UNOBSERVED_BACKEND = "seccomp-user-notify"
UNOBSERVED_REASON = (
    "the process has set up an io_uring, through which it can use files and sockets unseen"
    " (sysctl kernel.io_uring_disabled=2 forbids it)"
)


def decode(data: bytes) -> list[Event]:
    """Return the events of a record: kind, process, time in nanoseconds, fields; never raises.

    A search along PATH that finds no program, a connect that only takes the peer away, and a message on a connected
    socket are no events. The fields of `lost`, for what cannot be decoded, and of `unobserved`, for a process's first
    io_uring, are led by their `category`, which these kinds do not have by themselves. A call that may be of any
    category is lost for each.
    """
    what = key_of(data)
    if what is None:
        return _decode(data)
    # Programs open the same files over and over: most of all records say what another one has said already.
    fields = _opened.get(what)
    if fields is not None:
        tgid, at_ns = record.who(data)
        return [(_K.FILE_OPEN, tgid, at_ns, fields)]
    events = _decode(data)
    if events and events[0][0] is _K.FILE_OPEN:
        if len(_opened) >= _MOST_OPENED:
            _opened.clear()
        kind, pid, at_ns, found = events[0]
        fields = _opened[what] = SharedFields(found)
        return [(kind, pid, at_ns, fields)]
    return events


def key_of(data: bytes) -> bytes | None:
    """Return what the record of an open says, whoever did it and when; None of others."""
    register = _OPENS.get(data[:8])
    return None if register is None else record.what(data, register)


def _decode(data: bytes) -> list[Event]:
    try:
        seen = record.unpack(data)
    except ValueError:
        return _lost(0, time_ns())
    call = calls.find(seen.arch, seen.number, seen.arguments[0])
    if call is None:
        known = calls.is_socketcall(seen.arch, seen.number)
        return [] if known else _lost(seen.tgid, seen.time_ns)
    try:
        return _DECODERS[call.kind](call, seen)
    except Exception:  # noqa: BLE001 - what a process has written must not end the run
        return _lost(seen.tgid, seen.time_ns, (category_of(call.kind) or EventCategory.FILE,))


def events_of(call: calls.Call, seen: record.Record) -> list[Event]:
    """Return the events of a call that another backend has captured in the same way.

    Raises:
        Exception: of any kind, if what was captured makes no sense.
    """
    return _DECODERS[call.kind](call, seen)


def is_set_id(seen: record.Record) -> bool:
    """Tell whether an exec is of a program that would get another user's or group's rights."""
    mode = seen.first if seen.marks & record.WHOLE else 0
    # Without the group's x bit, S_ISGID has another meaning.
    return bool(mode & stat.S_ISUID) or mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP


def _lost(
    pid: int,
    at_ns: int,
    categories: Sequence[EventCategory] = (EventCategory.FILE, EventCategory.NETWORK, EventCategory.PROCESS),
) -> list[Event]:
    return [(_K.LOST, pid, at_ns, {"category": category, "count": 1}) for category in categories]


def _absolute(seen: record.Record, index: int) -> bytes | None:
    """Return the path in the blob after `index`, which has its directory; None where either could not be read."""
    blobs = seen.blobs
    if len(blobs) < index + 2:
        return None
    base, path = blobs[index], blobs[index + 1]
    if not base or path is None:
        return path if base is not None and path else None
    return _below(base, path) if path else None


def _below(directory: bytes, path: bytes) -> bytes:
    return (directory if directory != b"/" else b"") + b"/" + path


def _open(call: calls.Call, seen: record.Record) -> list[Event]:
    flags: int | None
    if call.flags is not None:
        flags = seen.arguments[call.flags] & 0xFFFFFFFF
    elif call.name == "creat":
        flags = _CREAT
    else:
        flags = seen.second if seen.marks & record.WHOLE else None
    fields: Fields = {
        "path": _absolute(seen, 0),
        "flags": flags,
        "access": None if flags is None else "read" if flags & _O_PATH else _ACCESS[flags & 3],
        "create": None if flags is None else bool(flags & _CREATES) and not flags & _O_PATH,
        "attempt": True,
    }
    if seen.marks & (record.EXISTS | record.ABSENT):
        fields["exists"] = bool(seen.marks & record.EXISTS)
    return [(_K.FILE_OPEN, seen.tgid, seen.time_ns, fields)]


def _one_path(call: calls.Call, seen: record.Record) -> list[Event]:
    kind = call.kind
    if call.name == "unlinkat" and seen.arguments[2] & _AT_REMOVEDIR:
        kind = _K.FILE_RMDIR
    return [(kind, seen.tgid, seen.time_ns, {"path": _absolute(seen, 0), "attempt": True})]


def _two_paths(call: calls.Call, seen: record.Record) -> list[Event]:
    # The text of a symbolic link is no path here: it stays as it is, also if it is empty.
    old = seen.blobs[1] if call.paths[0][0] == calls.TEXT and len(seen.blobs) > 1 else _absolute(seen, 0)
    return [(call.kind, seen.tgid, seen.time_ns, {"from": old, "to": _absolute(seen, 2), "attempt": True})]


def _exec(_call: calls.Call, seen: record.Record) -> list[Event]:
    if seen.marks & record.ABSENT:
        return []
    if seen.marks & record.WHOLE and not (stat.S_ISREG(seen.first) and seen.first & 0o111):
        return []
    cwd, argv = seen.blobs[2:4] if len(seen.blobs) > 3 else (None, None)
    words: list[bytes | None] | None = None
    if argv is not None:
        words = [*argv.split(b"\0")[:-1]]
        if seen.marks & record.CUT:
            words.append(None)  # There was more.
    return [
        (_K.EXEC, seen.tgid, seen.time_ns, {"path": _absolute(seen, 0), "argv": words, "cwd": cwd, "attempt": True})
    ]


def _network(call: calls.Call, seen: record.Record) -> list[Event]:
    # Of accept there is no peer yet, and no address is captured.
    addresses = seen.blobs[1:] if call.kind is not _K.NET_ACCEPT else [None]
    if not addresses and call.kind is not _K.NET_SEND:
        addresses = [None]
    base = seen.blobs[0] if seen.blobs else None
    known = bool(seen.marks & record.WHOLE)
    domain, type_ = (seen.second >> 32, seen.second & 0xFFFFFFFF) if known else (None, None)
    events: list[Event] = []
    for address in addresses:
        family = _FAMILY.unpack_from(address)[0] if address is not None and len(address) >= 2 else domain
        if call.kind is _K.NET_CONNECT and family == 0:
            continue  # It takes the peer away: connect(2), AF_UNSPEC.
        fields: Fields = {
            "family": None if family is None else _FAMILIES.get(family, f"family-{family}"),
            "protocol": _protocol(domain, type_, seen.first) if known else None,
            "attempt": True,
        }
        if family == _UNIX:
            fields["path"] = None if address is None else _unix_path(address[2:], base)
        else:
            fields["address"], fields["port"] = _inet_address(family, address)
        events.append((call.kind, seen.tgid, seen.time_ns, fields))
    return events


def _protocol(domain: int | None, type_: int | None, protocol: int) -> str | None:
    """Return the name of a socket's protocol; of one that has none, as a Unix socket, that of its type."""
    kind = _TYPES.get(type_ or 0, f"type-{type_}")
    if domain not in (_INET, _INET6):
        return kind
    return _PROTOCOLS.get(protocol) or (kind if kind == "raw" else f"protocol-{protocol}")


def _unix_path(path: bytes, base: bytes | None) -> bytes | None:
    """Return the path of a struct sockaddr_un: absolute, abstract with `@` for its NUL, or b"" for none (unix(7))."""
    if not path:
        return b""
    if path[0] == 0:
        return b"@" + path[1:]
    path = path.partition(b"\0")[0]
    if path[:1] == b"/" or base == b"":
        return path
    return None if base is None else _below(base, path)


def _inet_address(family: int | None, address: bytes | None) -> tuple[str | None, int | None]:
    """Return address and port of a struct sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)); None where they have none."""
    if address is None:
        return None, None
    if family == _INET and len(address) >= 8:
        return inet_ntoa(address[4:8]), int.from_bytes(address[2:4], "big")
    # Without sin6_scope_id, as in RFC 2133, it is taken too.
    if family == _INET6 and len(address) >= 24:
        port, _flow, host = _SOCKADDR_IN6.unpack_from(address, 2)
        scope = int.from_bytes(address[24:28], sys.byteorder)
        return inet_ntop(AF_INET6, host) + (f"%{scope}" if scope else ""), port
    return None, None


def _unobserved(_call: calls.Call, seen: record.Record) -> list[Event]:
    categories = calls.BYPASSED if seen.marks & record.WHOLE else ()
    said = {"backend": UNOBSERVED_BACKEND, "reason": UNOBSERVED_REASON}
    return [(_K.UNOBSERVED, seen.tgid, seen.time_ns, {"category": category, **said}) for category in categories]


_DECODERS: dict[ObserverEventKind, Callable[[calls.Call, record.Record], list[Event]]] = {
    _K.FILE_OPEN: _open,
    _K.FILE_RENAME: _two_paths,
    _K.FILE_LINK: _two_paths,
    _K.FILE_SYMLINK: _two_paths,
    _K.EXEC: _exec,
    _K.NET_CONNECT: _network,
    _K.NET_BIND: _network,
    _K.NET_LISTEN: _network,
    _K.NET_ACCEPT: _network,
    _K.NET_SEND: _network,
    _K.UNOBSERVED: _unobserved,
    _K.FILE_TRUNCATE: _one_path,
    _K.FILE_UNLINK: _one_path,
    _K.FILE_RMDIR: _one_path,
    _K.FILE_MKDIR: _one_path,
    _K.FILE_CHMOD: _one_path,
    _K.FILE_CHOWN: _one_path,
}

# Of the calls that open a file and have its flags in a register: which one that is; by the start of a record.
OPENS = {
    (arch, number): call.flags
    for (arch, number), call in calls.BY_NUMBER.items()
    if call is not None and call.kind is _K.FILE_OPEN and call.flags is not None
}
_OPENS = {record.start(arch, number): register for (arch, number), register in OPENS.items()}
# The fields of what has been opened.
_opened: dict[bytes, SharedFields] = {}
_MOST_OPENED = 2048

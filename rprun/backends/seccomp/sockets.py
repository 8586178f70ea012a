"""What must be read of a network call before it goes on: the peers it names, and what kind of socket it is.

Some facts about that:

- A call names a descriptor. What it is can only be asked of the socket itself, so it is duplicated into this process
  (pidfd_getfd(2)) for a moment: while the thread stands still, and closed before it goes on. Where that is refused, as
  in Docker's default profile, the kind of socket stays unknown.
- A thread may have descriptors of its own (unshare(2), CLONE_FILES). Before Linux 6.9 only those of its process's first
  thread can be duplicated: the same number may be another socket's there, which is then looked at and not told of.
- i386 and x32 have 4-byte pointers and lengths in memory: struct msghdr has 28 bytes there instead of 56, an element of
  sendmmsg's vector 32 instead of 64 (include/linux/socket.h: struct user_msghdr, include/net/compat.h: compat_msghdr).
- A connected socket's message names nobody. It has made its connect or accept before, and is no event.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import struct
from _socket import AF_INET, AF_INET6, AF_UNIX, inet_aton, inet_pton, socket
from contextlib import closing
from errno import EBADF, EINVAL

from rprun.backends.seccomp import calls
from rprun.backends.seccomp.record import WHOLE, pack_captured
from rprun.linux import pidfd
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from rprun.linux.memory import Reader

    # Thread, process, name of a link in /proc/TID -> path.
    Link: TypeAlias = Callable[[int, int, bytes], bytes | None]

# sizeof(struct sockaddr_storage): what the kernel takes at most.
_ADDRESS_MAX = 128
# UIO_MAXIOV: what sendmmsg(2) looks at, at most.
_MESSAGES_MAX = 1024
# msg_name and msg_namelen, and the size of an element of sendmmsg's vector.
_MESSAGE, _ELEMENT = struct.Struct("=QI"), 64
_SHORT_MESSAGE, _SHORT_ELEMENT = struct.Struct("=II"), 32
_FAMILY = struct.Struct("=H")
_SOCKETCALL = struct.Struct("=6I")
_UNREADABLE = (b"", None)


class Peers:
    """Reads whom a network call names."""

    def __init__(self, reader: Reader, link: Link) -> None:
        self._reader = reader
        self._link = link

    def of_call(self, call: calls.Call, arguments: Sequence[int], tid: int, tgid: int, *, short: bool) -> bytes:
        """Read what a network call is about.

        Returns:
            The last part of a record. `first` is the protocol, `second` the domain and the type (domain << 32 | type);
            the first blob is the directory to which a Unix socket's path is relative, b"" where there is none, then one
            blob for each struct sockaddr that the call names; listen's is that of the socket itself.
        """
        addresses: list[bytes | None] = []
        if call.name == "sendmsg":
            addresses = self._of_messages(tid, arguments[1], 1, short=short)
        elif call.name == "sendmmsg":
            addresses = self._of_messages(tid, arguments[1], arguments[2] & 0xFFFFFFFF, short=short)
        elif call.vector is not None and (arguments[call.vector] or call.kind is not ObserverEventKind.NET_SEND):
            addresses = [self._address(tid, arguments[call.vector], arguments[call.vector + 1])]
        if call.kind is ObserverEventKind.NET_SEND and not addresses:
            return pack_captured(())
        marks, protocol, kind, own = _examine(tid, tgid, arguments[0])
        if call.kind is ObserverEventKind.NET_LISTEN:
            addresses = [own]
        base: bytes | None = b""
        if call.kind is not ObserverEventKind.NET_LISTEN and any(map(_is_relative, addresses)):
            base = self._link(tid, tgid, b"cwd")
        return pack_captured((base, *addresses), marks, first=protocol, second=kind)

    def of_socketcall(self, arguments: Sequence[int], tid: int, tgid: int) -> bytes:
        """Read what i386's socketcall(2) is about: as `of_call` for the call that it stands for."""
        call = calls.SUBCALLS.get(arguments[0])
        if call is None:
            return pack_captured(())
        try:
            data = self._reader.block(tid, arguments[1], _SOCKETCALL.size)
        except OSError:
            return pack_captured(_UNREADABLE)
        # Fewer than six may lie before the end of readable memory; those that the call has are there.
        return self.of_call(call, _SOCKETCALL.unpack(data.ljust(_SOCKETCALL.size, b"\0")), tid, tgid, short=True)

    def _address(self, tid: int, address: int, length: int) -> bytes | None:
        """Read one struct sockaddr; None if it is not all there, or too long to be one."""
        length &= 0xFFFFFFFF
        if length > _ADDRESS_MAX:
            return None
        try:
            data = self._reader.block(tid, address, length)
        except OSError:
            return None
        return data if len(data) == length else None

    def _of_messages(self, tid: int, address: int, count: int, *, short: bool) -> list[bytes | None]:
        """Read the addresses that struct msghdr (or sendmmsg's many of it) names."""
        layout, size = (_SHORT_MESSAGE, _SHORT_ELEMENT) if short else (_MESSAGE, _ELEMENT)
        count = min(count, _MESSAGES_MAX)
        if count == 0:
            return []
        try:
            data = self._reader.block(tid, address, size * (count - 1) + layout.size)
        except OSError:
            return [None]
        found: list[bytes | None] = []
        for at in range(0, len(data) - layout.size + 1, size):
            name, length = layout.unpack_from(data, at)
            if name and length:
                # The kernel takes what is too long for a sockaddr_storage, and looks no further.
                found.append(self._address(tid, name, min(length, _ADDRESS_MAX)))
        return found


def _examine(tid: int, tgid: int, number: int) -> tuple[int, int, int, bytes | None]:
    """Return marks, protocol, domain << 32 | type, and own address, as far as another thread's socket can be read."""
    own: bytes | None = None
    try:
        descriptor = _duplicate(tid, tgid, number & 0xFFFFFFFF)
    except OSError:
        return 0, 0, 0, None
    try:
        duplicate = socket(fileno=descriptor)
    except OSError:  # No socket at all.
        os.close(descriptor)
        return 0, 0, 0, None
    with closing(duplicate):
        domain, kind = duplicate.family, duplicate.type
        protocol = duplicate.proto
        try:
            own = _pack(domain, duplicate.getsockname())
        except (OSError, ValueError, TypeError, struct.error):
            pass
    return WHOLE, protocol, domain << 32 | kind, own


def _duplicate(tid: int, tgid: int, number: int) -> int:
    """Duplicate a thread's descriptor.

    Raises:
        OSError: it is none, that is refused, or what could be duplicated may be another thread's.
    """
    by_process = tid == tgid
    try:
        owner = pidfd.open_process(tid, thread=not by_process)
    except OSError as error:
        if by_process or error.errno != EINVAL:
            raise
        owner, by_process = pidfd.open_process(tgid), True
    try:
        descriptor = pidfd.get_descriptor(owner, number)
    finally:
        os.close(owner)
    if by_process and tid != tgid:
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(f"/proc/{tid}/fd/{number}")):
                return descriptor
        except OSError:
            pass
        os.close(descriptor)
        raise OSError(EBADF, os.strerror(EBADF))
    return descriptor


def _pack(domain: int, name: object) -> bytes | None:
    """Return Python's form of an address as the struct sockaddr that it came from; None for other families."""
    if domain == AF_UNIX and isinstance(name, (str, bytes)):
        return _FAMILY.pack(domain) + os.fsencode(name)
    if not isinstance(name, tuple):
        return None
    if domain == AF_INET:
        return _FAMILY.pack(domain) + struct.pack("!H", name[1]) + inet_aton(name[0]) + bytes(8)
    if domain == AF_INET6:
        host = inet_pton(domain, name[0].partition("%")[0])
        return _FAMILY.pack(domain) + struct.pack("!HI", *name[1:3]) + host + struct.pack("=I", name[3])
    return None


def _is_relative(address: bytes | None) -> bool:
    """Tell whether it is a Unix socket's path that is relative to the current directory."""
    return (
        address is not None
        and len(address) > _FAMILY.size
        and _FAMILY.unpack_from(address)[0] == AF_UNIX
        and address[_FAMILY.size] not in b"/\0"
    )

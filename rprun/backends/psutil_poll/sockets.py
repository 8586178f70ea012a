"""Which connections the processes of a tree were seen to have, and which they have no more.

Some facts that decide what an event can say:

- A socket may be held by many processes: forks have their parent's. It is one event, of the process that was seen with
  it first, and it is gone when none of the tree has it.
- Which side of a connection a process is on is not to be seen. It was accepted where somebody listens at its own
  address; else its process has connected. One whose listener is gone by then is taken for the latter.
- To look into all takes many looks. A child may hold what its parent has let go of and not have been looked at yet; so
  a connection is said to be gone after all have been.
"""

from __future__ import annotations

from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from rprun.backends.psutil_poll.host import Host, Socket
    from rprun.backends.psutil_poll.tree import Member

    Key = tuple[object, ...]
    # Kind, process, fields.
    Found = tuple[ObserverEventKind, int, dict[str, Any]]

_K = ObserverEventKind
_ANY = ("0.0.0.0", "::")  # noqa: S104 - addresses that are compared, not bound


class _Held:
    """A socket, who of the tree holds it, and since which look nobody does, with who did last."""

    __slots__ = ("holders", "let_go", "pid", "socket")

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.holders: set[Member] = set()
        self.let_go = 0
        self.pid = 0


class Sockets:
    """Tells of sockets that are new to the tree, and of connections that have gone."""

    def __init__(self, host: Host, inherited: Iterable[Socket]) -> None:
        """Take note of what the command may be given: what rprun has itself."""
        self._host = host
        self._held: dict[Key, _Held] = {}
        self._let_go: dict[Key, _Held] = {}
        self._listening: set[tuple[str, tuple[str, int]]] = set()
        self._inherited: set[Key] = set()
        for socket in inherited:
            self._inherited.add(socket.key())
            self._note(socket)

    def look(self, member: Member, look: int) -> Iterator[Found]:
        """Yield what is new with a process.

        Raises:
            ProcessLookupError, PermissionError, OSError: as of `Host`; then nothing is taken note of.
        """
        found = {socket.key(): socket for socket in self._host.sockets(member.pid)}
        if found.keys() != member.sockets:
            self._host.confirm(member.pid, member.created)
        # What listens first: by it is told what else there is.
        for key, socket in sorted(found.items(), key=lambda item: not item[1].listens):
            held = self._held.get(key)
            if held is None:
                held = self._held[key] = _Held(socket)
                self._note(socket)
                if key not in self._inherited:
                    yield self._kind(socket), member.pid, _peer(socket)
            held.holders.add(member)
            self._let_go.pop(key, None)
        self._let_go_of(member, member.sockets - found.keys(), look)
        member.sockets = set(found)

    def end(self, member: Member, look: int) -> None:
        """A process has ended, and holds nothing any more."""
        self._let_go_of(member, member.sockets, look)

    def gone(self, members: Iterable[Member]) -> Iterator[Found]:
        """Yield the connections that none of the members holds, each of which has been looked at since."""
        if not self._let_go:
            return
        looked = min((member.looked for member in members), default=None)
        for key, held in list(self._let_go.items()):
            if looked is None or looked > held.let_go:
                del self._let_go[key], self._held[key]
                if not held.socket.listens and key not in self._inherited:
                    yield _K.NET_CLOSE, held.pid, _peer(held.socket) | {"bytes_sent": None, "bytes_received": None}

    def _let_go_of(self, member: Member, keys: Iterable[Key], look: int) -> None:
        for key in keys:
            held = self._held.get(key)
            if held is None:
                continue
            held.holders.discard(member)
            if not held.holders:
                held.let_go, held.pid = look, member.pid
                self._let_go[key] = held

    def _note(self, socket: Socket) -> None:
        if socket.listens:
            self._listening.add((socket.protocol, socket.local))

    def _kind(self, socket: Socket) -> ObserverEventKind:
        if socket.listens:
            return _K.NET_LISTEN
        addresses = (socket.local[0], *_ANY)
        accepted = any((socket.protocol, (address, socket.local[1])) in self._listening for address in addresses)
        return _K.NET_ACCEPT if accepted or socket.was_accepted else _K.NET_CONNECT


def _peer(socket: Socket) -> dict[str, Any]:
    address, port = socket.local if socket.remote is None else socket.remote
    return {"family": socket.family, "protocol": socket.protocol, "address": address, "port": port}

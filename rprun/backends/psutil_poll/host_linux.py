"""Processes as Linux tells of them in /proc, where that says more than psutil passes on, or says it for less.

Some facts about it:

- /proc/PID/stat has in one line who the parent is, when the process was created, whether it has ended, and where its
  program lies in memory (proc_pid_stat(5), fields 26 to 28). The latter is drawn anew at each exec (ASLR) and the same
  in a fork. It takes the right to look into the process; others are told 1, and all are told 0 of one that is ending.
- The files of a process that is ending are root's, so that to others it looks like one that keeps them secret.
- A process whose first thread has ended is a zombie by its state while its other threads go on: their number counts.
- With hidepid=2 a process that changes its user is gone from /proc and goes on. kill(2) still knows it.
- To read /proc/net/tcp takes milliseconds, whether there are connections or not: the kernel walks through all of its
  table. So it is read when a process has a socket of which nothing is known yet, once in a look for all, and not else.
- A socket that neither is bound nor has a peer is in none of these tables.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os

from rprun.backends.psutil_poll.host import Program, Row, Socket
from rprun.backends.psutil_poll.host_portable import PortableHost
from rprun.linux import procfs, socket_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rprun.backends.psutil_poll.host import Opened

_ENDED = (b"Z", b"X")
_HIDDEN = 1
_GONE = b" (deleted)"
# What is known of sockets is forgotten beyond this number, and looked up again for those that are still there.
_BOUND = 16384
# Looks after which a socket that was in no table is looked for again, at most: it may wait for a peer for ever.
_LONGEST = 16


class LinuxHost(PortableHost):
    """Asks /proc, and psutil for the rest."""

    def __init__(self) -> None:
        # By the inode of each: the socket, None where it is none that is told of.
        self._known: dict[int, Socket | None] = {}
        # Those that were in no table: the look at which to read one for them again, and how many looks later the next.
        self._awaited: dict[int, tuple[int, int]] = {}
        self._look = 0
        # What was read last: a process and its descriptors, which are asked for twice in a look.
        self._read_last: tuple[int, list[tuple[int, str]]] | None = None
        # By network namespace, for one look.
        self._tables: dict[bytes | None, dict[int, Socket | None]] = {}

    def begin(self) -> None:
        """Begin another look."""
        self._tables.clear()
        self._read_last = None
        self._look += 1
        for kept in (self._known, self._awaited):
            if len(kept) > _BOUND:
                kept.clear()

    def row(self, process: int) -> Row | None:
        """Return what its `stat` says."""
        fields = procfs.stat(process)
        if len(fields) < 26:
            return None
        has_ended = fields[0] in _ENDED and int(fields[17]) <= 1
        begins = int(fields[23])
        image = (begins, int(fields[24]), int(fields[25])) if begins > _HIDDEN else None
        return Row(int(fields[1]), int(fields[19]), has_ended=has_ended, is_ending=not begins, image=image)

    def is_hidden(self, process: int) -> bool:
        """Tell whether the kernel knows it: /proc hides it, or could not be read."""
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def program(self, process: int) -> Program:
        """Return what a process runs; psutil would guess where arguments have been written over."""
        try:
            path = os.readlink(f"/proc/{process}/exe".encode())
        except FileNotFoundError as error:
            raise ProcessLookupError(str(error)) from error
        if path.endswith(_GONE) and not os.path.lexists(path):
            path = path[: -len(_GONE)]
        return Program(path, procfs.command_line(process), procfs.link(process, "cwd"))

    def open_files(self, process: int, known: Collection[Opened] = ()) -> list[Opened]:
        """Return the regular files that are open; one that has been removed is not among them."""
        accesses = {(descriptor, path): access for descriptor, path, access in known}
        self._read_last = process, procfs.descriptors(process)
        found = []
        for descriptor, path in self._read_last[1]:
            if path[0] != "/":
                continue  # A pipe, a socket, or what else has no name.
            access = accesses.get((descriptor, path))
            if access is None:
                if not os.path.isfile(path):
                    continue
                access = procfs.access(process, descriptor)
            found.append((descriptor, path, access))
        return found

    def sockets(self, process: int) -> list[Socket]:
        """Return the sockets that are found in the tables of the process's network namespace."""
        last, self._read_last = self._read_last, None
        targets = last[1] if last is not None and last[0] == process else procfs.descriptors(process)
        inodes = [int(target[8:-1]) for _, target in targets if target.startswith("socket:[")]
        known = self._known
        unknown = [inode for inode in inodes if inode not in known]
        if any(self._awaited.get(inode, (0, 0))[0] <= self._look for inode in unknown):
            self._find(process, unknown)
        return [found for inode in inodes if (found := known.get(inode)) is not None]

    def _find(self, process: int, inodes: list[int]) -> None:
        namespace = procfs.link(process, "ns/net")
        table = self._tables.get(namespace)
        if table is None:
            table = self._tables[namespace] = _read(process)
        for inode in inodes:
            if inode in table:
                self._known[inode] = table[inode]
                self._awaited.pop(inode, None)
            else:
                step = min(2 * self._awaited.get(inode, (0, 0))[1], _LONGEST) or 1
                self._awaited[inode] = self._look + step, step


def _read(process: int) -> dict[int, Socket | None]:
    """Return the sockets of a network namespace by inode: None for those that will never have a peer that is told."""
    table: dict[int, Socket | None] = dict.fromkeys(socket_table.others(process))
    rows = list(socket_table.inet(process))
    listening = {(row.protocol, row.local) for row in rows if row.listens}
    ports = {(protocol, port) for protocol, (address, port) in listening if address in ("0.0.0.0", "::")}  # noqa: S104 - compared
    for row in rows:
        if row.listens or row.remote is not None:
            accepted = (row.protocol, row.local) in listening or (row.protocol, row.local[1]) in ports
            table[row.inode] = Socket(
                row.family, row.protocol, row.local, row.remote, listens=row.listens, was_accepted=accepted
            )
    return table

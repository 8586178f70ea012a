"""Processes as psutil tells of them, on every system that it knows.

Some facts about it:

- A psutil.Process keeps what it was asked once, so that each question here is put to a new one.
- A fork has its parent's program, and there is nothing by which one start of a program differs from the next: `image`
  is its path, and a process that executes the same program once more is not seen to.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from errno import ENOENT

import psutil

from rprun.backends.psutil_poll.host import Host, Program, Row, Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator

    from rprun.backends.psutil_poll.host import Opened

_FAMILIES = {socket.AF_INET: "inet", socket.AF_INET6: "inet6"}
_PROTOCOLS = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}
# As fopen(3) has them, which is how psutil tells them; it does so on Linux only.
_ACCESS = {"r": "read", "w": "write", "a": "write", "r+": "readwrite", "w+": "readwrite", "a+": "readwrite"}


class PortableHost(Host):
    """Asks psutil."""

    def numbers(self) -> list[int]:
        """Return the numbers of all processes."""
        try:
            return psutil.pids()
        except IndexError as error:
            # Of an empty /proc psutil wants the first.
            raise FileNotFoundError(ENOENT, "no process is listed") from error

    def row(self, process: int) -> Row | None:
        """Return what psutil says of a process; None also where that may not be known."""
        try:
            asked = psutil.Process(process)
            with asked.oneshot():
                has_ended = asked.status() == psutil.STATUS_ZOMBIE
                parent, created = asked.ppid(), asked.create_time()
            return Row(parent, created, has_ended=has_ended, image=None if has_ended else self._image(process))
        except psutil.Error:
            return None

    @staticmethod
    def _image(process: int) -> Hashable:
        try:
            return psutil.Process(process).exe() or None
        except psutil.Error:
            return None

    def program(self, process: int) -> Program:
        """Return what a process runs."""
        with _errors():
            asked = psutil.Process(process)
            path = asked.exe() or None
        argv: list[str] | None = None
        cwd: str | None = None
        with _errors(kept=True):
            argv = asked.cmdline() or None
        with _errors(kept=True):
            cwd = asked.cwd() or None
        return Program(path, argv, cwd)

    def open_files(self, process: int, known: Collection[Opened] = ()) -> list[Opened]:
        """Return the regular files that are open."""
        with _errors():
            found = psutil.Process(process).open_files()
        return [(file.fd, file.path, _ACCESS.get(getattr(file, "mode", ""))) for file in found]

    def sockets(self, process: int) -> list[Socket]:
        """Return the sockets, for which psutil reads the tables of the whole system, once for each process."""
        with _errors():
            found = psutil.Process(process).net_connections("inet")
        sockets = []
        for one in found:
            listens = one.status == psutil.CONN_LISTEN
            if one.laddr and (listens or one.raddr):
                remote = (one.raddr.ip, one.raddr.port) if one.raddr else None
                local = (one.laddr.ip, one.laddr.port)
                sockets.append(Socket(_FAMILIES[one.family], _PROTOCOLS[one.type], local, remote, listens=listens))
        return sockets


@contextmanager
def _errors(*, kept: bool = False) -> Iterator[None]:
    """Turn psutil's errors into Python's; keep to oneself that something may not be read, if it is to be `kept`."""
    try:
        yield
    except psutil.AccessDenied as error:
        if not kept:
            raise PermissionError(str(error)) from error
    except psutil.Error as error:
        raise ProcessLookupError(str(error)) from error

"""What must be read before a call goes on: the texts, addresses and directories that it is about.

This runs in the supervisor while the calling thread stands still, and with it whoever waits for that thread. Some facts
that give it its shape:

- Nothing raises from here and nothing waits. What cannot be read (another user's process, one that is not dumpable, a
  bad address) is None, and the call goes on.
- The number that comes with a notification is a thread's. Its directory and descriptors need not be the process's.
- A path is kept as it was given, with the directory it is relative to. Symbolic links and `..` are not resolved: what
  they lead to may be another thing by the time the kernel looks.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import struct

from rprun.backends.seccomp import calls
from rprun.backends.seccomp.record import ABSENT, CUT, EXISTS, LIMIT, WHOLE, pack_captured, pack_path
from rprun.backends.seccomp.sockets import Peers
from rprun.backends.seccomp.views import ONE_LINK, Views
from rprun.linux.memory import Reader
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    # Registers, thread, process.
    Handler: TypeAlias = Callable[[Sequence[int], int, int], bytes | None]

# include/uapi/linux/limits.h, fcntl.h, openat2.h
_PATH_MAX = 4096
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_RESOLVE_IN_ROOT = 0x10
# struct open_how { u64 flags, mode, resolve; }
_OPEN_HOW = struct.Struct("=QQQ")
# Paths, directory and header of an exec's record need less than the difference.
_ARGV_MAX = LIMIT - 5 * _PATH_MAX
# Read at once of argv's strings. A page is this size or a multiple of it.
_CHUNK = 4096
_CHUNKS_KEPT = 64
# Whoever opens it may call userfaultfd(2) through it (Linux 6.1).
_FAULTS_DEVICE = b"/dev/userfaultfd"
_NOTHING = pack_captured(())
_UNREADABLE = pack_captured((b"", None))
_access = os.access
_NOT_PLAIN = ONE_LINK | os.O_EXCL


class Capture:
    """Reads what the watched calls of a tree of processes are about.

    Attributes:
        views: which files the processes see.
        serves_pages: some of the tree may provide pages itself. What is not there yet is not read any more. Of any
            process: the pages may be those of another one that shares the memory, or of a child. Only to be read.
    """

    def __init__(self) -> None:
        """Know nobody yet."""
        self._reader = Reader()
        self._string = self._reader.string
        self.views = Views()
        self._shared = self.views.shared
        self._looking = self.views.looking
        self._peers = Peers(self._reader, self.views.link)
        self.serves_pages = False
        self._with_rings: set[int] = set()
        self._handlers: dict[tuple[int, int], Handler] = {
            key: self._handler(call, short=calls.has_short_pointers(*key)) for key, call in calls.BY_NUMBER.items()
        }
        for key, of_others in calls.VIEW_NUMBERS.items():
            self._handlers[key] = self._change_of_all if of_others else self._change
        self._handlers |= dict.fromkeys(calls.MOUNT_NUMBERS, self._mount)
        self._handlers |= dict.fromkeys(calls.FAULT_NUMBERS, self._serve_pages)

    def capture(self, arch: int, number: int, arguments: Sequence[int], tid: int, tgid: int) -> bytes | None:
        """Read what a call is about; never raises.

        Args:
            arch: AUDIT_ARCH of the call.
            number: its number there.
            arguments: the six registers, unsigned.
            tid: the thread that makes it, which stands still.
            tgid: its process.

        Returns:
            The last part of a record (see `record.pack`), of less than `record.LIMIT` bytes; None for a call that there
            is to be no record of.
        """
        try:
            handler = self._handlers.get((arch, number))
            return handler(arguments, tid, tgid) if handler else _NOTHING
        except Exception:  # noqa: BLE001 - a call that is not understood must be answered nevertheless
            return _NOTHING

    def forget(self, tgid: int) -> None:
        """Forget what is known of a process, which has ended."""
        self.views.forget(tgid)
        self._with_rings.discard(tgid)

    def distrust(self, processes: Iterable[int]) -> None:
        """Take over from somebody who knew more: these processes may have done anything that was to be noticed."""
        self._serve_pages((), 0, 0)
        self._looking.expect_mount()
        for tgid in processes:
            self.views.change(tgid)

    def _handler(self, call: calls.Call | None, *, short: bool) -> Handler:
        if call is None:
            return self._peers.of_socketcall
        if call.kind is ObserverEventKind.FILE_OPEN:
            own = {"openat": self._open_at, "openat2": self._openat2, "creat": self._creat}
            return own.get(call.name, self._open)
        if call.kind is ObserverEventKind.UNOBSERVED:
            return self._ring
        if call.kind is ObserverEventKind.EXEC:
            return lambda arguments, tid, tgid: self._program(call, arguments, tid, tgid, short=short)
        if call.paths:
            return lambda arguments, tid, tgid: self._path(call, arguments, tid, tgid)
        return lambda arguments, tid, tgid: self._peers.of_call(call, arguments, tid, tgid, short=short)

    # -- files

    def _open_at(self, arguments: Sequence[int], tid: int, tgid: int) -> bytes:
        return self._opened(arguments[0], arguments[1], arguments[2], tid, tgid)

    def _open(self, arguments: Sequence[int], tid: int, tgid: int) -> bytes:
        return self._opened(_AT_FDCWD, arguments[0], arguments[1], tid, tgid)

    def _creat(self, arguments: Sequence[int], tid: int, tgid: int) -> bytes:
        return self._opened(_AT_FDCWD, arguments[0], os.O_CREAT, tid, tgid)

    def _opened(self, directory: int, address: int, flags: int, tid: int, tgid: int) -> bytes:
        path = self._text(tid, address)
        if path is None:
            return _UNREADABLE
        if path[:1] == b"/":
            # Most of all calls come this way. So the usual one, a plain path of a known process, is written out.
            if (
                self._shared.get(tgid)
                and not self._looking.is_careful
                and not flags & _NOT_PLAIN
                and b"self" not in path
                and b"/dev/" not in path
            ):
                return pack_path(path, EXISTS if _access(path, os.F_OK) else self._looking.absence(path))
            return pack_path(path, self._existence(path, flags, tid, tgid))
        base = self._directory(tid, tgid, directory)
        marks = self._existence(_join(base, path), flags, tid, tgid) if base and path else 0
        return pack_captured((base, path), marks)

    def _openat2(self, arguments: Sequence[int], tid: int, tgid: int) -> bytes:
        try:
            flags, _mode, resolve = _OPEN_HOW.unpack(self._reader.block(tid, arguments[2], _OPEN_HOW.size))
        except (OSError, struct.error):
            flags, resolve, marks = 0, -1, 0
        else:
            marks = WHOLE
        path = self._text(tid, arguments[1])
        rooted = resolve != -1 and bool(resolve & _RESOLVE_IN_ROOT)
        base: bytes | None = b""
        if path is not None and (path[:1] != b"/" or rooted):
            base = self._directory(tid, tgid, arguments[0])
        if rooted and path is not None:
            path = path.lstrip(b"/") or b"."
        elif path and base is not None and resolve == 0:
            marks |= self._existence(_join(base, path), flags, tid, tgid)
        return pack_captured((base, path), marks, second=flags)

    def _path(self, call: calls.Call, arguments: Sequence[int], tid: int, tgid: int) -> bytes:
        flags = arguments[call.flags] if call.flags is not None else 0
        blobs: list[bytes | None] = []
        for directory, place in call.paths:
            if place == calls.DESCRIPTOR:
                blobs += (b"", self._descriptor(tid, tgid, arguments[directory]))
            elif directory == calls.TEXT:
                blobs += (b"", self._text(tid, arguments[place]))
            else:
                # Only the first path of linkat may be empty.
                empty_path = flags & _AT_EMPTY_PATH and not blobs
                number = _AT_FDCWD if directory == calls.CWD else arguments[directory]
                blobs += self._place(tid, tgid, number, arguments[place], may_be_empty=bool(empty_path))
        return pack_captured(blobs)

    def _place(
        self, tid: int, tgid: int, directory: int, address: int, *, may_be_empty: bool
    ) -> tuple[bytes | None, bytes | None]:
        """Return the directory a path is relative to, b"" where it is not, and the path."""
        path = b"" if may_be_empty and address == 0 else self._text(tid, address)
        if path is None or path[:1] == b"/":
            return b"", path
        if path == b"" and may_be_empty:
            return b"", self._descriptor(tid, tgid, directory)
        return self._directory(tid, tgid, directory), path

    # -- processes

    def _program(self, call: calls.Call, arguments: Sequence[int], tid: int, tgid: int, *, short: bool) -> bytes:
        directory, place = call.paths[0]
        number = _AT_FDCWD if directory == calls.CWD else arguments[directory]
        empty_path = call.flags is not None and bool(arguments[call.flags] & _AT_EMPTY_PATH)
        base, path = self._place(tid, tgid, number, arguments[place], may_be_empty=empty_path)
        full = None if path is None or base is None else _join(base, path)
        marks, mode = self.views.program(full, tid, tgid) if full else (0, 0)
        if marks & ABSENT:
            # A step of a search along PATH: nothing more is needed of it.
            return pack_captured((base, path), marks)
        assert call.vector is not None
        argv, cut = self._strings(tid, arguments[call.vector], 4 if short else 8)
        cwd = self._directory(tid, tgid, _AT_FDCWD)
        return pack_captured((base, path, cwd, argv), marks | (CUT if cut else 0), first=mode)

    def _strings(self, tid: int, address: int, width: int) -> tuple[bytes | None, bool]:
        """Read a list of strings, each with its NUL; None if one is unreadable. And whether it had to be cut."""
        text = bytearray()
        chunks: dict[int, bytes] = {}
        try:
            for pointer in self._pointers(tid, address, width):
                at, start = pointer, len(text)
                while len(text) < _ARGV_MAX:
                    number, offset = divmod(at, _CHUNK)
                    if number not in chunks:
                        if len(chunks) == _CHUNKS_KEPT:
                            chunks.clear()
                        chunks[number] = self._reader.block(tid, number * _CHUNK, _CHUNK)
                    chunk = chunks[number]
                    end = chunk.find(0, offset)
                    if end >= 0:
                        text += chunk[offset : end + 1]
                        break
                    text += chunk[offset:]
                    at += _CHUNK - offset
                if len(text) >= _ARGV_MAX:
                    del text[start:]
                    return bytes(text), True
        except OSError:
            return None, False
        return bytes(text), False

    def _pointers(self, tid: int, address: int, width: int) -> list[int]:
        """Read addresses up to a zero; no more than there is room for strings.

        Raises:
            OSError: the list ends in memory that cannot be read.
        """
        found: list[int] = []
        size = 512
        # Linux takes no list for an empty one (execve(2)).
        while address and len(found) < _ARGV_MAX:
            data = self._reader.block(tid, address, size)
            more = struct.unpack_from(f"={len(data) // width}{'I' if width == 4 else 'Q'}", data)
            if 0 in more:
                found += more[: more.index(0)]
                break
            found += more
            if len(data) < size:
                raise OSError(0, "a list without an end")
            address += size
            size = 1 << 16
        return found

    def _change(self, _arguments: Sequence[int], _tid: int, tgid: int) -> None:
        """From now on, which files the process sees is asked at each call of it."""
        self.views.change(tgid)

    def _change_of_all(self, _arguments: Sequence[int], _tid: int, _tgid: int) -> None:
        """From now on, which files a process sees is asked at each call of any."""
        self.views.change_all()

    def _mount(self, _arguments: Sequence[int], _tid: int, _tgid: int) -> None:
        """From now on, who has to be waited for may be one of the tree."""
        self._looking.expect_mount()

    def _serve_pages(self, _arguments: Sequence[int], _tid: int, _tgid: int) -> None:
        """From now on, who has to be waited for to read a page may be one of the tree."""
        self.serves_pages = self._reader.is_careful = True

    def _existence(self, path: bytes, flags: int, tid: int, tgid: int) -> int:
        if path.endswith(_FAULTS_DEVICE):
            self._serve_pages((), tid, tgid)
        return self.views.existence(path, flags, tid, tgid)

    def _ring(self, arguments: Sequence[int], tid: int, tgid: int) -> bytes:
        """Set WHOLE for the first ring of a process, the only one that is told of."""
        first = tgid not in self._with_rings
        self._with_rings.add(tgid)
        return pack_captured((), WHOLE if first else 0)

    # -- texts and directories

    def _text(self, tid: int, address: int) -> bytes | None:
        try:
            text, whole = self._string(tid, address, _PATH_MAX)
        except OSError:
            return None
        return text if whole else None

    def _directory(self, tid: int, tgid: int, number: int) -> bytes | None:
        """Return the path of the directory that a register names: a descriptor, or AT_FDCWD."""
        if number & 0xFFFFFFFF == _AT_FDCWD & 0xFFFFFFFF:
            return self.views.link(tid, tgid, b"cwd")
        return self._descriptor(tid, tgid, number)

    def _descriptor(self, tid: int, tgid: int, number: int) -> bytes | None:
        return self.views.link(tid, tgid, b"fd/%d" % (number & 0xFFFFFFFF))


def _join(base: bytes, path: bytes) -> bytes:
    return path if path[:1] == b"/" else base + b"/" + path

"""From the records of the process programs to events: what started, what it was started with, how it ended.

Some facts about what an exec leaves behind (fs/exec.c, fs/binfmt_script.c, fs/binfmt_misc.c):

- The kernel's own copy of the path is the one that was given, except that of execveat(2) with a descriptor: that is
  "/dev/fd/N/path", or "/dev/fd/N" where the path was empty.
- For a script the argument area is not what was given. argv[0] has been replaced by the interpreter, the argument on
  the script's first line if there is one, and the path; where the interpreter is a script too, that happens again in
  front. What follows the first word that is the path is argv[1:]. The same goes for binfmt_misc, which can be told to
  keep argv[0] behind the path.
- argv[0] of a script is therefore only in the attempt; before Linux 6.10 it is None if it had not been paged in.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import struct

from rprun.backends.ebpf.layout import HEADER, HEADER_SIZE, Kind
from rprun.backends.ebpf.walk import AT_FDCWD, join_components
from rprun.backends.seccomp.record import blobs
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rprun.backends.seccomp.decode import Event

_FORK = struct.Struct("=2I")
_ATTEMPT = struct.Struct("=iI")
_ARGS = struct.Struct("=2I")
_EXEC = struct.Struct("=4I")
_EXIT = struct.Struct("=iI")
_PRESERVE_ARGV0 = 1 << 3  # BINPRM_FLAGS_PRESERVE_ARGV0, include/linux/binfmts.h; Linux 5.12
_OF_DESCRIPTOR = b"/dev/fd/"
_K = ObserverEventKind


class _Attempt:
    """What a thread has asked for: the last exec that it has begun."""

    __slots__ = ("argv0", "base", "descriptor", "path")

    def __init__(self, record: bytes) -> None:
        self.descriptor, _ = _ATTEMPT.unpack_from(record, HEADER_SIZE)
        self.path, self.argv0, self.base = blobs(record, HEADER_SIZE + _ATTEMPT.size)

    def relative_to_descriptor(self, filename: bytes) -> bytes | None:
        """Return the path that was given with a descriptor, from the kernel's form of it; None if that is not used."""
        prefix = b"%s%d" % (_OF_DESCRIPTOR, self.descriptor)
        if self.descriptor == AT_FDCWD or self.path == filename or not filename.startswith(prefix):
            return None
        rest = filename[len(prefix) :]
        return rest[1:] if not rest or rest[0] == ord("/") else None

    def led_to(self, filename: bytes) -> bool:
        """Tell whether an exec by the same thread can be this attempt; it is not if the record of that was lost."""
        relative = self.relative_to_descriptor(filename)
        return self.path is None or self.path == (filename if relative is None else relative)


class ProcessDecoder:
    """Keeps what the records of one tree have told so far, which have to be given to it in their order.

    Attributes:
        root: the command's process; None until its record has come. Its start and its end are no events of a
            descendant.
    """

    def __init__(self) -> None:
        self.root: int | None = None
        # By the tgid of the initial namespace, as that is in every record; attempts then by thread.
        self._attempts: dict[int, dict[int, _Attempt]] = {}
        self._arguments: dict[int, bytearray] = {}

    def decode(self, record: bytes, offset: int) -> list[Event]:
        """Return the events of a record: none or one.

        Args:
            record: from the ring; those of other programs make no events here.
            offset: from `rprun.linux.timer.since_epoch`.
        """
        kind, tid, tgid, pid, at_ns = HEADER.unpack_from(record)
        if kind == Kind.ARGS:
            self._add_arguments(tgid, record)
        elif kind == Kind.ATTEMPT:
            self._attempts.setdefault(tgid, {})[tid] = _Attempt(record)
        elif kind == Kind.EXEC:
            return [(_K.EXEC, pid, at_ns + offset, self._exec(tgid, record))]
        elif kind == Kind.FORK:
            self._forget(tgid)
            (parent, _) = _FORK.unpack_from(record, HEADER_SIZE)
            return [(_K.DESCENDANT_STARTED, pid, at_ns + offset, {"ppid": parent})]
        elif kind == Kind.EXIT:
            self._forget(tgid)
            (status, _) = _EXIT.unpack_from(record, HEADER_SIZE)
            if pid != self.root:
                code = os.waitstatus_to_exitcode(status)
                return [(_K.DESCENDANT_EXITED, pid, at_ns + offset, {"exit_code": code})]
        elif kind == Kind.ROOT:
            self.root = pid
        return []

    def _forget(self, tgid: int) -> None:
        self._attempts.pop(tgid, None)
        self._arguments.pop(tgid, None)

    def _add_arguments(self, tgid: int, record: bytes) -> None:
        at, length = _ARGS.unpack_from(record, HEADER_SIZE)
        if at == 0:
            self._arguments[tgid] = bytearray()
        area = self._arguments.get(tgid)
        if area is not None and at == len(area):
            area += record[HEADER_SIZE + _ARGS.size :][:length]

    def _exec(self, tgid: int, record: bytes) -> dict[str, Any]:
        caller, size, flags, _ = _EXEC.unpack_from(record, HEADER_SIZE)
        filename, interpreter, names = blobs(record, HEADER_SIZE + _EXEC.size)
        attempt = self._attempts.pop(tgid, {}).get(caller)
        if attempt is not None and filename is not None and not attempt.led_to(filename):
            attempt = None
        cwd = join_components(names)
        argv = _words(self._arguments.pop(tgid, None), size)
        if argv is not None and interpreter != filename:
            argv0 = attempt.argv0 if attempt is not None else None
            argv = _given_to_script(argv, filename, argv0, has_argv0=bool(flags & _PRESERVE_ARGV0))
        return {"path": _path(filename, attempt, cwd), "argv": argv, "cwd": cwd, "result": "ok"}


def _words(area: bytearray | None, size: int) -> list[bytes | None] | None:
    """Return the words of an argument area of this size, as far as it is known: None at the end if there is more."""
    if size == 0:
        return []
    if not area:
        return None
    words: list[bytes | None] = [*bytes(area).split(b"\0")]
    # Behind the last NUL is nothing, or, of an area that is not whole, the beginning of a word.
    words.pop()
    if len(area) != size:
        words.append(None)
    return words


def _given_to_script(
    words: list[bytes | None], filename: bytes | None, argv0: bytes | None, *, has_argv0: bool
) -> list[bytes | None]:
    """Return the argv that was given, from the one that the interpreter has got."""
    try:
        rest = words[words.index(filename, 1) + 1 :]
    except ValueError:
        # It is in what is missing.
        return [argv0, None]
    return rest if has_argv0 else [argv0, *rest]


def _path(filename: bytes | None, attempt: _Attempt | None, cwd: bytes | None) -> bytes | None:
    """Return the absolute path of what was started, as it was given; None if it is not known."""
    if filename is None:
        return None
    if attempt is None and filename.startswith(_OF_DESCRIPTOR):
        # It cannot be told from a path that is relative to a descriptor.
        return None
    base, path = cwd, filename
    if attempt is not None:
        relative = attempt.relative_to_descriptor(filename)
        if relative is not None:
            base, path = join_components(attempt.base), relative
    if path.startswith(b"/") or base is None:
        return path if path.startswith(b"/") else None
    return (base if base != b"/" else b"") + b"/" + path if path else base

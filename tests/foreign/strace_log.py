"""What strace wrote becomes calls, each with the directory that its process was in; no I/O here.

Some facts about the output of `strace -f -q -y -o FILE`. A call that another process's line interrupts
is written in two halves, `<unfinished ...>` and `<... NAME resumed>`. When a thread that is not the leader execs, the
first half ends in `<pid changed to N ...>` and the second stands under the leader's number, after `+++ superseded by
execve in pid N +++`. -y writes a descriptor with its path behind it, and the current directory behind AT_FDCWD, but
calls older than openat name no descriptor at all: for those the directory is followed here, through fork and chdir.
Strings are C literals, of which octal escapes are whole bytes; in the path of a descriptor `<` and `>` are escaped
too, so that the first `>` ends it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = re.compile(r"^(?P<tid>\d+) +(?P<text>.*)$", re.DOTALL)
_SUPERSEDED = re.compile(r"^\+\+\+ superseded by execve in pid (\d+) \+\+\+$")
_ENDED = re.compile(r"^\+\+\+ (?:exited with (?P<code>\d+)|killed by (?P<signal>\w+)(?: \(core dumped\))?) \+\+\+$")
_RESUMED = re.compile(r"^<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$", re.DOTALL)
_UNFINISHED = re.compile(r" <(?:unfinished|pid changed to \d+) \.\.\.>$")
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>.*)$", re.DOTALL)
_RESULT = re.compile(r"^(?P<value>-?\d+|0x[0-9a-f]+|\?)(?:<[^>]*>(?:\(deleted\))?)?(?: (?P<error>E\w+))?")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"f": b"\f", b"v": b"\v"}
_AT = re.compile(r"^(?:AT_FDCWD|-?\d+)<(?P<path>[^>]*)>(?P<deleted>\(deleted\))?$")

FORKS = ("fork", "vfork", "clone", "clone3")
"""The calls that make processes and threads."""


class MisreadError(Exception):
    """A line of strace's that is none of the known kinds: nothing may be concluded from such a log."""


class Call(NamedTuple):
    """One system call.

    Attributes:
        tid: the thread that made it.
        name: the kernel's name of the call.
        arguments: as strace wrote them.
        value: what the call returned; None where that was never seen (the process died in it, or it is restarted).
        error: the errno's name, "" on success.
        cwd: the directory of the caller as the call began.
        begun: the line that it begins in.
        ended: the line that it ends in.
    """

    tid: int
    name: str
    arguments: tuple[str, ...]
    value: int | None
    error: str
    cwd: str
    begun: int = 0
    ended: int = 0

    @property
    def succeeded(self) -> bool:
        """Tell whether the kernel is known to have done it."""
        return self.value is not None and not self.error


class Ended(NamedTuple):
    """A process (`thread` false) or one thread of it ended; `status` is the exit code, or `-SIGNAME`."""

    tid: int
    status: str
    thread: bool


class Log(NamedTuple):
    """All of one log, in the order in which the calls began."""

    calls: list[Call]
    ended: list[Ended]


def parse(text: str, cwd: str) -> Log:
    """Read a log whose first process began in `cwd`.

    Args:
        text: the file, decoded with surrogateescape.
        cwd: absolute.

    Raises:
        MisreadError: a line is not understood.
    """
    whole: list[tuple[int, int, int, str]] = []
    ended: list[tuple[int, str]] = []
    begun: dict[int, tuple[int, str]] = {}
    for number, line in enumerate(text.split("\n")):
        if not line:
            continue
        tid, said = _split_line(line)
        if superseded := _SUPERSEDED.match(said):
            begun[tid] = begun.pop(int(superseded[1]))
        elif end := _ENDED.match(said):
            ended.append((tid, end["code"] or f"-{end['signal']}"))
            if tid in begun:
                start, first = begun.pop(tid)
                whole.append((start, number, tid, first + ") = ?"))
        elif resumed := _RESUMED.match(said):
            start, first = begun.pop(tid)
            whole.append((start, number, tid, first + resumed["rest"]))
        elif half := _UNFINISHED.search(said):
            begun[tid] = (number, said[: half.start()])
        elif said.endswith("<unfinished ...>) = ?"):
            whole.append((number, number, tid, said.replace("<unfinished ...>", "")))
        elif not said.startswith("--- "):
            whole.append((number, number, tid, said))
    # What was still running when strace stopped looking.
    whole += [(start, start, tid, first + ") = ?") for tid, (start, first) in begun.items()]
    return _follow(
        [(start, end, _call(tid, said)._replace(begun=start, ended=end)) for start, end, tid, said in whole], ended, cwd
    )


def split(text: str) -> Iterator[str]:
    """Yield what stands between the commas of an argument list, a structure or an array, without its brackets."""
    depth, start, position = 0, 0, 0
    while position < len(text):
        character = text[position]
        if character == '"':
            position = _end_of_string(text, position)
        elif character == "<" and position and (text[position - 1].isdigit() or text[:position].endswith("AT_FDCWD")):
            # `1<<3` is no descriptor.
            position = text.find(">", position) if text[position + 1] != "<" else position + 1
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:position].strip()
            start = position + 1
        position += 1
    if last := text[start:].strip():
        yield last


def string(literal: str) -> str | None:
    """Return the text of a C string literal, None for NULL, an address or the like; what is cut (`...`) is left out."""
    literal = literal.removeprefix("@")
    return unescape(literal[1 : _end_of_string(literal, 0)]) if literal.startswith('"') else None


def unescape(text: str) -> str:
    """Return what a C literal's inside means, bytes that are not UTF-8 as surrogates."""
    return os.fsdecode(_ESCAPE.sub(_escaped, os.fsencode(text)))


def at(argument: str) -> str | None:
    """Return the path behind a descriptor or AT_FDCWD; None if there is none that is (still) in the file system."""
    match = _AT.match(argument)
    path = unescape(match["path"]) if match and not match["deleted"] else ""
    return path if path.startswith("/") else None


def _split_line(line: str) -> tuple[int, str]:
    match = _LINE.match(line)
    if not match:
        raise MisreadError(line)
    return int(match["tid"]), match["text"]


def _call(tid: int, said: str) -> Call:
    match = _CALL.match(said)
    result = match and _RESULT.match(match["result"])
    if not match or not result:
        raise MisreadError(f"{tid} {said}")
    value = None if result["value"] == "?" else int(result["value"], 0)
    return Call(tid, match["name"], tuple(split(match["arguments"])), value, result["error"] or "", "")


def _follow(calls: list[tuple[int, int, Call]], ended: list[tuple[int, str]], cwd: str) -> Log:
    """Give each call its directory: one cell a process, shared by the threads that share it in the kernel."""
    cells: dict[int, list[str]] = {}
    threads: set[int] = set()
    moments = sorted(
        [(start, 0, index, call) for index, (start, _, call) in enumerate(calls)]
        + [(end, 1, index, call) for index, (_, end, call) in enumerate(calls) if call.name in ("chdir", "fchdir")],
        key=lambda moment: moment[:3],
    )
    found = []
    for _, done, _, call in moments:
        cell = cells.setdefault(call.tid, [cwd])
        if done:
            _change_directory(cell, call)
            continue
        for argument in call.arguments:
            if argument.startswith("AT_FDCWD<"):
                cell[0] = at(argument) or cell[0]
        found.append(call._replace(cwd=cell[0]))
        if call.name in FORKS and call.succeeded and call.value:
            flags = " ".join(call.arguments)
            cells[call.value] = cell if "CLONE_FS" in flags else list(cell)
            if "CLONE_THREAD" in flags:
                threads.add(call.value)
    return Log(found, [Ended(tid, status, tid in threads) for tid, status in ended])


def _change_directory(cell: list[str], call: Call) -> None:
    path = string(call.arguments[0]) if call.name == "chdir" else at(call.arguments[0])
    if call.succeeded and path is not None:
        cell[0] = os.path.normpath(os.path.join(cell[0], path))


def _end_of_string(text: str, start: int) -> int:
    position = start + 1
    while text[position] != '"':
        position += 2 if text[position] == "\\" else 1
    return position


def _escaped(match: re.Match[bytes]) -> bytes:
    hexadecimal, octal, letter = match.groups()
    if hexadecimal or octal:
        return bytes([int(hexadecimal or octal, 16 if hexadecimal else 8)])
    return _LETTERS.get(letter, letter)

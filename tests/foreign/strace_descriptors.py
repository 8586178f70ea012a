"""What strace's account says of descriptors: which files each process had open, and how much it wrote; no I/O here.

An item is of one process and one descriptor, as an event is: `file-close` for each that the process opened by a path,
or wrote to, and `file-write` with the sum of the results, if that is not zero. Descriptors are followed through close,
dup2, dup3, close_range and exec. In which order the calls of two threads took effect is taken from their halves: an
open has its descriptor when it ends, a close has lost it when it begins.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from items import UNKNOWN, Item, path_of
from strace_items import OPENS, open_item
from strace_log import FORKS, at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strace_log import Call, Log

# Name -> the argument that is the descriptor written to.
_WRITES = {
    **dict.fromkeys(("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile"), 0),
    **dict.fromkeys(("splice", "copy_file_range"), 2),
}
_CLOSES = {"close": 0, "dup2": 1, "dup3": 1}
_EXECS = ("execve", "execveat")
TRACED = (*_WRITES, *_CLOSES, "close_range")
"""The calls that are needed besides those of `strace_items`."""

_NUMBER = re.compile(r"^\d+")


class _Open:
    """A descriptor of a process: its path, and what it has written through it."""

    def __init__(self, path: str, *, until_exec: bool) -> None:
        self.path = path
        self.written = 0
        self.until_exec = until_exec
        self.gone = False

    def items(self) -> Iterator[Item]:
        yield "file-close", self.path
        if self.written:
            yield "file-write", self.path, str(self.written)


def of_descriptors(log: Log) -> Counter[Item]:
    """Return the items of a whole run."""
    processes = _processes(log)
    tables: dict[int, dict[int, _Open]] = {}
    found: Counter[Item] = Counter()
    for call in sorted(log.calls, key=lambda call: call.ended if call.name in (*OPENS, *_EXECS) else call.begun):
        if call.value is None:
            continue
        table = tables.setdefault(processes.get(call.tid, call.tid), {})
        for over in _follow(table, call):
            found.update(over.items())
    for table in tables.values():
        for left in table.values():
            found.update(left.items())
    return found


def _processes(log: Log) -> dict[int, int]:
    """Return for each thread that is not its process's first the first one."""
    found: dict[int, int] = {}
    for call in log.calls:
        if call.name in FORKS and call.value and call.succeeded and "CLONE_THREAD" in " ".join(call.arguments):
            found[call.value] = found.get(call.tid, call.tid)
    return found


def _follow(table: dict[int, _Open], call: Call) -> Iterator[_Open]:
    """Do to the table what a call has done; yield what is over by that."""
    assert call.value is not None
    if call.name in OPENS:
        if call.succeeded:
            if before := table.pop(call.value, None):
                yield before
            table[call.value] = _Open(open_item(call)[1], until_exec="O_CLOEXEC" in " ".join(call.arguments))
    elif call.name in _CLOSES:
        number = _number(call.arguments[_CLOSES[call.name]])
        is_over = call.error != "EBADF" and (call.name == "close" or number != _number(call.arguments[0]))
        if is_over and number in table:
            yield table.pop(number)
    elif call.name == "close_range":
        first, last = _number(call.arguments[0]), _number(call.arguments[1])
        for number, each in table.items():
            each.gone |= call.succeeded and first <= number <= last and "CLOEXEC" not in call.arguments[2]
    elif call.name in _EXECS:
        for each in table.values():
            each.gone |= call.succeeded and each.until_exec
    elif call.name in _WRITES and call.value > 0:
        yield from _write(table, call.arguments[_WRITES[call.name]], call.value)


def _write(table: dict[int, _Open], argument: str, count: int) -> Iterator[_Open]:
    number = _number(argument)
    if number in table and table[number].gone:
        yield table.pop(number)
    if number not in table:
        # Inherited, or a duplicate. Pipes and sockets are no files; what has been removed has no path.
        path = at(argument)
        if path is None and "(deleted)" not in argument:
            return
        table[number] = _Open(path_of(path) if path else UNKNOWN, until_exec=False)
    table[number].written += count


def _number(argument: str) -> int:
    """Return a descriptor, or a limit of a range of them, which may be written as one's complement."""
    match = _NUMBER.match(argument)
    return int(match[0]) if match else 1 << 32

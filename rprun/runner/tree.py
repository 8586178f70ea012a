"""The command's descendants, wherever they have moved to, and signals to all of them.

As the monitor is a child subreaper, every descendant is below it in the process tree, daemons in sessions of their
own included; psutil walks that tree on every platform, and checks before each signal that the pid is still the
process that was seen. Imported only when a limit has run out or descendants are asked for: psutil costs 30 ms.

Where a system has no subreapers (macOS, OpenBSD, NetBSD, Linux before 3.4) an orphan is below nobody that is known.
There the tree is looked at again and again, and who has once been in it stays in it, with all that it starts. An orphan
is missed that has not been seen before its parent ended, unless it is still in the session of the command's terminal.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from errno import ENOENT

import psutil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rprun.runner.loop import Loop

# Seconds between two looks at a tree that scatters: a look reads the whole table of processes.
FIRST_LOOK = 0.02
LAST_LOOK = 1.0
# Lists of one look, at most; elsewhere on the system processes may be ending all the time.
_MOST_LISTS = 5
_GONE = -1
_TIMER = "tree"


def descendants(monitor: int) -> list[psutil.Process]:
    """Return the living processes below the monitor, parents first.

    Raises:
        OSError: processes cannot be listed here (on Linux: there is no /proc).
    """
    _check_list()
    before = None
    for _ in range(_MOST_LISTS):
        found = _below(monitor)
        # One that has been listed may have started another, and ended, before it was looked at.
        if found == before:
            break
        before = found
    return found


def _below(process: int) -> list[psutil.Process]:
    try:
        found = psutil.Process(process).children(recursive=True)
    except psutil.Error:
        return []
    return [each for each in found if _is_alive(each)]


def _check_list() -> None:
    if psutil.LINUX and not os.path.isdir("/proc/self"):
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), "/proc")


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


class ScatteredTree:
    """A tree that nobody gathers the orphans of.

    Attributes:
        is_empty: the last look has found nobody.
    """

    def __init__(self, loop: Loop, monitor: int, *, leads_session: bool) -> None:
        """Get ready; see `look`.

        Args:
            loop: what it looks on.
            monitor: pid of the monitor, which is none of the tree.
            leads_session: all of the monitor's session are of the tree.
        """
        self.is_empty = False
        self._loop = loop
        self._monitor = monitor
        self._leads_session = leads_session
        self._known: dict[int, psutil.Process] = {}
        self._pause = FIRST_LOOK

    def look(self) -> None:
        """Look who is there, and have that done again and again."""
        try:
            self.is_empty = not self.living()
        except OSError:
            self.is_empty = True
            return
        self._loop.set_timer(_TIMER, self._pause, self.look)
        self._pause = min(self._pause * 2, LAST_LOOK)

    def hurry(self) -> None:
        """Look now, and more often for a while: the command has ended."""
        self._pause = FIRST_LOOK
        self.look()

    def stop(self) -> None:
        """Look no more."""
        self._loop.cancel_timer(_TIMER)

    def living(self) -> list[psutil.Process]:
        """Return the living processes that are, or have been seen to be, of the tree.

        Raises:
            OSError: processes cannot be listed here.
        """
        _check_list()
        ended_before: set[int] = set()
        for _ in range(_MOST_LISTS):
            ended = self._list()
            if ended <= ended_before:
                break
            # Since it was listed one of those may have started somebody, who was not there yet.
            ended_before |= ended
        return list(self._known.values())

    def _list(self) -> set[int]:
        """Take note of the tree as it is; return who has ended since it was listed, or had before."""
        listed = psutil.pids()
        there = {process.pid: process for process in psutil.process_iter()}
        ended = set(listed) - there.keys()
        members = {pid for pid, known in self._known.items() if there.get(pid) == known}
        if self._leads_session:
            sessions = {pid: _session(pid) for pid in there}
            members |= {pid for pid, session in sessions.items() if session == self._monitor}
            ended |= {pid for pid, session in sessions.items() if session == _GONE}
        parents = {pid: _parent(process) for pid, process in there.items()}
        while more := {pid for pid, parent in parents.items() if parent in members | {self._monitor}} - members:
            members |= more
        members -= {self._monitor, os.getpid()}
        self._known = {pid: there[pid] for pid in members if _is_alive(there[pid])}
        return ended | members - self._known.keys()


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return _GONE
    except OSError:
        return 0


def signal_all(processes: Iterable[psutil.Process], numbers: tuple[int, ...]) -> None:
    """Send the signals to each of a tree, to children before a parent could start more of them as a reaction.

    One that is another user's (setuid) is out of reach, as it would be for the caller's own kill(1).
    """
    for process in processes:
        for number in numbers:
            try:
                process.send_signal(number)
            except psutil.Error:
                break


def describe(processes: Iterable[psutil.Process]) -> list[tuple[int, str]]:
    """Return pid and name of each that is still there."""
    found = []
    for process in processes:
        try:
            found.append((process.pid, process.name()))
        except psutil.Error:
            continue
    return found

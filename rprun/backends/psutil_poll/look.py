"""One look after the other at the tree: what is new becomes events. Nothing here waits, nor knows when it is called."""

from __future__ import annotations

import os
from collections import deque
from time import thread_time, time_ns

from rprun.backends.psutil_poll import pace
from rprun.backends.psutil_poll.files import Files
from rprun.backends.psutil_poll.programs import Programs
from rprun.backends.psutil_poll.sockets import Sockets
from rprun.backends.psutil_poll.tree import Tree
from rprun.observe.categories import EventCategory
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any

    from rprun.backends.psutil_poll.host import Host
    from rprun.backends.psutil_poll.tree import Member

    # Kind, process, nanoseconds since the Unix epoch, fields.
    Event = tuple[ObserverEventKind, int, int, dict[str, Any]]

_K = ObserverEventKind
_HIDDEN = (
    "it cannot be seen in the table of processes any more and has not ended: /proc hides it (hidepid; run rprun as "
    "root), or no descriptor was left to read it with (see ulimit -n)"
)
_REFUSED = {
    EventCategory.PROCESS: "what it runs",
    EventCategory.FILE: "which files it has open",
    EventCategory.NETWORK: "which sockets it has",
}


class Looker:
    """Knows the tree as of the last look, and makes events of what the next one shows.

    Attributes:
        events: of the looks so far, oldest first; for the owner to take away.
    """

    def __init__(self, host: Host, name: str, categories: Collection[EventCategory]) -> None:
        """Take note of what there is before the command.

        Args:
            host: the system.
            name: the backend's, for records.
            categories: what is observed by it.

        Raises:
            OSError: processes cannot be listed, or this one not be looked into.
        """
        self.events: deque[Event] = deque()
        self._host = host
        self._name = name
        self._categories = frozenset(categories)
        self._tree = Tree(host, host.numbers())
        self._programs = Programs(host)
        me = os.getpid()
        self._files = Files(host, host.open_files(me) if EventCategory.FILE in categories else ())
        self._sockets = Sockets(host, host.sockets(me) if EventCategory.NETWORK in categories else ())
        self._command = 0
        self._look = 0
        self._turns: deque[Member] = deque()

    def begin(self, pid: int) -> None:
        """Look at the command, and at nothing else yet."""
        self._command = pid
        root = self._tree.plant(pid, os.getpid())
        if root is not None and not root.row.has_ended:
            self._turns.append(root)
            if EventCategory.PROCESS in self._categories:
                self._look_at_program(root)

    def look(self, enough: float | None = None) -> None:
        """Look once.

        Args:
            enough: the seconds of processor time after which no more processes are looked into; None for what is due.

        Raises:
            OSError: the table of processes cannot be read.
        """
        began = thread_time()
        self._look += 1
        self._host.begin()
        changes = self._tree.look()
        # Where a number has come back, its first process ends before the next one starts.
        numbers = {member.pid for member in changes.started}
        replaced = [each for each in changes.ended if each.pid in numbers and each not in changes.started]
        self._tell_ended(replaced)
        for member in changes.started:
            self._emit(EventCategory.PROCESS, _K.DESCENDANT_STARTED, member.pid, ppid=member.ppid)
        for member in changes.hidden:
            for category in self._categories:
                self._say_unobserved(member, category, _HIDDEN)
        if EventCategory.PROCESS in self._categories:
            for member in list(self._tree.members.values()):
                self._look_at_program(member)
        ended = thread_time()
        self._turns.extendleft(reversed([member for member in changes.started if not member.has_ended]))
        self._look_into(ended + (pace.allowance(ended - began) if enough is None else enough))
        self._tell_ended(member for member in changes.ended if member not in replaced)
        for kind, pid, fields in self._sockets.gone(self._tree.members.values()):
            self._emit(EventCategory.NETWORK, kind, pid, **fields)

    def _tell_ended(self, members: Iterable[Member]) -> None:
        for member in members:
            self._sockets.end(member, self._look)
            if member.pid != self._command:
                self._emit(EventCategory.PROCESS, _K.DESCENDANT_EXITED, member.pid, exit_code=None)

    def say_of_all(self, reason: str) -> None:
        """Say of all categories that something keeps them from being observed."""
        for category in self._categories:
            self._emit(category, _K.UNOBSERVED, self._command, category=category, backend=self._name, reason=reason)

    # -- one process

    def _look_into(self, until: float) -> None:
        """Look into as many processes as there is time for: new ones first, then who has waited longest."""
        if self._categories <= {EventCategory.PROCESS}:
            self._turns.clear()
            return
        for _ in range(len(self._turns)):
            member = self._turns.popleft()
            if member.has_ended:
                continue
            parent = member.parent
            if not member.looked and parent is not None and not parent.has_ended and parent.looked < self._look:
                # What it has from its parent is not its own doing.
                self._look_inside(parent)
            if member.looked < self._look:
                self._look_inside(member)
            self._turns.append(member)
            if thread_time() > until:
                return

    def _look_inside(self, member: Member) -> None:
        member.looked = self._look
        if EventCategory.FILE in self._categories:
            self._try(member, EventCategory.FILE, self._look_at_files)
        if EventCategory.NETWORK in self._categories:
            self._try(member, EventCategory.NETWORK, self._look_at_sockets)

    def _look_at_program(self, member: Member) -> None:
        self._try(member, EventCategory.PROCESS, self._look_at_image)

    def _try(self, member: Member, category: EventCategory, look: Callable[[Member], None]) -> None:
        try:
            look(member)
        except PermissionError:
            row = self._host.row(member.pid)
            if row is None or row.is_ending or row.created != member.created:
                return
            reason = f"{_REFUSED[category]} cannot be read (it is another user's, or not dumpable; run rprun as root)"
            self._say_unobserved(member, category, reason)
        except ProcessLookupError:
            pass  # The next look finds that out.
        except OSError as error:
            self._say_unobserved(member, category, f"{_REFUSED[category]} cannot be read now: {error.strerror}")

    def _look_at_image(self, member: Member) -> None:
        program = self._programs.look(member, self._tree.members.values())
        if program is not None:
            # Neither `result` nor `attempt`: no call was seen but what came of one.
            self._emit(
                EventCategory.PROCESS, _K.EXEC, member.pid, path=program.path, argv=program.argv, cwd=program.cwd
            )

    def _look_at_files(self, member: Member) -> None:
        for _, path, access in self._files.look(member):
            self._emit(EventCategory.FILE, _K.FILE_OPEN, member.pid, path=path, flags=None, access=access, create=None)

    def _look_at_sockets(self, member: Member) -> None:
        for kind, pid, fields in self._sockets.look(member, self._look):
            self._emit(EventCategory.NETWORK, kind, pid, **fields)

    def _say_unobserved(self, member: Member, category: EventCategory, reason: str) -> None:
        if category not in member.refused:
            member.refused.add(category)
            self._emit(category, _K.UNOBSERVED, member.pid, category=category, backend=self._name, reason=reason)

    def _emit(self, about: EventCategory, kind: ObserverEventKind, pid: int, **fields: object) -> None:
        if about in self._categories:
            self.events.append((kind, pid, time_ns(), fields))

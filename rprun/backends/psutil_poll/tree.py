"""The command's own processes, followed from one look at the table of processes to the next.

Some facts that give it its shape:

- A process is known by its number and the time of its creation. Linux counts that in hundredths of a second: a number
  that comes back within one cannot be told from what it was.
- What the table says is read line by line while it changes. A parent may be gone when its child is read, and the child
  be somebody else's by then: so lines that are new are read first, and the known ones after them.
- A process that was there before the command, or whose parent was not one of the command's, never becomes one; a new
  process under its number may. So numbers of others are not read in each look but a few at a time, in turns.
- With the monitor as a subreaper, orphans become its children, and it starts nothing but the command. Without, an
  orphan that was not seen before its parent ended is nobody's that could be told.
"""

from __future__ import annotations

from collections import defaultdict, deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from rprun.backends.psutil_poll.host import Host, Row

# Numbers of others that are read again in a look.
_IN_TURNS = 4
# Programs of a process that are remembered: for its forks, which can have been seen late.
_IMAGES = 32


class Member:
    """A process of the tree.

    Attributes:
        pid: its number.
        created: with its number, who it is.
        parent: the member that started it; None where that is not known, and for the command.
        ppid: that one's number; None where it is not known who it was.
        row: what the table last said of it.
        images: of what it has run, as far as that was seen, the present one last.
        has_ended: it has.
        is_hidden: the table does not show it any more, though it has not ended.
        looked: the number of the look in which it was last looked into; 0 before.
        files: what it had open then; None before.
        sockets: those of its sockets that were seen then, by their keys.
        refused: what it may not be looked at for.
    """

    __slots__ = (
        *("created", "files", "has_ended", "images", "is_hidden", "looked", "parent", "pid", "ppid", "refused"),
        *("row", "sockets"),
    )

    def __init__(self, pid: int, row: Row, parent: Member | None) -> None:
        self.pid = pid
        self.created = row.created
        self.parent = parent
        self.ppid = row.parent if parent is not None else None
        self.row = row
        self.images: deque[Hashable] = deque(maxlen=_IMAGES)
        self.has_ended = self.is_hidden = False
        self.looked = 0
        self.files: dict[tuple[int, str, str | None], tuple[int, int] | None] | None = None
        self.sockets: set[tuple[object, ...]] = set()
        self.refused: set[str] = set()


class Changes:
    """What one look has shown: who is new, parents first; who has ended; who has gone out of sight."""

    __slots__ = ("ended", "hidden", "started")

    def __init__(self) -> None:
        self.started: list[Member] = []
        self.ended: list[Member] = []
        self.hidden: list[Member] = []

    def __bool__(self) -> bool:
        return bool(self.started or self.ended or self.hidden)


class Tree:
    """The living processes of the command, as of the last look.

    Attributes:
        members: by number, the command among them for as long as it lives.
    """

    def __init__(self, host: Host, others: Iterable[int]) -> None:
        """Know nobody of the tree yet.

        Args:
            host: the system.
            others: the numbers of all processes there were before the command.
        """
        self._host = host
        self._others = set(others)
        self._in_turns: list[int] = []
        self._above: tuple[int, float] | None = None
        # Reported as ended, and still in the table: nobody has waited for them.
        self._unreaped: dict[int, float] = {}
        self.members: dict[int, Member] = {}

    def plant(self, root: int, owner: int) -> Member | None:
        """Begin with the command; None if it is not in the table any more.

        Args:
            root: its number.
            owner: rprun itself. What it has started to start the command, and that only, takes in orphans.
        """
        row = self._host.row(root)
        if row is None:
            return None
        above = self._host.row(row.parent)
        if above is not None and above.parent == owner:
            self._above = row.parent, above.created
        member = self.members[root] = Member(root, row, None)
        self._others.discard(root)
        return member

    def look(self) -> Changes:
        """Read the table, as far as it has to be read.

        Raises:
            OSError: it cannot be read.
        """
        numbers = self._host.numbers()
        there = set(numbers)
        self._others &= there
        for pid in [pid for pid in self._unreaped if pid not in there]:
            del self._unreaped[pid]
        changes, before = Changes(), list(self.members.values())
        found = self._read(pid for pid in numbers if pid not in self.members and pid not in self._others)
        found.update(self._read(self._some_others()))
        for member in before:
            self._look_at(member, changes, found)
        self._adopt(before, found, changes)
        self._others.update(pid for pid in found if pid not in self.members)
        for member in changes.started:
            if member.row.has_ended:
                self._end(member, changes)
        return changes

    def _read(self, numbers: Iterable[int]) -> dict[int, Row]:
        rows = {pid: self._host.row(pid) for pid in numbers}
        return {pid: row for pid, row in rows.items() if row is not None and self._unreaped.get(pid) != row.created}

    def _some_others(self) -> list[int]:
        if not self._in_turns:
            self._in_turns = list(self._others)
        some, self._in_turns = self._in_turns[:_IN_TURNS], self._in_turns[_IN_TURNS:]
        return [pid for pid in some if pid in self._others]

    def _look_at(self, member: Member, changes: Changes, found: dict[int, Row]) -> None:
        row = self._host.row(member.pid)
        if row is None:
            if not self._host.is_hidden(member.pid):
                self._end(member, changes)
            elif not member.is_hidden:
                member.is_hidden = True
                changes.hidden.append(member)
        elif row.created != member.created:
            # The number is another process's now.
            found[member.pid] = row
            self._end(member, changes)
        else:
            member.row, member.is_hidden = row, False
            if row.has_ended:
                self._end(member, changes)

    def _adopt(self, before: list[Member], found: dict[int, Row], changes: Changes) -> None:
        """Take in, of what has been found, what members have started, and what those have in turn."""
        children: dict[int, list[int]] = defaultdict(list)
        for pid, row in found.items():
            children[row.parent].append(pid)
        if not children:
            return
        waiting: list[Member] = [*before]
        if self._above is not None and self._above[0] in children:
            waiting += self._take_in(children[self._above[0]], None, found, changes)
        for member in waiting:
            if member.pid not in children:
                continue
            namesake = found.get(member.pid)
            own = [
                pid
                for pid in children[member.pid]
                if member.created <= found[pid].created
                # Else its parent is a newer process that has got the member's number.
                and not (namesake is not None and member.created < namesake.created <= found[pid].created)
            ]
            waiting += self._take_in(own, member, found, changes)

    def _take_in(
        self, numbers: list[int], parent: Member | None, found: dict[int, Row], changes: Changes
    ) -> list[Member]:
        if parent is None and not self._is_above():
            return []
        taken = []
        for pid in numbers:
            if pid in self.members:
                continue
            self._others.discard(pid)
            member = self.members[pid] = Member(pid, found[pid], parent)
            taken.append(member)
        changes.started += taken
        return taken

    def _is_above(self) -> bool:
        """Tell whether the number of the one that takes in orphans is still that one's."""
        row = self._host.row(self._above[0]) if self._above is not None else None
        return row is not None and self._above is not None and row.created == self._above[1]

    def _end(self, member: Member, changes: Changes) -> None:
        if self.members.get(member.pid) is member:
            del self.members[member.pid]
        if member.row.has_ended:
            self._unreaped[member.pid] = member.created
        member.has_ended = True
        # Its children may still be compared with it, but not they with all that were before.
        member.parent = None
        changes.ended.append(member)

"""The tree as it is followed through tables that change while they are read: what a real system does once a year.

The tables are written down here; that real ones are read rightly is what the other tests are about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rprun.backends.psutil_poll.host import Host, Program, Row, Socket
from rprun.backends.psutil_poll.programs import Programs
from rprun.backends.psutil_poll.sockets import Sockets
from rprun.backends.psutil_poll.tree import Member, Tree
from rprun.observe.kinds import ObserverEventKind

if TYPE_CHECKING:
    from collections.abc import Collection

    from rprun.backends.psutil_poll.host import Opened

OWNER, MONITOR, ROOT = 10, 20, 30


class Written(Host):
    """A table of processes that is written down: number -> (parent, time of creation)."""

    def __init__(self, **processes: tuple[int, int]) -> None:
        self.rows = {OWNER: (1, 1), MONITOR: (OWNER, 2), ROOT: (MONITOR, 3)}
        self.dead: set[int] = set()
        self.hidden: set[int] = set()
        self.has: dict[int, list[Socket]] = {}
        self.images: dict[int, str] = {}

    def numbers(self) -> list[int]:
        """Return them in order."""
        return sorted(self.rows)

    def row(self, process: int) -> Row | None:
        """Return a line of the table."""
        if process not in self.rows or process in self.hidden:
            return None
        parent, created = self.rows[process]
        return Row(parent, created, has_ended=process in self.dead, image=self.images.get(process, "sh"))

    def is_hidden(self, process: int) -> bool:
        """Tell who is hidden."""
        return process in self.hidden

    def program(self, process: int) -> Program:
        """Return its image for a path."""
        return Program(self.images.get(process, "sh"), [], None)

    def open_files(self, process: int, known: Collection[Opened] = ()) -> list[Opened]:
        """Nobody asks."""
        raise AssertionError

    def sockets(self, process: int) -> list[Socket]:
        """Return what is written down."""
        return self.has.get(process, [])


def planted(host: Written) -> Tree:
    """A tree that begins with the command."""
    tree = Tree(host, [OWNER, MONITOR])
    assert tree.plant(ROOT, OWNER) is not None
    return tree


def look(tree: Tree) -> tuple[list[tuple[int, int | None]], list[int]]:
    """Look once: who has started, each with its parent, and who has ended."""
    changes = tree.look()
    return [(member.pid, member.ppid) for member in changes.started], [member.pid for member in changes.ended]


def test_parents_come_before_their_children() -> None:
    """Whatever their numbers are."""
    host = Written()
    tree = planted(host)
    host.rows |= {5: (50, 9), 50: (40, 8), 40: (ROOT, 7), 60: (OWNER, 8), 61: (60, 9)}
    started, ended = look(tree)
    assert [pid for pid, _ in started] == [40, 50, 5]
    assert not ended
    assert look(tree) == ([], [])


def test_a_number_of_somebody_elses_that_comes_back() -> None:
    """A number that was another process's before the command, and is its child's now, is found in turns."""
    host = Written()
    host.rows |= dict.fromkeys(range(100, 200), (1, 1))
    tree = Tree(host, host.rows)
    assert tree.plant(ROOT, OWNER) is not None
    assert look(tree) == ([], [])
    host.rows[150] = (ROOT, 9)
    found = [started for _ in range(60) if (started := look(tree)[0])]
    assert found == [[(150, ROOT)]]


def test_a_members_number_that_comes_back() -> None:
    """Its first process has ended and its second is a new one: of the tree if its parent is, and else not."""
    host = Written()
    tree = planted(host)
    host.rows |= {40: (ROOT, 5), 41: (ROOT, 5)}
    assert look(tree)[0] == [(40, ROOT), (41, ROOT)]
    host.rows |= {40: (ROOT, 9), 41: (1, 9)}
    assert look(tree) == ([(40, ROOT)], [40, 41])


def test_a_child_of_a_namesake() -> None:
    """Of two processes that had a number one after the other, the one that was there before the child is its parent."""
    host = Written()
    tree = planted(host)
    host.rows |= {40: (ROOT, 5)}
    look(tree)
    first = tree.members[40]
    host.rows |= {40: (1, 9), 42: (40, 10), 41: (40, 6)}
    changes = tree.look()
    assert [(member.pid, member.row.parent) for member in changes.started] == [(41, 40)]
    assert changes.ended == [first]


def test_a_parent_cannot_be_younger_than_its_child() -> None:
    """A number in a line that was read before its process was another one is not that one's."""
    host = Written()
    tree = planted(host)
    host.rows |= {40: (ROOT, 7), 41: (40, 6)}
    assert look(tree)[0] == [(40, ROOT)]


def test_orphans_of_the_monitors() -> None:
    """They are of the tree and have no parent that is known; those of another process under its number are not."""
    host = Written()
    tree = planted(host)
    host.rows[50] = (MONITOR, 7)
    assert look(tree)[0] == [(50, None)]
    host.rows |= {MONITOR: (1, 8), 51: (MONITOR, 9)}
    assert look(tree)[0] == []


def test_a_command_whose_monitor_is_gone() -> None:
    """Then its parent is somebody else, whose children are nobody's business here."""
    host = Written()
    host.rows |= {1: (0, 0), ROOT: (1, 3)}
    tree = Tree(host, [1, OWNER])
    assert tree.plant(ROOT, OWNER) is not None
    host.rows[50] = (1, 7)
    assert look(tree)[0] == []


def test_a_zombie_is_not_found_again() -> None:
    """Neither as long as nobody waits for it, nor when its number is another process's, which is a new one."""
    host = Written()
    tree = planted(host)
    host.rows[40] = (ROOT, 5)
    host.dead.add(40)
    assert look(tree) == ([(40, ROOT)], [40])
    assert all(look(tree) == ([], []) for _ in range(9))
    host.dead.clear()
    host.rows[40] = (ROOT, 8)
    assert look(tree) == ([(40, ROOT)], [])


def test_out_of_sight() -> None:
    """Who cannot be seen any more has not ended, and is said to be hidden once; when it is gone it has ended."""
    host = Written()
    tree = planted(host)
    host.rows[40] = (ROOT, 5)
    look(tree)
    host.hidden.add(40)
    assert [member.pid for member in tree.look().hidden] == [40]
    assert not tree.look()
    host.hidden.clear()
    del host.rows[40]
    assert look(tree) == ([], [40])


def run(programs: Programs, tree: Tree) -> list[tuple[int, object]]:
    """Look once: who runs another program than before, and which."""
    tree.look()
    members = tree.members.values()
    found = [(member.pid, programs.look(member, members)) for member in members]
    return [(pid, program.path) for pid, program in found if program is not None]


def test_programs_and_forks() -> None:
    """A program is told whenever it changes, also to one that was before; a fork of whatever its parent ran is none."""
    host = Written()
    tree, programs = planted(host), Programs(host)
    assert run(programs, tree) == [(ROOT, "sh")]
    host.rows[40] = (ROOT, 5)
    assert run(programs, tree) == []
    host.images = {ROOT: "make", 40: "cc"}
    assert run(programs, tree) == [(ROOT, "make"), (40, "cc")]
    # Forked before its parent became make, and seen after.
    host.rows[41] = (ROOT, 6)
    assert run(programs, tree) == []
    host.images = {ROOT: "sh", 40: "cc"}
    assert run(programs, tree) == [(ROOT, "sh")]


def test_the_program_of_an_orphan() -> None:
    """Where its parent is not known, it may be a fork of any of the tree; only what none of them has run is told."""
    host = Written()
    tree, programs = planted(host), Programs(host)
    run(programs, tree)
    host.rows |= {50: (MONITOR, 7), 51: (MONITOR, 7)}
    host.images[51] = "daemon"
    assert run(programs, tree) == [(51, "daemon")]


def test_a_connection_that_is_handed_on() -> None:
    """It is gone when all have been looked at since, and not as soon as the first holder has let go of it."""
    host = Written()
    connection = Socket("inet", "tcp", ("127.0.0.1", 1000), ("127.0.0.1", 80), listens=False)
    parent, child = (Member(pid, Row(1, 3, has_ended=False), None) for pid in (ROOT, 40))
    host.rows[40] = (ROOT, 3)
    sockets = Sockets(host, ())

    def looked(number: int, *members: Member) -> list[ObserverEventKind]:
        found = []
        for member in members:
            member.looked = number
            found += [kind for kind, _, _ in sockets.look(member, number)]
        return found + [kind for kind, _, _ in sockets.gone([parent, child])]

    host.has[ROOT] = [connection]
    assert looked(1, parent) == [ObserverEventKind.NET_CONNECT]
    host.has = {40: [connection]}
    assert looked(2, parent) == []
    assert looked(3, child) == []
    host.has = {}
    assert looked(4, child) == []
    assert looked(5, parent) == []
    assert looked(6, child) == [ObserverEventKind.NET_CLOSE]

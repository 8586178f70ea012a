"""Which programs the processes of a tree were seen to run.

A process is known by what it was seen to run before, and at first by what its parent was: a fork shows its parent's
program, and has executed nothing. What a snapshot shows besides is an `exec`: some program that this process, or one
between it and its parent that was never seen, has executed by now.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rprun.backends.psutil_poll.host import Host, Program
    from rprun.backends.psutil_poll.tree import Member


class Programs:
    """Tells of programs that are new to their processes."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def look(self, member: Member, members: Iterable[Member]) -> Program | None:
        """Return what a process runs, if it was not known to; None else, and where it has ended.

        Args:
            member: its row is that of this look.
            members: all of the tree: what an orphan, whose parent is not known, may be a fork of.

        Raises:
            PermissionError: what it runs cannot be read.
        """
        image = member.row.image
        if member.images and image == member.images[-1]:
            return None
        if image is None:
            # There is none left, or it may not be known: to read the program tells which.
            self._read(member)
            return None
        if not member.images:
            known = [member.parent] if member.parent is not None else [each for each in members if each is not member]
            if any(image in each.images for each in known):
                member.images.append(image)
                return None
        program = self._read(member)
        row = self._host.row(member.pid)
        if program is None or row is None or (row.created, row.image) != (member.created, image):
            # What was read may be another program's: the next look tells.
            return None
        member.images.append(image)
        return program

    def _read(self, member: Member) -> Program | None:
        try:
            return self._host.program(member.pid)
        except ProcessLookupError:
            return None

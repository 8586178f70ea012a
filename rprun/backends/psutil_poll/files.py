"""Which files the processes of a tree were seen to have open.

Some facts that decide what an event can say:

- A child has what its parent had open, at the same descriptors, and did not open it: it is known by that at first.
- The path of an open file is that of its name now. A file that was renamed shows a new one, so what was at the same
  descriptor before is compared by its inode; a file that was removed is not shown any more. So that a file is not
  there any more does not say that it was closed, and there are no `file-close` events.
- What a file was opened with is not kept by the system, but for how it may be accessed.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rprun.backends.psutil_poll.host import Host, Opened
    from rprun.backends.psutil_poll.tree import Member


class Files:
    """Tells of open files that are new to their processes."""

    def __init__(self, host: Host, inherited: Iterable[Opened]) -> None:
        """Take note of what the command is given open: what rprun has itself."""
        self._host = host
        self._inherited = {(descriptor, path) for descriptor, path, _ in inherited}

    def look(self, member: Member) -> list[Opened]:
        """Return what a process has open and had not when it, or the parent that it is a fork of, was looked at last.

        Raises:
            ProcessLookupError, PermissionError, OSError: as of `Host`; then nothing is taken note of.
        """
        before = member.files
        if before is None:
            before = (member.parent.files if member.parent is not None else None) or {}
        found = self._host.open_files(member.pid, before.keys())
        now: dict[Opened, tuple[int, int] | None] = {}
        new = []
        for opened in found:
            if opened in before:
                now[opened] = before[opened]
                continue
            now[opened] = identity = _identity(opened[1])
            if opened[:2] not in self._inherited and not _was_renamed(opened, identity, before, found):
                new.append(opened)
        if new:
            self._host.confirm(member.pid, member.created)
        member.files = now
        return new


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _was_renamed(
    opened: Opened,
    identity: tuple[int, int] | None,
    before: dict[Opened, tuple[int, int] | None],
    found: list[Opened],
) -> bool:
    """Tell whether this file was open at the same descriptor under another name."""
    return identity is not None and any(
        was == identity and each[0] == opened[0] and each not in found for each, was in before.items()
    )

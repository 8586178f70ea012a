"""Which files a process sees: those that the supervisor sees too, under the same paths, or others.

Some facts about that:

- It is decided by the process's root directory and its mount namespace. Both can change: so can what is known of it. A
  root can be shared by processes that are no threads of each other (CLONE_FS): so once any has changed its own, nothing
  is taken for known any more.
- What /proc says is of this process's own pid namespace only where /proc was mounted there. Else the same number is
  another process's, and nothing is read from it.
- Whether a path exists is asked of the kernel in the supervisor's own name (see `looking.py`), so only for processes
  that see the same files; and what is different for everyone who asks, as /proc/self, is asked for by the process's
  number.
- A root directory may be in a file system whose server does not answer. So only one that has the name of this
  process's own is looked at.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os

from rprun.backends.seccomp.looking import Looking

ONE_LINK = os.O_NOFOLLOW
_NEW = os.O_CREAT | os.O_EXCL
# Links of a directory in /proc/PID/task: its own two, and one of its only thread's.
_ONE_THREAD = 3


class Views:
    """Knows of each process whether it sees the same files as this one.

    Attributes:
        shared: process -> whether it does, as far as that is known. Only to be read.
        looking: how paths are looked at.
        is_unsettled: what a process sees may change with what another one does; it is asked at each call.
        has_own_proc: the numbers in /proc are those by which this process knows others.
    """

    def __init__(self) -> None:
        self.shared: dict[int, bool] = {}
        self.looking = Looking()
        self.is_unsettled = False
        self.has_own_proc = _has_own_proc()
        self._own = _view_of("self") if self.has_own_proc else ()
        # Those that have changed what they see, until they have one thread only: of several, each may see other files,
        # and one may make a call before another one's change has come about. An exec ends all but one, if it succeeds.
        self._changing: set[int] = set()

    def change(self, tgid: int) -> None:
        """A process is about to change what it sees: from now on that is asked anew at each call of it."""
        self.shared.pop(tgid, None)
        self._changing.add(tgid)

    def change_all(self) -> None:
        """Somebody is about to change what it and perhaps others see: from now on that is asked at each call of any."""
        self.is_unsettled = True
        self.shared.clear()

    def forget(self, tgid: int) -> None:
        """Forget what is known of a process, which has ended."""
        self.shared.pop(tgid, None)
        self._changing.discard(tgid)

    def link(self, tid: int, tgid: int, name: bytes) -> bytes | None:
        """Return where a link in /proc/TID leads, as the process sees it; None if that is not a file with a name."""
        link = b"/proc/%d/%b" % (tid, name)
        try:
            path = os.readlink(link) if self.has_own_proc else b""
            if path[:1] != b"/" or (path.endswith(b" (deleted)") and self._is_deleted(link)):
                return None
            if self.shared.get(tgid):
                return path
            root = os.readlink(b"/proc/%d/root" % tid)
        except OSError:
            return None
        if root == b"/":
            return path
        if path == root:
            return b"/"
        # In a chroot; what lies outside of it has no name for the process.
        return path[len(root) :] if path.startswith(root + b"/") else None

    def existence(self, path: bytes, flags: int, tid: int, tgid: int) -> int:
        """Return EXISTS, ABSENT or 0, where it cannot be known, of a path that is to be opened with these flags."""
        visible = self.visible(path, tid, tgid)
        if visible is None:
            return 0
        return self.looking.existence(visible, follows=not flags & ONE_LINK and flags & _NEW != _NEW)

    def program(self, path: bytes, tid: int, tgid: int) -> tuple[int, int]:
        """Return marks and a mode of a path that is to be executed: see `Looking.program`."""
        visible = self.visible(path, tid, tgid)
        return (0, 0) if visible is None else self.looking.program(visible)

    def _is_deleted(self, link: bytes) -> bool:
        """Tell whether a link whose text says so leads to what is no longer there, and not to what has that name."""
        return self.looking.is_careful or os.stat(link).st_nlink == 0

    def visible(self, path: bytes, tid: int, tgid: int) -> bytes | None:
        """Return under which path this process sees what another one sees; None where that cannot be known."""
        shared = self.shared.get(tgid)
        if shared is None:
            shared = len(self._own) > 1 and _view_of(tid) == self._own
            if tgid in self._changing and _is_alone(tid, tgid):
                self._changing.discard(tgid)
            if tgid not in self._changing and not self.is_unsettled:
                self.shared[tgid] = shared
        if not shared:
            return None
        if b"self" in path or b"/dev/" in path:
            if path.startswith(b"/proc/self/"):
                return b"/proc/%d/%b" % (tgid, path[11:])
            if path.startswith(b"/proc/thread-self/"):
                return b"/proc/%d/task/%d/%b" % (tgid, tid, path[18:])
            if (b"proc" in path and b"self" in path) or b"/dev/fd" in path or b"/dev/std" in path:
                return None
        return path


def _has_own_proc() -> bool:
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _is_alone(tid: int, tgid: int) -> bool:
    """Tell whether a thread, which stands still, is its process's first and only one."""
    try:
        return tid == tgid and os.stat(f"/proc/{tgid}/task").st_nlink == _ONE_THREAD
    except OSError:
        return False


def _view_of(process: int | str) -> tuple[object, ...]:
    """Return what decides which files a process sees: its root directory and its mount namespace.

    () where that cannot be read, or where the root has another name than this process's own.
    """
    try:
        if os.readlink(f"/proc/{process}/root") != "/":
            return ()
        root = os.stat(f"/proc/{process}/root")
        return root.st_dev, root.st_ino, os.readlink(f"/proc/{process}/ns/mnt")
    except OSError:
        return ()

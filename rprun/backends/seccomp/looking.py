"""Whether a path is there, asked of the kernel in the supervisor's own name, without ever waiting for an answer.

Some facts about that:

- While it is asked, the whole tree waits. Who would have to answer may be gone, as the server of a network file system;
  or be one of the tree, and wait for the supervisor. So where something is mounted that is not known to be local, only
  what the kernel knows already is asked for (RESOLVE_CACHED); and what it does not know, of local mounts alone, name by
  name, never stepping onto what is mounted on the way.
- A mount by one of the tree is announced, before it is there: from then on it is done so in any case. Others' are heard
  of when the mounts are looked at again, which is 25 us later at most, and before any of them is taken for local.
- A symbolic link in procfs leads everybody elsewhere: /proc/self, and what is behind a descriptor. Of a path that leads
  there by other links, as /dev/stdin does, nothing can be known. It takes a second call to find that out. That one is
  made where nothing was found, and for programs, as an exec would be untold; not for each file that is there.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import stat
from errno import EACCES, EAGAIN, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOSYS, ENOTDIR, EPERM, EXDEV

from rprun.backends.seccomp.record import ABSENT, EXISTS, WHOLE
from rprun.linux import openat2
from rprun.linux.mounts import Mounts

# The kernel follows no more (path_resolution(7)).
_MOST_LINKS = 40
_NOT_THERE = (ENOENT, ENOTDIR)
# Each of these alone keeps whoever comes to a path from having come through a link of /proc: nothing but the root
# directory's own mount is stepped on, or there is no link at all on the way.
_BESIDE_PROC = (openat2.NO_XDEV | openat2.NO_MAGICLINKS, openat2.NO_SYMLINKS)
# There is what is not to be stepped on, or what is not known; or there is no such call. To follow a link may be
# forbidden to the supervisor alone (fs.protected_symlinks, proc_sys_fs(5)), which may read it.
_TO_BE_WALKED = (EXDEV, ELOOP, EACCES, EAGAIN, EINVAL, ENOSYS, EPERM)


class Looking:
    """Looks at paths as the supervisor sees them.

    Attributes:
        is_careful: only what is known, or local, is looked at. Only to be read.
        mounts: what that depends on.
    """

    def __init__(self) -> None:
        self.mounts = Mounts()
        self._expects_mounts = False
        self.is_careful = self.mounts.may_wait

    def expect_mount(self) -> None:
        """Somebody is about to mount something, and may serve it."""
        self._expects_mounts = self.is_careful = True

    def look_again(self) -> None:
        """Look whether something has been mounted."""
        self.mounts.look_again()
        self.is_careful = self._expects_mounts or self.mounts.may_wait

    def existence(self, path: bytes, *, follows: bool) -> int:
        """Return EXISTS, ABSENT or 0, where it cannot be known, of an absolute path.

        Args:
            path: which.
            follows: whether a link at its end is followed.
        """
        try:
            if self.is_careful:
                os.close(openat2.look_at(path, openat2.CACHED | openat2.NO_MAGICLINKS, follows=follows))
            else:
                os.stat(path, follow_symlinks=follows)
        except OSError as error:
            if error.errno not in (*_NOT_THERE, EAGAIN):
                return 0
        else:
            return EXISTS
        try:
            self._mode(path, follows=follows)
        except OSError as error:
            return ABSENT if error.errno in _NOT_THERE else 0
        return EXISTS

    def absence(self, path: bytes) -> int:
        """As `existence`, faster for a path that was not found a moment ago."""
        cached = openat2.CACHED if self.is_careful else 0
        error = openat2.failure(path, openat2.NO_SYMLINKS | cached)
        return ABSENT if error in _NOT_THERE else self.existence(path, follows=True)

    def program(self, path: bytes) -> tuple[int, int]:
        """Return marks and a file's mode: WHOLE with a mode, EXISTS without, ABSENT, or neither if it cannot be known.

        ABSENT stands for what is the same for whoever asks. What is forbidden to the supervisor need not be so to the
        process, also if the supervisor is root's: in a FUSE file system of another user's, or by a security module.
        """
        try:
            mode = self._mode(path, follows=True)
        except OSError as error:
            return (ABSENT if error.errno in (*_NOT_THERE, ELOOP, ENAMETOOLONG) else 0), 0
        return (EXISTS | WHOLE, mode) if mode else (EXISTS, 0)

    def _mode(self, path: bytes, *, follows: bool) -> int:
        """Return the mode of what a path leads to; 0 if it is there, and its mode cannot be asked for.

        Raises:
            OSError: ENOENT or ENOTDIR if it is not there for anybody; what is not to be known is EAGAIN.
        """
        cached = openat2.CACHED if self.is_careful else 0
        for resolve in _BESIDE_PROC:
            try:
                descriptor = openat2.look_at(path, resolve | cached, follows=follows)
            except OSError as error:
                if error.errno not in _TO_BE_WALKED:
                    raise
                continue
            try:
                return os.fstat(descriptor).st_mode if self._may_ask(descriptor) else 0
            finally:
                os.close(descriptor)
        return self._walk(path, follows=follows)

    def _walk(self, path: bytes, *, follows: bool) -> int:
        """As `_mode`, name by name and link by link."""
        here, left, links, mode = b"", path.split(b"/")[::-1], 0, stat.S_IFDIR
        while left:
            name = left.pop()
            if not name:
                continue
            # Also of dots: in a directory that may not be searched they are nothing.
            place = self._step(here, name)
            try:
                if not self._may_ask(place):
                    raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
                status = os.fstat(place)
                mode = status.st_mode
                # What is left may be nothing but what stands behind a slash at the end: that is followed, too.
                if stat.S_ISLNK(mode) and (left or follows):
                    links += 1
                    if status.st_dev in self.mounts.proc:
                        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
                    if links > _MOST_LINKS:
                        raise OSError(ELOOP, os.strerror(ELOOP))
                    target = os.readlink(b"", dir_fd=place)
                    here = b"" if target[:1] == b"/" else here
                    left += target.split(b"/")[::-1]
                    continue
            finally:
                os.close(place)
            if left and not stat.S_ISDIR(mode):
                raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR))
            if name == b"..":
                here = here.rpartition(b"/")[0]
            elif name != b".":
                here += b"/" + name
        return mode

    def _step(self, directory: bytes, name: bytes) -> int:
        """Open what is in a directory, the path of which has no links.

        Raises:
            OSError: as `_mode`.
        """
        path = directory + b"/" + name
        if not self.is_careful:
            return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return openat2.look_at(path, openat2.CACHED | openat2.NO_SYMLINKS, follows=False)
        except OSError as error:
            if error.errno != EAGAIN or path in self.mounts.points:
                raise
        parent = openat2.look_at(directory or b"/", openat2.CACHED | openat2.NO_SYMLINKS)
        try:
            if not self.mounts.is_local(parent) or path in self.mounts.points:
                raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
            return openat2.look_at(name, openat2.NO_XDEV, follows=False, directory=parent)
        finally:
            os.close(parent)

    def _may_ask(self, descriptor: int) -> bool:
        return not self.is_careful or self.mounts.is_local(descriptor)

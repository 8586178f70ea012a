"""Which end each standard stream of the command gets: decided here, per stream, from what rprun's own streams are.

This module is on the start-up path.
"""

from __future__ import annotations

import os
import stat
import sys
from errno import ENXIO

if sys.platform == "darwin":
    from rprun.bsd import polling
elif sys.platform != "win32":
    import select as polling

# What a stream of rprun's own can be.
TTY = "tty"
PIPE = "pipe"
SOCKET = "socket"
FILE = "file"
DEVICE = "device"
CLOSED = "closed"

# What the command's stream becomes: what it is here, the PTY, the second PTY, or a pipe that rprun reads.
INHERIT = "inherit"
PTY = "pty"
ERROR_PTY = "error-pty"
OUT_PIPE = "out-pipe"
ERROR_PIPE = "error-pipe"
# A pipe that the owner of a `Process` writes to.
FEED_PIPE = "feed-pipe"


class Stream:
    """One of rprun's own standard streams: its descriptor, what it is, and which file is behind it."""

    __slots__ = ("fd", "identity", "kind")

    def __init__(self, fd: int, kind: str | None = None) -> None:
        self.fd = fd
        self.identity: tuple[int, int] | None = None
        if kind is not None:
            self.kind = kind
            return
        try:
            status = os.fstat(fd)
        except OSError:
            self.kind = CLOSED
            return
        mode = status.st_mode
        self.identity = (status.st_dev, status.st_ino)
        if stat.S_ISCHR(mode):
            self.kind = TTY if os.isatty(fd) else DEVICE
        elif stat.S_ISFIFO(mode):
            self.kind = PIPE
        elif stat.S_ISSOCK(mode):
            self.kind = SOCKET
        else:
            self.kind = FILE


def survey() -> tuple[Stream, Stream, Stream]:
    """Look at this process's standard streams and occupy the closed ones.

    A closed stream is filled with /dev/null, close-on-exec: nothing that is opened later can land on 0, 1 or 2, and
    the command still finds the stream closed.
    """
    streams = (Stream(0), Stream(1), Stream(2))
    for stream in streams:
        if stream.kind == CLOSED:
            # The lowest free number is the closed stream itself, as they are filled in order.
            os.open("/dev/null", os.O_RDWR)
    return streams


def choose_ends(
    streams: tuple[Stream, Stream, Stream],
    transport: str,
    *,
    split_stderr: bool,
    watch_stdout: bool,
    watch_stderr: bool,
) -> tuple[str, str, str]:
    """Return the ends of the command's stdin, stdout and stderr.

    Args:
        streams: rprun's own.
        transport: `auto`, `pty` or `pipe`.
        split_stderr: stderr gets a PTY of its own where it gets one at all.
        watch_stdout: rprun must see what goes there even where it could pass through.
        watch_stderr: the same for stderr.
    """
    stdin, stdout, stderr = streams
    if transport == "pty":
        return PTY, PTY, ERROR_PTY if split_stderr else PTY
    if transport == "pipe":
        # Where there is no stream here there is nothing to relay to: the command finds it closed as well.
        return (
            INHERIT,
            OUT_PIPE if stdout.kind != CLOSED else INHERIT,
            ERROR_PIPE if stderr.kind != CLOSED else INHERIT,
        )
    first = PTY if stdin.kind == TTY else INHERIT
    second = PTY if stdout.kind == TTY else INHERIT
    third = PTY if stderr.kind == TTY else INHERIT
    if third == PTY and (split_stderr or (second == PTY and stdout.identity != stderr.identity)):
        third = ERROR_PTY
    one_file = stdout.identity is not None and stdout.identity == stderr.identity
    if second == INHERIT and stdout.kind != CLOSED and (watch_stdout or (watch_stderr and one_file)):
        second = OUT_PIPE
    if third == INHERIT and stderr.kind != CLOSED and (watch_stderr or (watch_stdout and one_file)):
        # One pipe for both where both go to one file: two would lose the order between them.
        third = OUT_PIPE if one_file else ERROR_PIPE
    return first, second, third


if sys.platform != "win32":
    # What a few descriptors are waited for with, and what is waited for.
    Poll = polling.poll
    READABLE, WRITABLE, HUNG_UP = polling.POLLIN, polling.POLLOUT, polling.POLLHUP
    # What a pipe takes whole that is ready for writing.
    PIPE_BUF = polling.PIPE_BUF

    def reopen(descriptor: int, flags: int) -> int:
        """Open a pipe or terminal anew, non-blocking; return a descriptor of an open file description of our own.

        Linux does so by the descriptor's name. Elsewhere opening /dev/fd/N is no more than a dup(2), and a terminal,
        but no pipe, can be opened by its own name.

        Raises:
            OSError: another user's, one of another mount namespace, a pipe without a reader, or nothing of the kind.
        """
        flags |= os.O_NONBLOCK | os.O_NOCTTY
        if sys.platform == "linux":
            try:
                return os.open(f"/proc/self/fd/{descriptor}", flags)
            except FileNotFoundError:
                # No /proc: as elsewhere.
                pass
        opened = os.open(os.ttyname(descriptor), flags)
        if not os.path.samestat(os.fstat(opened), os.fstat(descriptor)):
            os.close(opened)
            raise OSError(ENXIO, "another terminal has the name")
        return opened

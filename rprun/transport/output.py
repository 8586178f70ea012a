"""Where relayed bytes go: one of rprun's own streams, written to without ever blocking on its reader.

Some facts about that:

- O_NONBLOCK belongs to the open file description, which rprun shares with the shell and with whoever else has the
  stream. It is never set there. A pipe or terminal is opened anew, which gives a description of our own; where that is
  impossible, poll(2) is asked before each write of at most PIPE_BUF bytes (4,096 on Linux, 512 elsewhere), which a
  pipe that is ready takes at once (pipe(7)).
- A regular file is always ready, and opening it anew would lose its shared offset: it is written to as it is.
- An inherited description may be non-blocking already; EAGAIN is then just "not now".

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os

from rprun.transport import streams
from rprun.transport.streams import PIPE_BUF

SPLICE_SIZE = 1 << 20
PIPE_SIZE = 1 << 18


class Output:
    """A stream to write to, with at most one chunk waiting.

    Attributes:
        stream: rprun's own stream behind it.
        fd: the descriptor that is written to and polled.
        pending: bytes that the stream has not taken yet; while there are any, nothing more may be put.
        at_line_start: the last byte put here was a newline, or there was none yet.
        private: `fd` is a description of our own.
        whole: writes need no poll(2) before them and may be of any size.
    """

    __slots__ = ("at_line_start", "fd", "pending", "private", "stream", "whole")

    def __init__(self, stream: streams.Stream) -> None:
        self.stream = stream
        self.fd = stream.fd
        self.pending = b""
        self.at_line_start = True
        self.private = False
        if stream.kind in (streams.PIPE, streams.TTY):
            try:
                self.fd = streams.reopen(stream.fd, os.O_WRONLY)
                self.private = True
            except OSError:
                pass
        self.whole = self.private or stream.kind in (streams.FILE, streams.DEVICE)

    def put(self, data: bytes) -> None:
        """Write `data` as far as the stream takes it now and keep the rest in `pending`.

        Raises:
            OSError: the stream is broken (EPIPE), full (ENOSPC) or gone.
        """
        self.at_line_start = data.endswith(b"\n")
        if self.whole:
            try:
                written = os.write(self.fd, data)
            except BlockingIOError:
                written = 0
            if written != len(data):
                self.pending = data[written:]
            return
        self.pending = data
        self.flush()

    def flush(self) -> None:
        """Write what is pending, as far as the stream takes it now.

        Raises:
            OSError: as for `put`.
        """
        while self.pending:
            if not self.whole and not _writable(self.fd):
                return
            try:
                written = os.write(self.fd, self.pending if self.whole else self.pending[:PIPE_BUF])
            except BlockingIOError:
                return
            self.pending = self.pending[written:]

    def close(self) -> None:
        """Close the description of our own, if there is one; the stream itself stays open."""
        if self.private:
            os.close(self.fd)
            self.fd = self.stream.fd
            self.private = False
            self.whole = self.stream.kind in (streams.FILE, streams.DEVICE)


def _writable(descriptor: int) -> bool:
    poller = streams.Poll()
    poller.register(descriptor, streams.WRITABLE)
    return bool(poller.poll(0))


if sys.platform == "linux":
    from fcntl import F_SETPIPE_SZ, fcntl

    # splice(2): bytes move between two descriptors without being read into this process.
    CAN_SPLICE = True

    def enlarge(pipe: int) -> None:
        """Give a pipe room for more than the usual 64 KiB, so that a relay in between costs fewer changes of process.

        A user who has too many large pipes keeps the usual size (pipe(7), pipe-user-pages-soft).
        """
        try:
            fcntl(pipe, F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            pass

    def splice(source: int, destination: int) -> int:
        """Move bytes from a pipe to a pipe or file; return how many, 0 at the end of the source.

        Raises:
            BlockingIOError: the source has nothing yet, or the destination no room.
            OSError: EINVAL for a destination that cannot be spliced to (O_APPEND), EPIPE, ENOSPC.
        """
        return os.splice(source, destination, SPLICE_SIZE, flags=os.SPLICE_F_NONBLOCK)

else:
    CAN_SPLICE = False

    def enlarge(pipe: int) -> None:
        """Do nothing: the size of a pipe is the kernel's own affair here."""

    def splice(source: int, destination: int) -> int:
        """Never called: `CAN_SPLICE` is False."""
        raise NotImplementedError

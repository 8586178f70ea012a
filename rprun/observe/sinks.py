"""A sink writes the events of a run to one destination: in whole lines, and never at the command's expense.

- A write(2) is of whole lines: of many to a file or the null device, of no more than PIPE_BUF bytes to a pipe, which
  takes so much as one piece or not at all, and of one to anything else (a datagram, a record of a device). Where a line
  is taken in part, as a longer one by a pipe, the rest goes before anything else, and the relay keeps away meanwhile
  (`in_line`).
- How a line ends and whether it needs a newline in front is decided when it is written, not when it comes: the command
  may have changed the terminal, or written half a line, since then.
- What cannot be written now waits in a bounded backlog, beyond which events are dropped and counted in `lost` records.
- A destination that fails is reported once and detached; the run goes on.

Not thread-safe: it belongs to the thread of the run.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time

from rprun.observe._destination import Destination, complain
from rprun.observe.backlog import LineBacklog
from rprun.observe.batch import count, flat
from rprun.observe.events import json_lines, made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rprun.observe.batch import Batch
    from rprun.observe.events import ObserverEvent, Parts

BACKLOG_LINES = 1024
BACKLOG_BYTES = 1 << 20
FINISH_SECONDS = 2.0

# Lines in one write to a file: enough to share its cost, few enough for their copies not to matter.
_MANY = 256
# POSIX guarantees 512. Windows has no such pipe.
_PIPE_BUF = getattr(select, "PIPE_BUF", 512)

ADVICE = {
    errno.EPIPE: "its reader has ended",
    errno.ENOSPC: "make room, or send the events elsewhere",
    errno.EIO: "the terminal has gone",
    errno.EFBIG: "the file-size limit is reached",
}


class Sink:
    """Where the events of one run go.

    Attributes:
        at_line_start: whether the last byte that anybody wrote to the same destination ended a line. The relay sets it
            after each write of the command's output that goes there; nobody else needs to.
    """

    def __init__(
        self,
        destination: Destination,
        as_json: bool,
        max_lines: int = BACKLOG_LINES,
        max_bytes: int = BACKLOG_BYTES,
    ) -> None:
        """Takes over a destination; see `open_sink`."""
        self.at_line_start = True
        self._destination = destination
        self._as_json = as_json
        self._backlog = LineBacklog(max_lines, max_bytes, self._encode)
        self._rest = b""  # What is left of a line of which something is written.
        self._attached = True
        mode = os.fstat(destination.fd).st_mode
        self._is_file = stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and _is_null(destination.fd))
        self._is_pipe = stat.S_ISFIFO(mode)

    @property
    def in_line(self) -> bool:
        """Says whether a line is half written: the relay sends nothing to the same destination while it is."""
        return bool(self._rest)

    def fileno(self) -> int:
        """Gives the descriptor to poll for writing while `wants_write`; -1 once finished or detached."""
        return self._destination.fd

    def put(self, event: ObserverEvent) -> None:
        """Writes an event if that can be done now, else keeps it or counts it as lost. Never waits, never raises."""
        self.put_all((event,))

    def put_all(self, events: Sequence[ObserverEvent | Parts | Batch]) -> None:
        """Writes events, in this order, as `put` does each."""
        for start in range(0, len(events), _MANY):
            if not self._attached:
                return
            some = events[start : start + _MANY]
            done = self._write_whole(some) if self._as_json and self._is_file and not self._pending() else 0
            if not self._attached:
                return
            if done == count(some):
                continue
            each = flat(some)
            lines = json_lines(each) if self._as_json else [self._encode(made(event)) for event in each]
            if not self._pending():
                done += self._write_now(lines[done:])
            for number in range(done, len(lines)):
                self._keep(made(each[number]), lines[number])
            if self._pending():
                self.on_writable()

    def wants_write(self) -> bool:
        """Says whether something waits that the destination may take; False while a FIFO has had no reader yet."""
        return self._attached and self._pending() and not self._destination.unread_fifo

    def on_writable(self) -> None:
        """Writes what can be written now. Never waits, never raises."""
        try:
            while self._attached and self._pending() and self._destination.writable:
                self._write_some()
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(error)

    def finish(self, deadline_seconds: float = FINISH_SECONDS) -> None:
        """Writes what waits, for this long at most, says on standard error what was lost, and closes what was opened.

        A second call does nothing.
        """
        deadline = time.monotonic() + deadline_seconds
        self.on_writable()
        while self._attached and self._pending() and (left := deadline - time.monotonic()) > 0:
            self._destination.wait(left)
            self.on_writable()
        if self._attached and self._pending():
            self._report_unwritten()
        self._detach()

    def _pending(self) -> bool:
        return bool(self._rest) or len(self._backlog) > 0

    def _encode(self, event: ObserverEvent) -> bytes:
        line = event.to_json() if self._as_json else event.to_text()
        # A readable line is printable, a JSON one is Unicode: nothing is left to replace but what repr let through.
        return line.encode() if line.isascii() else line.encode("utf-8", "backslashreplace")

    def _keep(self, event: ObserverEvent, line: bytes) -> None:
        """Lets a line wait. Before it would be lost, what waits is tried once more."""
        if not self._backlog.has_room(line):
            self.on_writable()
        if self._attached:
            self._backlog.put(event, line)

    def _write_now(self, lines: list[bytes]) -> int:
        """Writes lines past the empty backlog, and gives the number of those that need no more than `_rest`."""
        done = 0
        try:
            while done < len(lines) and not self._rest and self._destination.writable:
                done += self._write_lines(lines[done:] if done else lines)
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(error)
        return done

    def _write_whole(self, events: Sequence[ObserverEvent | Parts | Batch]) -> int:
        """Writes the JSON of events to a file, past the empty backlog; gives what `_write_now` does."""
        pieces = json_lines(events)
        if not self.at_line_start:
            pieces.insert(0, b"")
        pieces.append(b"")
        data = b"\n".join(pieces)
        try:
            written = self._destination.write(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail(error)
            return 0
        front = not self.at_line_start
        self.at_line_start = self.at_line_start or written > 0
        if written == len(data):
            return count(events)
        return self._cut(data, written, data[front:-1].split(b"\n"), front, 1) if written else 0

    def _write_some(self) -> None:
        """Writes the next lines, or what was left of one.

        Raises:
            OSError: they were not written; BlockingIOError if they may be later.
        """
        if self._rest:
            self._rest = self._rest[self._destination.write(self._rest) :]
        else:
            self._backlog.remove(self._write_lines(self._backlog.first(_MANY)))

    def _write_lines(self, lines: list[bytes]) -> int:
        """Writes as many of these lines as may go at once, and gives the number of those of which something is written.

        Raises:
            OSError: nothing is written; BlockingIOError if it may be later. The ends are decided anew then.
        """
        end = b"\r\n" if self._destination.raw_terminal else b"\n"
        front = b"" if self.at_line_start else end
        if not self._is_file:
            lines = lines[: self._fitting(lines, len(front), len(end))]
        data = front + end.join(lines) + end
        written = self._destination.write(data)
        if not written:
            raise BlockingIOError
        self.at_line_start = True
        return len(lines) if written == len(data) else self._cut(data, written, lines, len(front), len(end))

    def _cut(self, data: bytes, written: int, lines: list[bytes], front: int, end: int) -> int:
        """Keeps the rest of a line that is half written; gives the number of the lines that are written, with that."""
        done, stop = 0, front
        while stop < written:
            stop += len(lines[done]) + end
            done += 1
        self._rest = data[written:stop]
        return done

    def _fitting(self, lines: list[bytes], size: int, end: int) -> int:
        """Gives the number of lines for one write to what is no file; `size` bytes come before them."""
        count = 0
        if self._is_pipe:
            for line in lines:
                size += len(line) + end
                if size > _PIPE_BUF:
                    break
                count += 1
        return max(count, 1)

    def _fail(self, error: OSError) -> None:
        advice = ADVICE.get(error.errno or 0, "send the events elsewhere with --events")
        why = os.strerror(error.errno) if error.errno else str(error)
        self._detach()
        complain(f"rprun: events: cannot write {self._destination.name}: {why} ({advice})")

    def _report_unwritten(self) -> None:
        cut = bool(self._rest)
        unwritten = self._backlog.clear() + cut
        name = self._destination.name
        last = ", and the last line is cut" if cut else ""
        events = "1 event" if unwritten == 1 else f"{unwritten} events"
        complain(f"rprun: events: {events} not written to {name}{last}: nobody reads it (read it, or give a file)")

    def _detach(self) -> None:
        self._attached = False
        self._backlog.clear()
        self._rest = b""
        self._destination.close()


def _is_null(fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(os.devnull))
    except OSError:
        return False


def open_sink(destination: str, as_json: bool) -> Sink:
    """Opens where events go, before the command starts.

    A FIFO that nobody reads is opened without waiting; what is written before its first reader comes is kept like that
    of any slow reader.

    Args:
        destination: `-` (stderr), a file's name, or `fd:N`. From 3 on, N is made close-on-exec: it was handed to rprun,
            and the command does not inherit it.
        as_json: JSON lines, else lines for people.

    Raises:
        RprunError: it cannot be opened or written to.
    """
    return Sink(Destination(destination), as_json)

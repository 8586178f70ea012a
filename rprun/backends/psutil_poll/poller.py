"""Looks at the tree on a thread of its own, so that the command's bytes do not wait for a slow look.

Some facts about it:

- The thread begins when the command exists, and not before: the command is forked, and beside other threads no Python
  code may run after a fork.
- A look is system calls for the most part, during which the thread that relays can run.
- A look can be held up by what it looks at, as by a file system that does not answer. So nobody waits for the thread
  but at the end, and then for a time; it is a daemon, which does not keep this process from ending.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from time import thread_time

from rprun.backends.psutil_poll import pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.psutil_poll.look import Event, Looker

# Events that wait to be taken, beyond which no look adds to them.
_BOUND = 16384
# Seconds that the last look may take of a processor for looking into what is left, and that `close` waits for a look.
_LAST = 0.25
_GRACE = 1.0


class Poller:
    """The thread, what it has seen, and a descriptor that tells of it."""

    def __init__(self, looker: Looker) -> None:
        """Get ready.

        Raises:
            OSError: no descriptors are left.
        """
        self._looker = looker
        self._has_failed = False
        self._turn_over = threading.Event()
        self._is_last = self._is_closed = False
        self._lock = threading.Lock()
        self._is_told = False
        self._thread: threading.Thread | None = None
        # A socket, as that is what can be waited for on every system.
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)  # noqa: FBT003 - the call takes it so
        self._theirs.setblocking(False)  # noqa: FBT003

    def begin(self, pid: int) -> None:
        """Look at the command, and from now on at its tree.

        Raises:
            OSError: EAGAIN: no more threads.
        """
        self._looker.begin(pid)
        self._thread = threading.Thread(target=self._run, name="rprun-psutil-poll", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            raise BlockingIOError(str(error)) from error

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are events that nobody has been told of."""
        return self._ours.fileno()

    def take(self, limit: int) -> tuple[list[Event], bool]:
        """Return the oldest events, so many at most, and whether there are more."""
        with self._lock:
            if self._is_told:
                self._is_told = False
                self._ours.recv(1)
        events = self._looker.events
        taken = [events.popleft() for _ in range(min(limit, len(events)))]
        return taken, bool(events)

    def finish(self, seconds: float) -> bool:
        """Have it look for the last time; return whether that has come to its end by then."""
        thread = self._thread
        if thread is None:
            return True
        self._is_last = True
        self._turn_over.set()
        thread.join(seconds)
        self._is_closed = thread.is_alive()
        return not self._is_closed

    def close(self) -> None:
        """End the thread, and close the descriptors. A second call does nothing."""
        has_been_waited_for, self._is_last, self._is_closed = self._is_closed, True, True
        self._turn_over.set()
        if self._thread is not None and not has_been_waited_for:
            self._thread.join(_GRACE)
        self._thread = None
        with self._lock:
            self._ours.close()
            self._theirs.close()

    # -- on the thread

    def _run(self) -> None:
        if sys.platform != "win32":
            # They are for the thread that can handle them.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while not self._is_closed:
                is_last, before = self._is_last, thread_time()
                self._turn_over.clear()
                count = self._look(is_last=is_last)
                if is_last:
                    return
                if not self._is_last:
                    self._turn_over.wait(pace.pause(thread_time() - before, count, is_new=count > 0))
        except Exception as error:  # noqa: BLE001 - it is said in a record, whatever it is
            self._looker.say_of_all(f"looking at processes failed, and has ended: {error} ({type(error).__name__})")
            self._tell()

    def _look(self, *, is_last: bool) -> int:
        """Look once; return how many events came of it."""
        before = len(self._looker.events)
        if before > _BOUND and not is_last:
            return 0
        try:
            self._looker.look(_LAST if is_last else None)
        except OSError as error:
            # For want of descriptors, perhaps: the next look may do better.
            if not self._has_failed:
                self._has_failed = True
                self._looker.say_of_all(f"looking at processes failed: {error.strerror} (see ulimit -n)")
        count = len(self._looker.events) - before
        if self._looker.events:
            self._tell()
        return max(0, count)

    def _tell(self) -> None:
        with self._lock:
            if not self._is_told and not self._is_closed:
                self._is_told = True
                self._theirs.send(b"!")

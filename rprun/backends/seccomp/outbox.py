"""What the supervisor sends to rprun, which need not read: messages that carry a descriptor, in their order.

Some facts that give it its shape:

- The socket has room for some 270 of them (SO_SNDBUF's default, of which each takes what an empty packet takes), and no
  user may have more descriptors under way than it may have open: then sendmsg(2) fails with ETOOMANYREFS (unix(7)).
- The supervisor waits in the kernel for the next call, and there may be no next one. So what found no room is sent by a
  thread, which is there only as long as there is something to be sent, and waits for room in the kernel too.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import select
import threading
from collections import deque
from errno import EAGAIN, ETOOMANYREFS
from time import sleep

from rprun.linux import seqpacket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.seccomp.ring import Ring

# Nothing tells that fewer descriptors are under way: seconds until it is tried again.
_AGAIN = 0.01


class Outbox:
    """The way to rprun; for any thread.

    Attributes:
        is_busy: a thread sends what is kept.
    """

    def __init__(self, ring: Ring, control: seqpacket.Socket) -> None:
        """Owe rprun nothing.

        Args:
            ring: where rprun sees how many messages wait here.
            control: non-blocking, to rprun.
        """
        self._ring = ring
        self._control = control
        self._kept: deque[tuple[bytes, int]] = deque()
        self._lock = threading.Lock()
        self.is_busy = False
        ring.owe(0)

    def send(self, message: bytes, descriptor: int) -> bool:
        """Send it, or keep it with a duplicate of the descriptor; False where rprun will never get it.

        That is so if rprun is gone, or no descriptor is left here (see ulimit -n).
        """
        with self._lock:
            if not self._kept:
                try:
                    self._send(message, descriptor)
                except OSError as error:
                    if error.errno not in (EAGAIN, ETOOMANYREFS):
                        return False
                else:
                    return True
            try:
                self._kept.append((message, os.dup(descriptor)))
            except OSError:
                return False
            self._ring.owe(len(self._kept))
            if not self.is_busy:
                self._worker = threading.Thread(target=self._work, daemon=True)
                try:
                    self._worker.start()
                    self.is_busy = True
                except RuntimeError:
                    # No more processes: see ulimit -u. It is tried again with the next message, or at the end.
                    pass
        return True

    def empty(self) -> None:
        """Wait until rprun has been sent all, or is gone."""
        with self._lock:
            is_alone = not self.is_busy
            self.is_busy = bool(self._kept)
        if not is_alone:
            self._worker.join()
        elif self.is_busy:
            self._work()

    def _work(self) -> None:
        poller = select.poll()
        poller.register(self._control, select.POLLOUT)
        while True:
            poller.poll()
            with self._lock:
                refused = self._send_first()
                self.is_busy = bool(self._kept)
                if not self.is_busy:
                    return
            if refused:
                sleep(_AGAIN)

    def _send_first(self) -> bool:
        """Send the first of what is kept; True if it has to wait although there is room."""
        try:
            self._send(*self._kept[0])
        except OSError as error:
            if error.errno in (EAGAIN, ETOOMANYREFS):
                return error.errno == ETOOMANYREFS
            # rprun is gone.
            while len(self._kept) > 1:
                os.close(self._kept.pop()[1])
        os.close(self._kept.popleft()[1])
        self._ring.owe(len(self._kept))
        return False

    def _send(self, message: bytes, descriptor: int) -> None:
        seqpacket.send(self._control, message, descriptor)

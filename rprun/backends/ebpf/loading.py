"""What the kernel takes a while for, and this process need not wait: memory for maps, and programs to be verified."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import threading
import time
from _signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, valid_signals
from errno import EAGAIN

from rprun.backends.ebpf.maps import RING_SIZE, Maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# Seconds that a thread may take from its last step in Python to its end. Only a tracer can hold it up for longer.
_PATIENCE = 1.0


class Loading:
    """Programs that another thread loads.

    Raises:
        OSError: EAGAIN: no more threads.
    """

    def __init__(self, load: Callable[[], list[int]]) -> None:
        self._load = load
        self._links: list[int] = []
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="rprun-loading")
        # No signal of this process is that thread's.
        before = pthread_sigmask(SIG_BLOCK, valid_signals())
        try:
            self._thread.start()
        except RuntimeError as error:
            raise OSError(EAGAIN, os.strerror(EAGAIN)) from error
        finally:
            pthread_sigmask(SIG_SETMASK, before)

    def _run(self) -> None:
        try:
            self._links = self._load()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._failure = error

    def links(self) -> list[int]:
        """Wait for them; the caller closes them.

        Raises:
            Exception: what kept them from being loaded.
        """
        self._join()
        if self._failure is not None:
            raise self._failure
        links, self._links = self._links, []
        return links

    def close(self) -> None:
        """Close them if nobody has taken them."""
        self._join()
        for link in self._links:
            os.close(link)
        self._links = []

    def _join(self) -> None:
        """Wait until the kernel has no such thread any more: until then a fork would be one beside a thread."""
        self._thread.join()
        here, until = f"/proc/self/task/{self._thread.native_id}", time.monotonic() + _PATIENCE
        while os.path.exists(here) and time.monotonic() < until:
            os.sched_yield()


class MakingMaps:
    """Maps that another thread makes.

    Raises:
        OSError: EAGAIN: no more threads.
    """

    def __init__(self, ring_size: int = RING_SIZE) -> None:
        self._ring_size = ring_size
        self._made: list[Maps] = []
        self._making = Loading(self._make)

    def _make(self) -> list[int]:
        self._made.append(Maps(self._ring_size))
        return []

    def maps(self) -> Maps:
        """Wait for them; `close` closes them.

        Raises:
            OSError: as `Maps`.
        """
        self._making.links()
        return self._made[0]

    def close(self) -> None:
        """Let go of them. A second call does nothing."""
        self._making.close()
        for maps in self._made:
            maps.close()

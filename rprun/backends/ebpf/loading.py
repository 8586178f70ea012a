"""What the kernel takes a while for, and this process need not wait: memory for maps, and programs to be verified."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import threading
import time
from _queue import SimpleQueue
from _signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, valid_signals
from errno import EAGAIN

from rprun.backends.ebpf.maps import RING_SIZE, Maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# That is all that two processors can do at once, and most of what this takes.
_THREADS = 2
# Seconds that a thread waits for the interpreter before it asks for it. The usual 5 ms are what a program takes.
_SWITCH = 0.0001
# Seconds that a thread may take from its last step in Python to its end. Only a tracer can hold it up for longer.
_PATIENCE = 1.0


class _Work:
    """Something that another thread does.

    Raises:
        OSError: EAGAIN: no more threads.
    """

    def __init__(self, do: Callable[[], None]) -> None:
        self._do = do
        self._failure: Exception | None = None
        self._doing = threading.Lock()
        self._doing.acquire()
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
            self._do()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._failure = error
        finally:
            self._doing.release()

    def result(self) -> None:
        """Wait until it is done; for the thread to end takes as long again as some of what is done here.

        Raises:
            Exception: what kept it from being done.
        """
        with self._doing:
            pass
        if self._failure is not None:
            raise self._failure

    def join(self) -> None:
        """Wait until the kernel has no such thread any more: until then a fork would be one beside a thread."""
        self._thread.join()
        here, until = f"/proc/self/task/{self._thread.native_id}", time.monotonic() + _PATIENCE
        while os.path.exists(here) and time.monotonic() < until:
            os.sched_yield()


class _Switching:
    """While this holds, a thread that waits for the interpreter is let in as soon as there is something to do.

    Where the kernel takes a while for each of many things, who asks it would else wait for the other thread each time.
    """

    def __init__(self, *, holds: bool) -> None:
        self._before = sys.getswitchinterval() if holds else 0.0
        if holds:
            sys.setswitchinterval(_SWITCH)

    def end(self) -> None:
        """Have it as it was. A second call does nothing."""
        before, self._before = self._before, 0.0
        if before:
            sys.setswitchinterval(before)


class Loading:
    """Programs that other threads load, each the next one as soon as it can."""

    def __init__(self, *, beside: bool = False) -> None:
        """Begin.

        Args:
            beside: the calling thread has other things to do meanwhile, and this process has no threads but these: they
                are let in as soon as there is something for the kernel to do.

        Raises:
            OSError: EAGAIN: no more threads.
        """
        self._jobs: SimpleQueue[tuple[int, Callable[[], int | None]] | None] = SimpleQueue()
        self._links: dict[int, int] = {}
        self._added = 0
        self._is_whole = False
        self._threads: list[_Work] = []
        self._switching = _Switching(holds=beside)
        try:
            for _ in range(_THREADS):
                self._threads.append(_Work(self._load))
        except OSError:
            self.close()
            raise

    def add(self, load: Callable[[], int | None]) -> None:
        """Have one more loaded, by what returns its link if it has one."""
        self._jobs.put((self._added, load))
        self._added += 1

    def add_no_more(self) -> None:
        """There is none to come. A second call does nothing."""
        if not self._is_whole:
            self._is_whole = True
            for _ in self._threads:
                self._jobs.put(None)

    def links(self) -> list[int]:
        """Wait for all of them; return their links in the order in which they were added. The caller closes these.

        Raises:
            Exception: what kept one from being loaded.
        """
        for thread in self._threads:
            thread.result()
        self._switching.end()
        links, self._links = self._links, {}
        return [links[number] for number in sorted(links)]

    def join(self) -> None:
        """Wait until the threads have ended."""
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Close them if nobody has taken them. A second call does nothing."""
        self.add_no_more()
        self.join()
        self._switching.end()
        for link in self._links.values():
            os.close(link)
        self._links = {}

    def _load(self) -> None:
        while (job := self._jobs.get()) is not None:
            number, load = job
            link = load()
            if link is not None:
                self._links[number] = link


class MakingMaps:
    """Maps that another thread makes."""

    def __init__(self, ring_size: int = RING_SIZE, *, beside: bool = False) -> None:
        """Begin.

        Args:
            ring_size: as for `Maps`.
            beside: as for `Loading`.

        Raises:
            OSError: EAGAIN: no more threads.
        """
        self._ring_size = ring_size
        self._made: list[Maps] = []
        self._switching = _Switching(holds=beside)
        try:
            self._making = _Work(self._make)
        except OSError:
            self._switching.end()
            raise

    def _make(self) -> None:
        self._made.append(Maps(self._ring_size))

    def maps(self) -> Maps:
        """Wait for them; `close` closes them.

        Raises:
            OSError: as `Maps`.
        """
        try:
            self._making.result()
        finally:
            self._switching.end()
        return self._made[0]

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._making.join()

    def close(self) -> None:
        """Let go of them. A second call does nothing."""
        self.join()
        self._switching.end()
        for maps in self._made:
            maps.close()

"""The command and its descendants: those who are in its job, or, where there can be none, below it in the process tree.

What cannot be in it: a process that was started outside of the job on purpose, by one that may do so (a service, the
task scheduler, CREATE_BREAKAWAY_FROM_JOB), and, in a pseudo console, one that the command would have to start within
the moment between its own start and its entry into the job.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

from time import sleep

from rprun.windows.process import Job, ProcessHandle

if TYPE_CHECKING:
    from collections.abc import Iterator

# Exit code of what rprun ends, as of what taskkill(1) ends: Windows has no other way to say it.
ENDED = 1
# Seconds between two looks at a process that may be seen, but not waited for (another user's).
_LOOK_AGAIN = 0.2


class Tree:
    """A command's processes.

    Attributes:
        job: what they are in, None where this system refuses one.
    """

    def __init__(self) -> None:
        self._command = 0
        self.job: Job | None
        try:
            self.job = Job()
        except OSError:
            self.job = None

    def grow_from(self, process: ProcessHandle, *, joined: bool) -> None:
        """Say which the command is, and whether it has been put into the job already."""
        self._command = process.pid
        if self.job is not None and not joined and not process.join(self.job):
            self.job.close()
            self.job = None

    def living(self) -> list[int]:
        """Return the numbers of those who have not ended, the command's among them."""
        if self.job is not None:
            return self.job.pids()
        import psutil

        try:
            command = psutil.Process(self._command)
            return [process.pid for process in (command, *command.children(recursive=True))]
        except psutil.Error:
            return []

    def _open(self) -> Iterator[ProcessHandle]:
        """Yield a handle of each, as far as they may be opened; each is closed again afterwards."""
        for pid in self.living():
            try:
                handle = ProcessHandle(pid)
            except OSError:
                continue
            try:
                if self.job is None or handle.is_in(self.job):
                    yield handle
            finally:
                handle.close()

    def end(self) -> None:
        """End every one of them at once."""
        for handle in self._open():
            handle.terminate(ENDED)

    def wait(self) -> None:
        """Wait until none is left; for a thread of its own."""
        while self.living():
            waited = False
            for handle in self._open():
                handle.wait()
                waited = True
            if not waited:
                sleep(_LOOK_AGAIN)

    def describe(self) -> list[tuple[int, str]]:
        """Return number and name of each."""
        return [(handle.pid, handle.name()) for handle in self._open()]

    def close(self, *, spare: bool) -> None:
        """Let go of them: either they live on, or they end."""
        if self.job is not None:
            if spare:
                self.job.spare()
            self.job.close()

"""rprun's hold on the monitor: two pipes, a line for each order and each report.

Reports: `pid N` (the command runs), `fail STEP ERRNO` (it could not be started), `stop SIGNAL`, `cont`,
`exit STATUS` (as wait(2) gives it), `empty` (no descendant is left), `scattered` (orphans go elsewhere, against what
was asked for), `state SIGNAL` (the answer to `state`).
Orders: `forward SIGNAL`, `stop-and-continue`, `signal SIGNAL`, `foreground-signal SIGNAL`,
`resume foreground|background`, `state`, `bye`.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os

from rprun.transport import streams
from rprun.transport.monitor import block_all_signals, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rprun.transport.command import Launch


class Monitor:
    """The monitor process and the pipes to it. Its owner reads `fileno()` when it is readable.

    Attributes:
        pid: the monitor's own pid, 0 once it has been reaped.
    """

    def __init__(self, pid: int, control: int, reports: int) -> None:
        self.pid = pid
        os.set_blocking(reports, False)
        self._control = control
        self._reports = reports
        self._received = b""

    @classmethod
    def fork(cls, launch: Launch) -> Monitor:
        """Start the monitor as a fork of this process: fast, and right only while that has one thread.

        Raises:
            OSError: no more processes or descriptors.
        """
        (control_read, control_write), (reports_read, reports_write) = pipes = _open_pipes(2)
        before = block_all_signals()
        try:
            pid = os.fork()
            if pid == 0:
                os.close(control_write)
                os.close(reports_read)
                serve(launch, control_read, reports_write)
        except OSError:
            _close_pipes(pipes)
            raise
        finally:
            _restore_mask(before)
        os.close(control_read)
        os.close(reports_write)
        return cls(pid, control_write, reports_read)

    @classmethod
    def execute(cls, launch: Launch) -> Monitor:
        """Start the monitor as a fresh interpreter: safe in a program that has threads.

        Raises:
            OSError: no more processes or descriptors.
        """
        from rprun.transport.remote import send, start

        pipes = _open_pipes(3)
        (control_read, control_write), (reports_read, reports_write), (launch_read, launch_write) = pipes
        try:
            pid = start(launch, control_read, reports_write, launch_read)
        except BaseException:
            _close_pipes(pipes)
            raise
        for descriptor in (control_read, reports_write, launch_read):
            os.close(descriptor)
        send(launch, launch_write)
        return cls(pid, control_write, reports_read)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a report waits."""
        return self._reports

    def read(self, *, wait: bool) -> Iterator[tuple[str, list[str]]]:
        """Yield the reports that there are as (verb, arguments).

        A monitor that is gone without a word (killed) yields `("lost", [])`.

        Args:
            wait: for at least one, if there is none.
        """
        if wait:
            poller = streams.Poll()
            poller.register(self._reports, streams.READABLE)
            poller.poll()
        try:
            data = os.read(self._reports, 4096)
        except BlockingIOError:
            # Read already, by an order that waited for its answer in the same turn of the loop.
            return
        if not data:
            yield "lost", []
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            verb, *arguments = line.decode("ascii").split()
            yield verb, arguments

    def order(self, line: str) -> None:
        """Send an order; a monitor that is gone does not hear it, which `read` will tell."""
        if self._control >= 0:
            try:
                os.write(self._control, line.encode("ascii") + b"\n")
            except BrokenPipeError:
                pass

    def close(self) -> None:
        """Let the monitor go and reap it. Without a `bye` before, that kills the command."""
        if self._control >= 0:
            os.close(self._control)
            os.close(self._reports)
            self._control = self._reports = -1
        if self.pid:
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                # Reaped by somebody else's waitpid(-1), or SIGCHLD is ignored in this program.
                pass
            self.pid = 0


def _open_pipes(count: int) -> list[tuple[int, int]]:
    pipes: list[tuple[int, int]] = []
    try:
        while len(pipes) < count:
            pipes.append(os.pipe())
    except OSError:
        _close_pipes(pipes)
        raise
    return pipes


def _close_pipes(pipes: list[tuple[int, int]]) -> None:
    for read, write in pipes:
        os.close(read)
        os.close(write)


def _restore_mask(mask: set[int]) -> None:
    from _signal import SIG_SETMASK, pthread_sigmask

    pthread_sigmask(SIG_SETMASK, mask)

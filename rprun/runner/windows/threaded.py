"""A thread that runs a `Process` on Windows, and the way in for every other thread.

The thread is not a daemon, so that a program that ends without waiting still gets its output.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import os
import threading
from _signal import SIGBREAK, SIGINT, SIGTERM

from rprun.errors import UsageError
from rprun.transport.windows.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.windows.execution import Execution
    from rprun.runner.windows.run import Run


class RelayThread:
    """Runs a process's loop in a thread.

    Attributes:
        ended: set once the run is over and everything has been let go of.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.ended = threading.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._start_failure: BaseException | None = None
        self._input = threading.Lock()
        self._stdin_ends = False
        self._keys = Keys()
        self._thread = threading.Thread(target=self._relay, name="rprun-relay", daemon=False)

    def start(self) -> None:
        """Start the command; return when it runs.

        Raises:
            Exception: whatever kept it from being started.
        """
        self._thread.start()
        self._started.wait()
        if self._start_failure is not None:
            self._thread.join()
            raise self._start_failure

    def _relay(self) -> None:
        try:
            self._run.begin()
            self._started.set()
            self._run.relay()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._failure = error
            if not self._started.is_set():
                self._start_failure = error
        finally:
            self._run.let_go()
            self.ended.set()
            self._started.set()

    def post(self, order: Callable[[], object]) -> bool:
        """Have the loop's thread carry out `order`; False when the run is over."""
        return self._run.loop.post(order)

    def wait(self, timeout: float | None) -> int:
        """Wait for the end of the run; return the return code.

        Raises:
            TimeoutError: it goes on.
            Exception: what went wrong on our side.
        """
        if threading.current_thread() is self._thread:
            raise UsageError("cannot wait for a process in its own output function")
        if not self.ended.wait(timeout):
            raise TimeoutError(f"{os.fsdecode(self._run.launch.argv[0])} still runs after {timeout} seconds")
        self._thread.join()
        self.raise_failure()
        if self._run.failure is not None:
            raise self._run.failure
        code = self._run.returncode
        if code is None:
            raise RuntimeError("the run ended without a return code")
        return code

    def raise_failure(self) -> None:
        """Raise what has kept the run from going on, if anything has.

        Raises:
            Exception: that.
        """
        if self._failure is not None:
            raise self._failure

    def write(self, data: bytes) -> None:
        """Give the command input, and wait until its end has taken it.

        Raises:
            BrokenPipeError: nobody reads any more.
            UsageError: the command's stdin is this process's own.
        """
        with self._input:
            execution = self._open_input()
            if execution.terminal is not None:
                execution.terminal.write(self._keys.feed(data))
                return
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[os.write(execution.stdin_pipe, rest) :]
            except OSError as error:
                self._stdin_ends = True
                raise BrokenPipeError("the command does not read any more") from error

    def close_stdin(self) -> None:
        """End the command's input: close the pipe, or type ^Z and Enter."""
        with self._input:
            if self._stdin_ends or self.ended.is_set():
                return
            execution = self._open_input()
            self._stdin_ends = True
            if execution.terminal is None:
                execution.close_stdin()
                return
            try:
                execution.terminal.write(self._keys.end())
            except BrokenPipeError:
                pass

    def _open_input(self) -> Execution:
        execution = self._run.execution
        if self.ended.is_set() or self._stdin_ends or execution is None:
            raise BrokenPipeError("the command's input is closed")
        if not self._run.takes_input:
            raise UsageError("cannot write: the command's stdin is this process's own (use stdin=\"write\")")
        return execution

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the console; what is written after that finds it set."""
        if self._run.execution is not None:
            self._run.execution.resize(columns, rows)

    def send_signal(self, number: int) -> None:
        """Send what stands for a signal here: ^C for SIGINT, ^Break for SIGBREAK and SIGTERM.

        Raises:
            UsageError: nothing does, or there is no way to send it to this command alone.
        """
        execution = self._run.execution
        if execution is None:
            return
        if number not in (SIGINT, SIGBREAK, SIGTERM):
            raise UsageError("Windows knows no such signal (use kill, or SIGINT, SIGBREAK or SIGTERM)")
        if not execution.can_be_asked:
            raise UsageError(
                "cannot send ^C or ^Break to a command that shares this process's console and group "
                '(use transport="pty" or stdin="write", or kill)'
            )
        self.post(execution.interrupt if number == SIGINT else execution.ask)

    def kill(self) -> None:
        """End the command at once."""
        if self._run.execution is not None:
            self.post(self._run.execution.kill)

    def terminate(self) -> None:
        """Begin to end the tree."""
        self.post(self._run.end_tree)

    def close(self) -> None:
        """Kill the command if it runs; return when everything has been let go of."""
        if not self.ended.is_set():
            self.kill()
            self.post(self._run.stop_waiting)
        if threading.current_thread() is not self._thread:
            self._thread.join()

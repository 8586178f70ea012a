"""A thread that relays for a `Process`, and the way in for every other thread.

Orders from outside are put into a queue and the loop is woken by a byte in a pipe: the loop's objects are touched by
one thread only. The thread is not a daemon, so that a program that ends without waiting still gets its output.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import threading
from _signal import SIGKILL
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from rprun.errors import UsageError
from rprun.runner.loop import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.run import Run


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
        self._orders: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._relay, name="rprun-relay", daemon=False)
        self._writes: deque[_Write] = deque()
        self._stdin_ends = False

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
        run = self._run
        try:
            os.set_blocking(self._wake_read, False)
            run.loop.watch(self._wake_read, READ, self._on_wake)
            run.begin()
            self._started.set()
            run.relay()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._failure = error
            if not self._started.is_set():
                self._start_failure = error
        finally:
            run.let_go()
            with self._lock:
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_write = -1
            # Whoever slipped in last is not to wait for a loop that does not turn any more.
            while self._orders:
                with suppress(OSError, ValueError):
                    self._orders.popleft()()
            self._fail_writes()
            self.ended.set()
            self._started.set()

    def _on_wake(self, _event: int) -> None:
        with suppress(OSError):
            os.read(self._wake_read, 4096)
        while self._orders:
            self._orders.popleft()()

    def post(self, order: Callable[[], None]) -> bool:
        """Have the loop's thread carry out `order`; False when the run is over."""
        with self._lock:
            if self._wake_write < 0:
                return False
            self._orders.append(order)
            os.write(self._wake_write, b"!")
            return True

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
        """Queue input and wait until the command's end has taken it.

        Raises:
            BrokenPipeError: nobody reads any more.
            UsageError: the command's stdin is this process's own.
        """
        if self.ended.is_set() or self._stdin_ends:
            raise BrokenPipeError("the command's input is closed")
        if not self._run.takes_input:
            raise UsageError("cannot write: the command's stdin is this process's own (use stdin=\"write\")")
        order = _Write(bytes(data))
        if not self.post(lambda: self._queue(order)):
            raise BrokenPipeError("the command has ended")
        if threading.current_thread() is self._thread:
            # From within the output function: waiting here would be waiting for oneself.
            return
        order.done.wait()
        if order.failed:
            raise BrokenPipeError("the command does not read any more")

    def _input(self) -> int:
        """Return the descriptor that input is polled and written on."""
        execution = self._run.execution
        if execution is None:
            return -1
        if execution.ends.stdin_pipe >= 0:
            return execution.ends.stdin_pipe
        return execution.ends.pty.write_end() if execution.ends.pty is not None else -1

    def _queue(self, order: _Write) -> None:
        self._writes.append(order)
        self._on_room(0)

    def _on_room(self, _event: int) -> None:
        """Write what the command's end takes now."""
        descriptor = self._input()
        loop = self._run.loop
        while self._writes:
            order = self._writes[0]
            try:
                if descriptor < 0:
                    raise BrokenPipeError
                order.data = order.data[os.write(descriptor, order.data) :]
            except BlockingIOError:
                loop.watch(descriptor, WRITE, self._on_room)
                return
            except OSError:
                self._fail_writes()
                self._drop_input()
                return
            if not order.data:
                self._writes.popleft()
                order.done.set()
        if descriptor >= 0:
            loop.forget(descriptor)

    def _fail_writes(self) -> None:
        """Let go of everybody who waits for their bytes to be taken: nobody will."""
        while self._writes:
            order = self._writes.popleft()
            order.failed = True
            order.done.set()

    def _drop_input(self) -> None:
        execution = self._run.execution
        self._stdin_ends = True
        if execution is not None:
            execution.ends.close_stdin()

    def close_stdin(self) -> None:
        """End the command's input."""
        execution = self._run.execution
        if execution is not None and execution.ends.stdin_pipe < 0 and execution.ends.pty is not None:
            self.write(execution.ends.pty.end_of_file())
        else:
            self.post(self._drop_input)

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the PTYs."""
        execution = self._run.execution
        if execution is not None:
            for pty in execution.ends.ptys:
                self.post(partial(pty.resize, columns, rows))

    def send_signal(self, number: int) -> None:
        """Send a signal to the command."""
        execution = self._run.execution
        if execution is not None:
            self.post(lambda: execution.order(f"signal {int(number)}"))

    def kill(self) -> None:
        """Send SIGKILL to the command."""
        self.send_signal(SIGKILL)

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


class _Write:
    """Bytes on their way to the command, and the caller that waits for them to be taken."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.done = threading.Event()
        self.failed = False

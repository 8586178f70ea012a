"""`Process`: a command as an object, and the public face of one run. The command line is one user of it.

`start` returns at once and a thread of the process's own relays, so that a caller that never waits still gets its
output and its events. `run_here` does the same work in the calling thread; the command line uses it.

This module is on the start-up path.
"""

from __future__ import annotations

import os
import sys
from _signal import SIGINT, SIGTERM, valid_signals

from rprun.errors import UsageError

TYPE_CHECKING = False
if sys.platform == "win32":
    from rprun.runner.windows.run import Run
    from rprun.transport.windows.launch import Launch

    if TYPE_CHECKING:
        from rprun.runner.windows.signals import Signals
        from rprun.runner.windows.threaded import RelayThread
        from rprun.transport.windows.streams import Rows
else:
    from rprun.runner.run import Run
    from rprun.transport.command import Launch

    if TYPE_CHECKING:
        from rprun.runner.run import Rows
        from rprun.runner.signals import Signals
        from rprun.runner.threaded import RelayThread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

    from rprun.observe.config import ObserverConfig
    from rprun.observe.subscriber import ObserverSubscriber


class _Capture:
    """The type of `CAPTURE`."""

    def __repr__(self) -> str:
        return "rprun.CAPTURE"


CAPTURE = _Capture()
"""As `output`: keep what the command writes in `Process.stdout` and `Process.stderr`."""


class Process:
    """A command that runs in a terminal or on pipes.

    Attributes:
        argv: the command and its arguments, as bytes.
    """

    def __init__(
        self,
        argv: Sequence[str | bytes | os.PathLike[str]],
        *,
        transport: str = "auto",
        split_stderr: bool = False,
        cwd: str | bytes | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        size: tuple[int, int] | None = None,
        stdin: str | None = None,
        output: Callable[[str, bytes], None] | _Capture | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        stop_signal: int = SIGTERM,
        kill_after: float = 5.0,
        orphans: str = "leave",
        drain: float = 1.0,
    ) -> None:
        """Describe the run; `start` starts it.

        Args:
            argv: the command and its arguments; found as execvp(3) finds it.
            transport: `auto` (each stream as this process's own is: a terminal becomes a PTY end, any other passes
                through; pipes when `output` is given), `pty` or `pipe`.
            split_stderr: with a PTY, a second one for stderr.
            cwd: the command's working directory.
            env: its whole environment; None for this process's.
            size: columns and rows of the PTY; None for the terminal's, or 80x24.
            stdin: `inherit` for this process's own stdin, `write` for what `write` is given; None for `inherit` when
                `output` is None, else `write`.
            output: None relays to this process's stdout and stderr; a callable gets (`"stdout"` or `"stderr"`, data)
                in the relaying thread; `CAPTURE` keeps the bytes.
            timeout: seconds after which the whole tree is ended, more than 0; None or infinite for no limit.
            idle_timeout: seconds without output or input after which it is ended; the same.
            stop_signal: number of the first signal of `terminate` and of the limits.
            kill_after: seconds from that signal to SIGKILL.
            orphans: `leave`, `report`, `wait` for or `kill` descendants that outlive the command.
            drain: seconds to go on reading after the command's end while a descendant holds its terminal or pipes.

        Raises:
            UsageError: an argument makes no sense.
        """
        if isinstance(argv, (str, bytes)) or not argv:
            raise UsageError("argv must be a list of at least the command: no shell splits a string here")
        _one_of("transport", transport, ("auto", "pty", "pipe"))
        _one_of("orphans", orphans, ("leave", "report", "wait", "kill"))
        _one_of("stdin", stdin, (None, "inherit", "write"))
        _check_signal("stop_signal", stop_signal)
        if size is not None:
            _check_size(size)
        if not (output is None or output is CAPTURE or callable(output)):
            raise UsageError(f"output must be None, CAPTURE or a function, not {output!r}")
        self.argv = [os.fsencode(word) for word in argv]
        self._captured: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._output = output
        self._launch = Launch(
            self.argv,
            cwd=None if cwd is None else os.fsencode(cwd),
            env=None if env is None else {os.fsencode(name): os.fsencode(value) for name, value in env.items()},
        )
        self._run = Run(
            self._launch,
            transport=transport,
            split_stderr=split_stderr,
            size=size,
            deliver=None if output is None else self._deliver,
            writes=stdin == "write" or (stdin is None and output is not None),
            timeout=_limit("timeout", timeout),
            idle_timeout=_limit("idle_timeout", idle_timeout),
            stop_signal=stop_signal,
            kill_after=_seconds("kill_after", kill_after),
            orphans=orphans,
            drain=_seconds("drain", drain),
        )
        self._relay: RelayThread | None = None

    @classmethod
    def with_observer(
        cls, argv: Sequence[str | bytes | os.PathLike[str]], config: ObserverConfig, **kw: Any
    ) -> tuple[Process, ObserverSubscriber]:
        """Return a process, not yet started, and the subscriber that will get its events.

        Raises:
            UsageError: an argument makes no sense.
        """
        from rprun.observe.emitter import Emitter

        process = cls(argv, **kw)
        emitter = Emitter(config)
        process._run.observe(emitter)
        return process, emitter.subscribe()

    def change_environment(self, *, set_to: Sequence[tuple[str, str]], unset: Sequence[str]) -> None:
        """Change single variables of the environment the command will get, `unset` before `set_to`."""
        self._launch.env_set = [(os.fsencode(name), os.fsencode(value)) for name, value in set_to]
        self._launch.env_unset = [os.fsencode(name) for name in unset]

    # -- running it

    def start(self) -> Self:
        """Start the command, with a thread to relay for it.

        Raises:
            NotFound, NotExecutable, RprunError: it could not be started.
            UsageError: it has been started before.
        """
        if sys.platform == "win32":
            from rprun.runner.windows.threaded import RelayThread
        else:
            from rprun.runner.threaded import RelayThread

        if self._relay is not None:
            raise UsageError("a process can be started once (make a new one)")
        self._relay = RelayThread(self._run)
        self._relay.start()
        return self

    def run_here(
        self,
        *,
        rows: Rows | None = None,
        signals: Signals | None = None,
        to_close: Sequence[int] = (),
    ) -> int:
        """Start the command and relay in the calling thread until it has ended; return `returncode`.

        Args:
            rows: this process's standard streams, if they have been looked at already.
            signals: given where the calling process exists for this run alone and has one thread, so that it may
                be forked and its signals are the command's.
            to_close: descriptors that only the command is to have once it has been started.

        Raises:
            NotFound, NotExecutable, RprunError: it could not be started.
        """
        try:
            self._run.begin(rows, signals)
            return self._run.relay(to_close=to_close)
        finally:
            self._run.let_go()

    def _deliver(self, name: str, data: bytes) -> None:
        if callable(self._output):
            self._output(name, data)
        else:
            self._captured[name].append(data)

    # -- from any thread, while a thread relays

    @property
    def run(self) -> Run:
        """The run behind this process, for those who drive its loop themselves."""
        return self._run

    @property
    def pid(self) -> int | None:
        """The command's process id, None before it has been started."""
        execution = self._run.execution
        return execution.pid or None if execution is not None else None

    @property
    def returncode(self) -> int | None:
        """None while it runs; then its exit status, or the negative number of the signal it died of."""
        return self._run.returncode

    @property
    def limit(self) -> str:
        """`timeout` or `idle-timeout` when that limit ended it, else empty."""
        return self._run.limit

    @property
    def drained(self) -> bool:
        """False when a descendant still held the command's terminal or pipes and reading was cut short."""
        return self._run.drained

    @property
    def orphans(self) -> list[tuple[int, str]]:
        """(pid, name) of the descendants that were alive at the end, where `orphans="report"`."""
        return self._run.orphans

    @property
    def failure(self) -> Exception | None:
        """What went wrong on rprun's side although the command ran, such as a full disk behind stdout."""
        return self._run.failure

    @property
    def stdout(self) -> bytes:
        """What it wrote, where `output=CAPTURE`; a PTY's output is all here."""
        return b"".join(self._captured["stdout"])

    @property
    def stderr(self) -> bytes:
        """What it wrote to stderr, where `output=CAPTURE`."""
        return b"".join(self._captured["stderr"])

    def poll(self) -> int | None:
        """Return `returncode` if the run has ended, else None.

        Raises:
            Exception: what kept the run from going on, such as an exception of the output function.
        """
        if self._relay is None or not self._relay.ended.is_set():
            return None
        self._relay.raise_failure()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the run, all output delivered; return `returncode`.

        Raises:
            TimeoutError: `timeout` seconds have passed; the command goes on.
            UsageError: it has not been started.
        """
        if self._relay is None:
            raise UsageError("cannot wait for a process that has not been started: call start first")
        return self._relay.wait(timeout)

    def write(self, data: bytes) -> None:
        """Give the command input: as keys to a PTY, as bytes to a pipe. Blocks while it does not read.

        Raises:
            BrokenPipeError: nobody reads any more.
            UsageError: its stdin is this process's own, or it has not been started.
        """
        self._running().write(data)

    def close_stdin(self) -> None:
        """End the command's input: close the pipe, or send the PTY's end of file character."""
        self._running().close_stdin()

    def resize(self, cols: int, rows: int) -> None:
        """Set the size of the command's PTYs; without a PTY there is nothing to do.

        Raises:
            UsageError: a size of zero, or it has not been started.
        """
        _check_size((cols, rows))
        self._running().resize(cols, rows)

    def send_signal(self, number: int) -> None:
        """Send a signal to the command itself; one that has ended gets none.

        Raises:
            UsageError: there is no such signal.
        """
        _check_signal("signal", number)
        self._running().send_signal(number)

    def interrupt(self) -> None:
        """Send SIGINT."""
        self.send_signal(SIGINT)

    def terminate(self) -> None:
        """Climb the ladder: `stop_signal` to the whole tree, and SIGKILL to what is left after `kill_after`."""
        self._running().terminate()

    def kill(self) -> None:
        """End the command at once: by SIGKILL, or what there is in its place."""
        self._running().kill()

    def close(self) -> None:
        """Kill the command if it still runs, and let go of everything; safe to call twice."""
        if self._relay is not None:
            self._relay.close()

    def _running(self) -> RelayThread:
        if self._relay is None:
            raise UsageError("the process has not been started: call start first")
        return self._relay

    def __enter__(self) -> Self:
        if self._relay is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self.wait()
            finally:
                self.close()
        else:
            self.close()


def run(argv: Sequence[str | bytes | os.PathLike[str]], **kw: Any) -> Process:
    """Run a command to its end; return its `Process`.

    Raises:
        NotFound, NotExecutable, RprunError: it could not be started.
        UsageError: an argument makes no sense.
    """
    with Process(argv, **kw) as process:
        process.wait()
    return process


def _one_of(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        words = ", ".join(str(word) for word in allowed if word is not None)
        raise UsageError(f"{name} must be one of {words}, not {value!r}")


def _check_signal(name: str, number: int) -> None:
    if not isinstance(number, int) or number not in valid_signals():
        raise UsageError(f"{name} must be the number of a signal, not {number!r} (see the signal module)")


def _check_size(size: tuple[int, int]) -> None:
    if len(size) != 2 or not all(isinstance(number, int) and 0 < number < 1 << 16 for number in size):
        raise UsageError(f"size must be two whole numbers from 1 to 65535, not {size!r}")


def _seconds(name: str, value: float) -> float:
    if not isinstance(value, (int, float)) or not value >= 0:
        raise UsageError(f"{name} must be a number of seconds, not {value!r}")
    return value


def _limit(name: str, value: float | None) -> float | None:
    if value is None or value == float("inf"):
        return None
    if not _seconds(name, value):
        raise UsageError(f"{name} must be more than 0 seconds (use None for no limit)")
    return value

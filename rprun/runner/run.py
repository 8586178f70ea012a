"""One run: an execution and its job, with limits, the end of the tree, and events. `Process` is its public face.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os

from rprun.errors import RprunError, UsageError
from rprun.runner.execution import Execution
from rprun.runner.job import Job
from rprun.runner.loop import Loop
from rprun.transport import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import psutil

    from rprun.observe.emitter import Emitter
    from rprun.runner.limits import Ladder, Limits
    from rprun.runner.observation import Observation
    from rprun.runner.pumps import Pump
    from rprun.runner.signals import Signals
    from rprun.runner.tree import ScatteredTree
    from rprun.transport.command import Launch
    from rprun.transport.streams import Stream

    Rows = tuple[Stream, Stream, Stream]


class Run:
    """Runs a command once, in the thread that calls `begin` and `relay`.

    Attributes:
        loop: what everything runs on.
        execution: the command, None before `begin`.
        returncode: the exit status or negative signal, None before the end.
        limit: `timeout` or `idle-timeout` when that ended it, else empty.
        drained: False when reading was cut short.
        orphans: (pid, name) of the descendants alive at the end, where they are reported.
        failure: what went wrong on rprun's side although the command ran.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        transport: str,
        split_stderr: bool,
        size: tuple[int, int] | None,
        deliver: Callable[[str, bytes], None] | None,
        writes: bool,
        timeout: float | None,
        idle_timeout: float | None,
        stop_signal: int,
        kill_after: float,
        orphans: str,
        drain: float,
    ) -> None:
        """Describe the run; the arguments are those of `Process`, checked.

        Args:
            launch: the command.
            transport: `auto`, `pty` or `pipe`.
            split_stderr: a PTY of its own for stderr.
            size: columns and rows, None for the terminal's.
            deliver: takes the output; None relays to this process's own streams.
            writes: the command's input comes from the owner of the process.
            timeout: seconds, or None.
            idle_timeout: seconds, or None.
            stop_signal: first signal of the ladder.
            kill_after: seconds from that to SIGKILL.
            orphans: `leave`, `report`, `wait` or `kill`.
            drain: seconds to read on after the command's end.
        """
        self.launch = launch
        self.loop = Loop()
        self.execution: Execution | None = None
        self.returncode: int | None = None
        self.limit = ""
        self.drained = True
        self.orphans: list[tuple[int, str]] = []
        self.failure: RprunError | None = None
        self._transport = transport
        self._split_stderr = split_stderr
        self._size = size
        self._deliver = deliver
        self._writes = writes
        self._end_is_owed = False
        self._policy = orphans
        self._orphans_known = True
        # Those who wait for the tree read what it writes as long as it lives.
        self._drain = float("inf") if orphans == "wait" else drain
        # A subreaper is visible to orphans (their parent is not init), so there is one only where it is needed.
        launch.subreaper = orphans != "leave" or timeout is not None or idle_timeout is not None
        self._limits: Limits | None = None
        if timeout is not None or idle_timeout is not None:
            from rprun.runner.limits import Limits

            self._limits = Limits(self.loop, self._on_limit, timeout=timeout, idle_timeout=idle_timeout)
        self._ladder: Ladder | None = None
        self._scattered: ScatteredTree | None = None
        self._stop_signal = stop_signal
        self._kill_after = kill_after
        self._job: Job | None = None
        self._emitter: Emitter | None = None
        self._observation: Observation | None = None
        self._event_destination: tuple[int, int] | None = None
        self._settle_events: Callable[[], None] | None = None

    def observe(
        self,
        emitter: Emitter,
        *,
        destination: tuple[int, int] | None = None,
        settle: Callable[[], None] | None = None,
    ) -> None:
        """Have the run's events emitted.

        Args:
            emitter: gets the events.
            destination: (st_dev, st_ino) of where they are written: a stream of the command's that goes there too is
                relayed, even if it could pass through, so that lines stay whole.
            settle: called after each turn of the loop.
        """
        self._emitter = emitter
        self._event_destination = destination
        self._settle_events = settle

    @property
    def pumps(self) -> list[Pump]:
        """What carries the command's output."""
        return self.execution.ends.pumps if self.execution is not None else []

    def begin(self, rows: Rows | None = None, signals: Signals | None = None) -> None:
        """Start the command.

        Args:
            rows: this process's standard streams, if they have been looked at already.
            signals: given where this process exists for the run alone and has one thread.

        Raises:
            NotFound, NotExecutable, RprunError: it could not be started.
            UsageError: the run has begun before.
        """
        if self.execution is not None:
            raise UsageError("a process can be started once (make a new one)")
        rows = rows or (streams.Stream(0), streams.Stream(1), streams.Stream(2))
        if signals is not None:
            signals.attach(self.loop)
            signals.describe(self.launch)
        elif self.launch.env is None:
            self.launch.env = dict(os.environb)
        execution = self.execution = Execution(
            self.loop, self.launch, rows, deliver=self._deliver, drain=self._drain, threaded=signals is None
        )
        job = self._job = Job(execution, rows, own_signals=signals is not None)
        job.has_limits = self._limits is not None
        kinds = self._choose_ends(rows)
        self._open_ends(execution, job, kinds)
        if self._limits is not None:
            execution.on_activity(self._limits.on_activity)
        if self._emitter is not None and self._emitter.observed():
            from rprun.runner.observation import Observation

            self._observation = Observation(self.loop, self._emitter, self._emitter.observed())
            self._observation.prepare(self.launch)
            execution.while_starting = self._observation.while_starting
        job.start(kinds, reads_stdin=not self._writes)
        if self._emitter is not None:
            self._emitter.emit("started", execution.pid)
            self._end_is_owed = True
        if self._observation is not None:
            self._observation.attach(execution.pid)
        if execution.scattered and execution.monitor is not None:
            from rprun.runner.tree import ScatteredTree

            self._scattered = ScatteredTree(self.loop, execution.monitor.pid, leads_session=execution.has_terminal)
            self._scattered.look()
        if self._limits is not None:
            self._limits.start()
        if signals is not None:
            signals.begin(job)
            _hand_over(execution, rows, kinds)

    def _open_ends(self, execution: Execution, job: Job, kinds: tuple[str, str, str]) -> None:
        rows = execution.ends.rows
        if not self._writes and self._deliver is None:
            job.find_terminal()
        stands_in = self._transport == "auto" or rows[0].kind == streams.TTY
        execution.ends.open(
            kinds,
            size=job.size(self._size),
            attributes=job.attributes() if stands_in else None,
            keys=self._writes,
            utf8=_locale_is_utf8(),
        )
        for pump in execution.ends.pumps:
            if pump.output is not None and pump.output.stream.identity == self._event_destination:
                # Spliced bytes are not seen, and so it would not be known where a line ends.
                pump.splices = False
                pump.careful = True

    def _choose_ends(self, rows: Rows) -> tuple[str, str, str]:
        transport = self._transport
        if self._deliver is not None and transport != "pty":
            first = streams.FEED_PIPE if self._writes else streams.INHERIT
            return first, streams.OUT_PIPE, streams.ERROR_PIPE
        # Silence can only be noticed in what passes by here; and an event must not cut a line of the command's.
        silence = self._limits is not None and self._limits.idle_timeout is not None
        shared = self._event_destination
        kinds = streams.choose_ends(
            rows,
            transport,
            split_stderr=self._split_stderr,
            watch_stdout=silence or (shared is not None and shared == rows[1].identity),
            watch_stderr=silence or (shared is not None and shared == rows[2].identity),
        )
        if self._writes and kinds[0] == streams.INHERIT:
            return streams.FEED_PIPE, kinds[1], kinds[2]
        return kinds

    def relay(self, *, to_close: Sequence[int] = ()) -> int:
        """Relay until the run has ended; return the return code.

        Args:
            to_close: descriptors that only the command is to have now that it has been started.
        """
        for descriptor in to_close:
            os.close(descriptor)
        execution = self.execution
        if execution is None:
            raise UsageError("the run has not begun")
        if self._settle_events is None and self._job is not None:
            self._job.relay_keys()
        self._turn_until(execution.has_been_reaped)
        if self._scattered is not None:
            self._scattered.hurry()
        if self._policy == "kill" and not self._is_alone(execution):
            self.end_tree()
        self._turn_until(execution.ended)
        # A limit ends the whole tree, not just the command.
        self._turn_until(lambda: self._is_alone(execution) or not self._tree_is_waited_for())
        if self._scattered is not None:
            self._scattered.stop()
        if self._limits is not None:
            self._limits.stop()
        if self._ladder is not None:
            self._ladder.stop()
        if self._policy == "report" and not self._is_alone(execution) and execution.monitor is not None:
            from rprun.runner.tree import describe

            try:
                self.orphans = describe(self._tree(execution.monitor.pid))
            except OSError:
                self._orphans_known = False
        # Of a tree that scatters, that nobody was found does not say that nobody is left.
        self._orphans_known = self._orphans_known and (self._scattered is None or bool(self.orphans))
        return self._conclude(execution)

    def _tree(self, monitor: int) -> list[psutil.Process]:
        if self._scattered is not None:
            return self._scattered.living()
        from rprun.runner.tree import descendants

        return descendants(monitor)

    def _is_alone(self, execution: Execution) -> bool:
        return execution.alone and (self._scattered is None or self._scattered.is_empty)

    def _turn_until(self, done: Callable[[], bool]) -> None:
        turn, settle_events = self.loop.turn, self._settle_events
        while not done():
            turn()
            if settle_events is not None:
                settle_events()

    def _tree_is_waited_for(self) -> bool:
        if self._ladder is not None:
            return not self._ladder.exhausted
        return self._policy == "wait" and self.execution is not None and not self.execution.waited_enough

    def _conclude(self, execution: Execution) -> int:
        status = execution.status or 0
        self.returncode = os.waitstatus_to_exitcode(status)
        self.limit = self._limits.hit if self._limits is not None else ""
        self.drained = not execution.cut
        self.failure = execution.failure
        if self._emitter is not None:
            fields: dict[str, Any] = {"exit_code": self.returncode if execution.status_known else None}
            if os.WIFSIGNALED(status) and os.WCOREDUMP(status):
                fields["core"] = True
            if execution.cut:
                fields["drained"] = False
            if self.limit:
                fields["limit"] = self.limit
            if self._policy == "report" and self._orphans_known:
                fields["orphans"] = [{"pid": pid, "name": name} for pid, name in self.orphans]
            self._end_is_owed = False
            if self._observation is not None:
                self._observation.finish(self._settle_events)
            self._emitter.emit("exited", execution.pid, **fields)
        return self.returncode

    def let_go(self) -> None:
        """Give back the terminal and close everything; a command that still runs is killed."""
        if self._observation is not None:
            self._observation.stop()
        if self._job is not None:
            self._job.close()
        elif self.execution is not None:
            self.execution.close()
        if self._emitter is not None:
            if self._end_is_owed and self.execution is not None:
                # The relay failed, and the command was killed above: that it ended is known, but not how.
                self._emitter.emit("exited", self.execution.pid, exit_code=None)
            self._emitter.close()
        self.loop.close()

    @property
    def takes_input(self) -> bool:
        """Tell whether the owner of the process can give the command input: its own, or keys for its terminal."""
        return self._writes or (self.execution is not None and self.execution.has_terminal)

    def stop_waiting(self) -> None:
        """Wait no longer for descendants, once the command itself has ended."""
        if self.execution is not None:
            self.execution.stop_waiting()

    def end_tree(self) -> None:
        """Begin to climb the ladder, once."""
        if self._ladder is None:
            from rprun.runner.limits import Ladder

            self._ladder = Ladder(self.loop, self._signal_tree, first=self._stop_signal, grace=self._kill_after)
            self._ladder.start()

    def _on_limit(self) -> None:
        """Time is up: for the command and its tree, or else for the wait that follows its end."""
        execution, limits = self.execution, self._limits
        if execution is not None and execution.status is not None and self._policy != "wait":
            # It has ended in time. Only descendants that hold its terminal are still being read.
            execution.stop_waiting()
            if limits is not None:
                limits.hit = ""
        else:
            self.end_tree()

    def _signal_tree(self, numbers: tuple[int, ...]) -> None:
        from rprun.runner.tree import signal_all

        execution = self.execution
        if execution is None or execution.monitor is None:
            return
        try:
            signal_all(self._tree(execution.monitor.pid), numbers)
        except OSError:
            # Descendants cannot be seen; the command itself can be reached in any case.
            for number in numbers:
                execution.order(f"signal {number}")


def _hand_over(execution: Execution, rows: Rows, kinds: tuple[str, str, str]) -> None:
    """Let go of every stream as soon as only the command uses it."""
    for stream, kind in zip(rows[:2], kinds[:2], strict=True):
        if kind == streams.INHERIT:
            _let_go_of(stream)
    for pump in execution.ends.pumps:
        pump.on_end = _let_go_of_stdout
        if pump.ended:
            _let_go_of_stdout(pump)


def _let_go_of(stream: Stream) -> None:
    """Close a pipe or socket here that only the command uses: its other end is to see when the command is done."""
    if stream.kind in (streams.PIPE, streams.SOCKET):
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, stream.fd, inheritable=False)
        os.close(null)


def _let_go_of_stdout(pump: Pump) -> None:
    """Do so for a stdout that is relayed, once its end has come. Stderr stays: rprun has to be able to speak."""
    output = pump.output
    if output is not None and output.stream.fd == 1 and not output.pending:
        output.close()
        _let_go_of(output.stream)


def _locale_is_utf8() -> bool:
    """Tell whether the locale's encoding is UTF-8, by the variables that decide it (locale(7))."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = os.environ.get(name)
        if value:
            return "utf8" in value.lower().replace("-", "")
    return False

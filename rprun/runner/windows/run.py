"""One run on Windows: an execution with limits, the end of the tree, and events. `Process` is its public face."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import os
from _signal import SIGINT

from rprun.errors import UsageError
from rprun.runner.windows.execution import Execution
from rprun.runner.windows.loop import Loop
from rprun.transport import streams
from rprun.transport.windows.streams import choose_ends, same, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from rprun.errors import RprunError
    from rprun.observe.emitter import Emitter
    from rprun.runner.limits import Ladder, Limits
    from rprun.runner.observation import Observation
    from rprun.runner.windows.pumps import Place
    from rprun.runner.windows.signals import Signals
    from rprun.transport.streams import Stream
    from rprun.transport.windows.launch import Launch
    from rprun.transport.windows.streams import Kinds, Rows

# What the ladder ends with; Windows has no such signal, and `Execution` knows what is meant.
SIGKILL = 9
DEFAULT_SIZE = (80, 24)
# Seconds between two looks at the size of the user's console, of which no event tells one who reads keys as text.
SIZE_INTERVAL = 0.5


class Run:
    """Runs a command once, in the thread that calls `begin` and `relay`.

    Attributes:
        loop: what everything runs on.
        execution: the command, None before `begin`.
        returncode: the exit code, all 32 bits of it; None before the end.
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
        """Describe the run; the arguments are those of `Process`, checked."""
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
        self._policy = orphans
        # Those who wait for the tree read what it writes as long as it lives.
        self._drain = float("inf") if orphans == "wait" else drain
        self._limits: Limits | None = None
        if timeout is not None or idle_timeout is not None:
            from rprun.runner.limits import Limits

            self._limits = Limits(self.loop, self._on_limit, timeout=timeout, idle_timeout=idle_timeout)
        self._ladder: Ladder | None = None
        self._stop_signal = stop_signal
        self._kill_after = kill_after
        self._waits_for_tree = False
        self._emitter: Emitter | None = None
        self._end_is_owed = False
        self._observation: Observation | None = None
        self._events: tuple[Stream, Place] | None = None

    def observe(self, emitter: Emitter, *, destination: tuple[Stream, Place] | None = None) -> None:
        """Have the run's events emitted.

        Args:
            emitter: gets the events.
            destination: where they are written, and what keeps them and the command's output from cutting each other's
                lines, where that goes to the same place.
        """
        self._emitter = emitter
        self._events = destination

    def begin(self, rows: Rows | None = None, signals: Signals | None = None) -> None:
        """Start the command.

        Args:
            rows: this process's standard streams, if they have been looked at already.
            signals: given where this process exists for the run alone.

        Raises:
            NotFound, NotExecutable, RprunError: it could not be started.
            UsageError: the run has begun before, or asks for what a console cannot do.
        """
        if self.execution is not None:
            raise UsageError("a process can be started once (make a new one)")
        rows = rows or survey()
        places = self._places(rows)
        kinds = self._choose_ends(rows, places)
        execution = self.execution = Execution(
            self.loop, self.launch, rows, deliver=self._deliver, drain=self._drain, places=places
        )
        if self._limits is not None:
            execution.note = self._limits.on_activity
        if self._emitter is not None and self._emitter.observed():
            from rprun.runner.observation import Observation

            self._observation = Observation(self.loop, self._emitter, self._emitter.observed())
            self._observation.prepare(self.launch)
        # A group of its own can be asked to end, but ^C is not heard in it: so not where somebody may type one.
        own_group = self._writes or (self._limits is not None and rows[0].kind != streams.TTY)
        if signals is not None:
            # As soon as the command is there, it may have said so, and somebody may type ^C at it.
            signals.attach(self)
        # Before the start: a change from then on is one to follow.
        theirs = _size_of(rows)
        size = self._size or theirs or DEFAULT_SIZE
        execution.start(kinds, size=size, reads_stdin=not self._writes, own_group=own_group)
        if self._emitter is not None:
            self._emitter.emit("started", execution.pid)
            self._end_is_owed = True
        if self._observation is not None:
            self._observation.attach(execution.pid)
        execution.carry()
        if self._limits is not None:
            self._limits.start()
        if execution.terminal is not None and theirs is not None:
            self._follow_size(rows, theirs)

    def _places(self, rows: Rows) -> dict[int, Place]:
        if self._events is None:
            return {}
        stream, place = self._events
        return {row.fd: place for row in rows[1:] if same(row, stream)}

    def _choose_ends(self, rows: Rows, places: dict[int, Place]) -> Kinds:
        # Silence can only be noticed in what passes by here; and an event must not cut a line of the command's.
        silence = self._limits is not None and self._limits.idle_timeout is not None
        return choose_ends(
            rows,
            self._transport,
            split_stderr=self._split_stderr,
            writes=self._writes,
            delivers=self._deliver is not None,
            watch=(silence or 1 in places, silence or 2 in places),
        )

    def _follow_size(self, rows: Rows, before: tuple[int, int] | None) -> None:
        now = _size_of(rows)
        if now is not None and now != before and self.execution is not None:
            self.execution.resize(*now)
        self.loop.set_timer("size", SIZE_INTERVAL, lambda: self._follow_size(rows, now or before))

    def relay(self, *, to_close: Sequence[int] = ()) -> int:
        """Relay until the run has ended; return the return code.

        Args:
            to_close: nothing here: what the command has was given to it when it was started.
        """
        execution = self.execution
        if execution is None:
            raise UsageError("the run has not begun")
        self._turn_until(execution.has_been_reaped)
        if self._policy in ("wait", "kill"):
            self._wait_for_tree(execution)
        if self._policy == "kill":
            self.end_tree()
        self._turn_until(execution.ended)
        # A limit ends the whole tree, not just the command.
        self._turn_until(lambda: execution.alone or not self._tree_is_waited_for())
        if self._limits is not None:
            self._limits.stop()
        if self._ladder is not None:
            self._ladder.stop()
        if self._policy == "report":
            self.orphans = execution.tree.describe()
        return self._conclude(execution)

    def _turn_until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.loop.turn()

    def _wait_for_tree(self, execution: Execution) -> None:
        if not self._waits_for_tree:
            self._waits_for_tree = True
            execution.wait_for_tree()

    def _tree_is_waited_for(self) -> bool:
        if self._ladder is not None:
            return not self._ladder.exhausted
        return self._policy == "wait" and self.execution is not None and not self.execution.waited_enough

    def _conclude(self, execution: Execution) -> int:
        self.returncode = execution.status or 0
        self.limit = self._limits.hit if self._limits is not None else ""
        self.drained = not execution.cut
        self.failure = execution.failure
        if self._emitter is not None:
            fields: dict[str, Any] = {"exit_code": self.returncode if execution.status_known else None}
            if execution.cut:
                fields["drained"] = False
            if self.limit:
                fields["limit"] = self.limit
            if self._policy == "report":
                fields["orphans"] = [{"pid": pid, "name": name} for pid, name in self.orphans]
            self._end_is_owed = False
            if self._observation is not None:
                self._observation.finish(None)
            self._emitter.emit("exited", execution.pid, **fields)
        return self.returncode

    def let_go(self) -> None:
        """Give back the console and close everything; a command that still runs is ended, and its tree with it."""
        if self._observation is not None:
            self._observation.stop()
        if self.execution is not None:
            self.execution.close(spare=self._policy != "kill")
        if self._emitter is not None:
            if self._end_is_owed and self.execution is not None:
                # The relay failed, and the command was ended above: that it ended is known, but not how.
                self._emitter.emit("exited", self.execution.pid, exit_code=None)
            self._emitter.close()
        self.loop.close()

    @property
    def takes_input(self) -> bool:
        """Tell whether the owner of the process can give the command input: its own, or keys for its console."""
        return self._writes or (self.execution is not None and self.execution.has_terminal)

    def stop_waiting(self) -> None:
        """Wait no longer for descendants, once the command itself has ended."""
        if self.execution is not None:
            self.execution.stop_waiting()

    def pass_on_interrupt(self) -> None:
        """Have the command hear of ^C, if it does not hear it itself."""
        if self.execution is not None and self.execution.can_be_asked:
            self.execution.interrupt()

    def pass_on_break(self) -> None:
        """Have the command hear of ^Break, if it does not hear it itself."""
        if self.execution is not None and self.execution.can_be_asked:
            self.execution.ask()

    def end_tree(self) -> None:
        """Begin to climb the ladder, once."""
        if self._ladder is None and self.execution is not None:
            from rprun.runner.limits import Ladder

            self._wait_for_tree(self.execution)
            grace = self._kill_after if self.execution.can_be_asked else 0.0
            self._ladder = Ladder(self.loop, self._signal_tree, first=self._stop_signal, grace=grace)
            self._ladder.start()

    def _on_limit(self) -> None:
        """Time is up: for the command and its tree, or else for the wait that follows its end."""
        execution, limits = self.execution, self._limits
        if execution is not None and execution.status is not None and self._policy != "wait":
            # It has ended in time. Only descendants that hold its console or pipes are still being read.
            execution.stop_waiting()
            if limits is not None:
                limits.hit = ""
        else:
            self.end_tree()

    def _signal_tree(self, numbers: tuple[int, ...]) -> None:
        if self.execution is None:
            return
        if numbers[0] == SIGINT and self.execution.has_terminal:
            self.execution.interrupt()
        elif numbers[0] == SIGKILL or not self.execution.ask():
            # Whom nobody can ask need not be given time.
            self.execution.tree.end()


def _size_of(rows: Rows) -> tuple[int, int] | None:
    """Return the columns and rows of the first console among stdout and stderr: an input has no size."""
    for stream in rows[1:]:
        if stream.kind == streams.TTY:
            try:
                size = os.get_terminal_size(stream.fd)
            except OSError:
                continue
            if size.columns > 0 and size.lines > 0:
                return size.columns, size.lines
    return None

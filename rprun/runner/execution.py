"""One command from start to end on one loop: spawn, relay, reap, drain.

The order of the end matters. The command is reaped first; then what it has written is read, and only then this process
lets go of its own end of each PTY, so that the end can say that nobody has it any more: macOS and the BSDs throw away
what has not been read by then. After that everything is read to the end, or until a descendant that still holds the
terminal has had `drain` seconds. Only then has the command ended.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from _signal import SIGKILL, SIGPIPE
from errno import EIO, ENOENT, EPIPE

from rprun.errors import NotExecutable, NotFound, RprunError
from rprun.runner.ends import Ends
from rprun.runner.loop import READ, Loop
from rprun.transport import streams
from rprun.transport.handle import Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.pumps import Pump
    from rprun.runner.stdin_feed import StdinFeed
    from rprun.transport.command import Launch
    from rprun.transport.pty import Pty
    from rprun.transport.streams import Stream

FOREVER = float("inf")


class Execution:
    """A command, its ends and its relay. Driven by its owner through `loop`; single-threaded.

    Attributes:
        ends: the command's streams, open from the owner's call of `ends.open` on.
        pid: the command's, 0 before the start.
        has_terminal: it has a terminal, and so a session, of its own; even if that has been hung up since.
        status: wait(2) status once the command has been reaped, else None.
        status_known: False when the monitor was killed, and with it the only process that could know the status.
        cut: the drain ended before the end of file, because somebody still holds the other end.
        alone: no descendant is left (of a subreaper's tree; otherwise only the command itself is known of).
        scattered: orphans do not become children of the monitor, although they were to.
        waited_enough: descendants have had their time to let go of the terminal.
        note: called whenever bytes move in either direction.
        failure: the first failure of a destination that is not just a reader who left.
        on_stopped: called with the signal when the command is reported to be stopped.
        on_reaped: called when the command has been reaped, before its terminal is let go of.
        on_hangup: called before the command's terminal is hung up.
        while_starting: returns descriptors, and what to call when one is readable, for as long as `start` waits.
    """

    def __init__(
        self,
        loop: Loop,
        launch: Launch,
        rows: tuple[Stream, Stream, Stream],
        *,
        deliver: Callable[[str, bytes], None] | None,
        drain: float,
        threaded: bool,
    ) -> None:
        """Prepare.

        Args:
            loop: what everything runs on.
            launch: the command; its streams are filled in here.
            rows: rprun's own streams.
            deliver: takes (stream name, bytes) in place of rprun's own streams.
            drain: seconds to read on after the command's end; may be infinite.
            threaded: this process has or may have other threads and must not be forked.
        """
        self.loop = loop
        self.launch = launch
        self.drain = drain
        self.threaded = threaded
        self.ends = Ends(loop, rows, deliver, self._on_broken)
        self.pid = 0
        self.has_terminal = False
        self.status: int | None = None
        self.status_known = True
        self.cut = False
        self.alone = False
        self.scattered = False
        self.failure: RprunError | None = None
        self.monitor: Monitor | None = None
        self.note: Callable[[], None] | None = None
        self.on_stopped: Callable[[int], None] = _ignore
        self.on_reaped: Callable[[], None] = _nothing
        self.on_hangup: Callable[[], None] = _nothing
        self.while_starting: Callable[[], list[tuple[int, Callable[[], None]]]] = list
        self._feed: StdinFeed | None = None
        self._early: list[tuple[str, list[str]]] = []
        self.waited_enough = False

    def start(self) -> None:
        """Start the command.

        Raises:
            NotFound: there is no such command.
            NotExecutable: the kernel refuses to execute it.
            RprunError: it could not be started for another reason.
        """
        self.launch.stdio = self.ends.stdio
        self.launch.tty = self.ends.controlling
        self.has_terminal = self.launch.tty >= 0
        try:
            monitor = (Monitor.execute if self.threaded else Monitor.fork)(self.launch)
        except OSError as error:
            raise RprunError(f"cannot start a process: {error.strerror} (see ulimit -u and ulimit -n)") from error
        self.monitor = monitor
        self.ends.release_theirs()
        reports: list[tuple[str, list[str]]] = []
        while not self.pid:
            while not reports:
                self._wait_for_start(monitor)
                reports += monitor.read(wait=False)
            self._on_report(*reports.pop(0))
        if reports:
            # A short command has ended already. That is dealt with on the loop, once everything has been set up.
            self._early = reports
            self.loop.set_timer("early", 0.0, self._take_reports)
        self.loop.watch(monitor.fileno(), READ, self._on_reports)

    def _wait_for_start(self, monitor: Monitor) -> None:
        """Wait for a report; what the start itself may wait for (see `while_starting`) is looked after meanwhile."""
        others = dict(self.while_starting())
        poller = streams.Poll()
        for descriptor in (monitor.fileno(), *others):
            poller.register(descriptor, READ)
        for descriptor, _ in poller.poll():
            if descriptor in others:
                others[descriptor]()

    def on_activity(self, note: Callable[[], None]) -> None:
        """Have `note` called whenever bytes move in either direction."""
        self.note = note
        for pump in self.ends.pumps:
            pump.note = note
            pump.careful = True

    def feed_from(self, source: Stream) -> None:
        """Carry rprun's own stdin, which is no terminal, into the PTY."""
        if self.ends.pty is not None:
            from rprun.runner.stdin_feed import StdinFeed

            self._feed = StdinFeed(self.loop, self.ends.pty, source, self.note)

    def has_been_reaped(self) -> bool:
        """Tell whether the command has ended and its status is known, or known to be lost."""
        return self.status is not None

    def stop_waiting(self) -> None:
        """The command has ended and nobody wants to wait for its descendants any longer."""
        self.waited_enough = True

    # -- reports and orders

    def _on_reports(self, _event: int) -> None:
        self._take_reports()

    def _take_reports(self) -> None:
        early, self._early = self._early, []
        for verb, arguments in early:
            self._on_report(verb, arguments)
        if self.monitor is not None:
            for verb, arguments in self.monitor.read(wait=False):
                self._on_report(verb, arguments)

    def _on_report(self, verb: str, arguments: list[str]) -> None:
        if verb == "pid":
            self.pid = int(arguments[0])
        elif verb == "fail":
            raise self._start_error(arguments[0], int(arguments[1]))
        elif verb == "stop":
            self.on_stopped(int(arguments[0]))
        elif verb == "exit":
            self._on_exit(int(arguments[0]))
        elif verb == "empty":
            self.alone = True
        elif verb == "scattered":
            self.scattered = True
        elif verb == "lost":
            self._on_monitor_lost()

    def _start_error(self, step: str, number: int) -> RprunError:
        command = os.fsdecode(self.launch.argv[0])
        reason = os.strerror(number)
        if step == "cwd":
            directory = os.fsdecode(self.launch.cwd or b"")
            return RprunError(f"cannot change to directory {directory}: {reason} (see --cwd)")
        if step != "exec":
            return RprunError(f"cannot start {command}: {reason} (see ulimit -n and ulimit -u)")
        if number != ENOENT:
            return NotExecutable(f"cannot run {command}: {reason} (is it an executable file?)")
        if "/" in command:
            return NotFound(f"cannot run {command}: {reason} (check the path, and the interpreter a script names)")
        return NotFound(f"cannot run {command}: command not found (check the spelling and PATH)")

    def _on_monitor_lost(self) -> None:
        if self.monitor is not None:
            self.loop.forget(self.monitor.fileno())
        if not self.pid:
            raise RprunError("cannot start the command: its monitor process ended (was it killed?)")
        if self.status is None:
            # Somebody killed the monitor: the command's parent is gone and with it its status. Nobody could tell when
            # it ends, or end it, so it is ended now.
            try:
                os.kill(self.pid, SIGKILL)
            except OSError:
                pass
            self.status_known = False
            self.failure = RprunError(
                "the command was killed, its status is lost: its monitor was gone (was that killed?)"
            )
            self.alone = True
            self._on_exit(0)

    def look_at_state(self) -> int:
        """Ask the monitor which signal the command is stopped by; 0 when it runs or has ended."""
        if self.monitor is None or self.status is not None:
            return 0
        self.monitor.order("state")
        stopped_by, answered = 0, False
        while not answered and self.status is None:
            early, self._early = self._early, []
            for verb, arguments in (*early, *self.monitor.read(wait=not early)):
                # What follows the answer is newer than the answer.
                if verb in ("state", "stop"):
                    stopped_by = int(arguments[0])
                    answered = answered or verb == "state"
                elif verb == "cont":
                    stopped_by = 0
                else:
                    self._on_report(verb, arguments)
        return stopped_by if self.status is None else 0

    def order(self, line: str) -> None:
        """Have the monitor do something; see `handle.py`."""
        if self.monitor is not None:
            self.monitor.order(line)

    # -- the end

    def _on_exit(self, status: int) -> None:
        self.status = status
        if self._feed is not None:
            self._feed.give_back()
        self._drop_feed()
        self.on_reaped()
        self._let_go_of_terminals()
        if self.drain != FOREVER:
            self.loop.set_timer("drain", self.drain, self.stop_waiting)

    def ended(self) -> bool:
        """Tell whether the command has been reaped and everything it wrote is where it belongs.

        A slow reader is waited for, however long: what the command wrote before it ended is not a descendant's.
        """
        if self.status is None:
            return False
        self._let_go_of_terminals()
        if self.waited_enough:
            for pump in self.ends.pumps:
                pump.drain_now()
                if not pump.ended and not pump.waits():
                    self.cut = True
                    pump.end()
        return all(pump.ended and not pump.waits() for pump in self.ends.pumps)

    def _let_go_of_terminals(self) -> None:
        """Close our end of each PTY that everything has been read from, for now."""
        for pump in self.ends.terminals:
            if pump.pty.held >= 0:
                pump.drain_now()
                if not pump.waits():
                    pump.pty.release_held()

    def _on_broken(self, pump: Pump, error: OSError) -> None:
        """A destination takes no more bytes: let the command find out as it would have."""
        gone = error.errno == EPIPE or (error.errno == EIO and pump.goes_to_terminal())
        if not gone and self.failure is None:
            stream = "standard error" if pump.name == "stderr" else "standard output"
            self.failure = RprunError(
                f"cannot write to {stream}: {error.strerror} (what the command wrote from there on is lost)"
            )
        pty = self.ends.pty_of(pump)
        if pty is None:
            self.ends.drop_pipe(pump)
            return
        # A terminal knows no SIGPIPE. Its foreground group gets it here, as its members would have on their next
        # write without a terminal in between; who ignores that finds the terminal hung up (EIO).
        group = pty.foreground_group()
        if group and self.status is None and error.errno == EPIPE:
            try:
                os.killpg(group, SIGPIPE)
            except OSError:
                pass
        self.hang_up(pty)

    def hang_up(self, pty: Pty) -> None:
        """End one of the command's terminals: reading it gives end of file from now on, and writing EIO."""
        for pump in self.ends.terminals:
            if pump.pty is pty and not pump.ended:
                pump.end()
        if pty is self.ends.pty:
            self._drop_feed()
            self.on_hangup()
        self.ends.drop_pty(pty)

    def _drop_feed(self) -> None:
        if self._feed is not None:
            self._feed.stop()
            self._feed = None

    def close(self) -> None:
        """Let go of everything; a command that still runs is killed."""
        self._drop_feed()
        if self.monitor is not None:
            self.loop.forget(self.monitor.fileno())
            if self.status is not None:
                self.monitor.order("bye")
            self.monitor.close()
            self.monitor = None
        self.ends.close()


def _nothing() -> None:
    """Do nothing: a hook that nobody has hung anything on."""


def _ignore(_number: int) -> None:
    """Do nothing with a number."""

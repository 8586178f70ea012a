"""One command from start to end on Windows: started, relayed, waited for, and read to the end.

The order of the end is that of other systems: first the command ends, then everything that it wrote is read, and only
then has the run ended. But a console of Windows need not tell its end, nor when nothing is left in it. So where nobody
lives who could still write, what has been silent for a while is taken to be at its end, and where somebody does, he has
`drain` seconds.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import os
import threading
from functools import partial
from time import monotonic

from rprun.errors import NotExecutable, NotFound, RprunError
from rprun.runner.windows.feed import Feed
from rprun.runner.windows.pumps import Output, PipePump, Place, Pump, TerminalPump, reader_is_gone
from rprun.runner.windows.tree import ENDED, Tree
from rprun.transport import streams
from rprun.transport.windows.terminal import Terminal
from rprun.windows import console
from rprun.windows.process import ProcessHandle, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.windows.loop import Loop
    from rprun.transport.windows.launch import Launch
    from rprun.transport.windows.streams import Kinds, Rows

# Seconds of silence after which nothing more is taken to be in a console or pipe that nobody is left to write to.
SILENCE = 1.0
# The same where somebody is, and nobody wants to wait for him: what the command itself wrote is read all the same.
MOMENT = 0.05
FOREVER = float("inf")
# winerror.h: file or path not found; then those by which a file that is there is no program for this system.
_NOT_FOUND = (2, 3)
_NO_MEMORY = (8, 14, 1450, 1455)
_NAMES = ("stdin", "stdout", "stderr")


class Execution:
    """A command and what stands between its streams and our own. Everything but `write` is the loop's thread's.

    Attributes:
        pid: the command's, 0 before the start.
        status: its exit code once it has ended, else None.
        status_known: False when it was gone before it could be asked.
        cut: reading ended before the end, because somebody still holds the other end.
        alone: nobody of the tree is left.
        waited_enough: descendants have had their time to let go of the console or pipes.
        failure: the first failure of a destination that is not just a reader who left.
        pumps: one for the console or for each pipe.
        tree: the command's processes.
        terminal: its console, None where it has none of its own.
        stdin_pipe: our end of its stdin, -1 where that is no pipe of ours.
        note: called whenever bytes move in either direction.
    """

    def __init__(
        self,
        loop: Loop,
        launch: Launch,
        rows: Rows,
        *,
        deliver: Callable[[str, bytes], None] | None,
        drain: float,
        places: dict[int, Place],
    ) -> None:
        """Prepare.

        Args:
            loop: what everything runs on.
            launch: the command.
            rows: this process's own streams.
            deliver: takes (stream name, bytes) in place of them.
            drain: seconds to read on after the command's end while a descendant lives; may be infinite.
            places: of the streams that events go to as well, by their descriptors.
        """
        self.loop = loop
        self.launch = launch
        self.rows = rows
        self.drain = drain
        self.pid = 0
        self.status: int | None = None
        self.status_known = True
        self.cut = False
        self.alone = False
        self.failure: RprunError | None = None
        self.pumps: list[Pump] = []
        self.tree = Tree()
        self.terminal: Terminal | None = None
        self.stdin_pipe = -1
        self.note: Callable[[], None] | None = None
        self._deliver = deliver
        self._places = places
        self._process: ProcessHandle | None = None
        self._own_group = False
        self._feed: Feed | None = None
        self.waited_enough = False
        self._last = monotonic()

    # -- the start

    @property
    def has_terminal(self) -> bool:
        """It has a console of its own."""
        return self.terminal is not None

    def start(self, kinds: Kinds, *, size: tuple[int, int], reads_stdin: bool, own_group: bool) -> None:
        """Start the command.

        Args:
            kinds: what each of its streams is, as of `choose_ends`.
            size: columns and rows, if it gets a console.
            reads_stdin: that gets what comes to this process's stdin.
            own_group: it begins a process group, unless it gets a console.

        Raises:
            NotFound: there is no such command.
            NotExecutable: Windows refuses to run it.
            RprunError: it could not be started for another reason.
        """
        path, line = self.launch.resolve()
        if kinds[0] == streams.PTY:
            self._process = self._start_in_terminal(path, line, size, reads_stdin=reads_stdin)
        else:
            self._own_group = own_group
            self._process = self._start_on_pipes(path, line, kinds)
        self.pid = self._process.pid

    def carry(self) -> None:
        """Begin to carry bytes, and to wait for the command's end."""
        # Whoever has seen output may type, and means the command.
        if self._feed is not None:
            self._feed.start()
        for pump in self.pumps:
            pump.note = self._noted
            pump.start()
        threading.Thread(target=self._wait, args=(self._process,), name="rprun-wait", daemon=True).start()

    def _variables(self) -> dict[str, str] | None:
        return None if self.launch.is_plain else self.launch.variables()

    def _start_in_terminal(self, path: str, line: str, size: tuple[int, int], *, reads_stdin: bool) -> ProcessHandle:
        name, directory = os.fsdecode(self.launch.argv[0]), self.launch.directory
        terminal = Terminal(path, line, size=size, directory=directory, variables=self._variables(), name=name)
        self.terminal = terminal
        # Both are needed for a terminal to ask and be answered.
        stands_in = reads_stdin and self.rows[0].kind == self.rows[1].kind == streams.TTY
        answers = self._deliver is not None or not stands_in
        self.pumps = [
            TerminalPump(self.loop, terminal, self._output(1), self._deliver, self._on_broken, answers=answers)
        ]
        if reads_stdin:
            self._feed = Feed(terminal, self.rows[0], self._noted)
        try:
            process = ProcessHandle(terminal.pid)
        except OSError:
            return _Ended(terminal)
        self.tree.grow_from(process, joined=False)
        return process

    def _start_on_pipes(self, path: str, line: str, kinds: Kinds) -> ProcessHandle:
        theirs = [-1, -1, -1]
        pipes: dict[str, tuple[int, int]] = {}
        try:
            for number, kind in enumerate(kinds):
                if kind != streams.INHERIT:
                    pipes[kind] = pipes.get(kind) or os.pipe()
                    theirs[number] = pipes[kind][0 if kind == streams.FEED_PIPE else 1]
            process = start(
                path,
                line,
                (theirs[0], theirs[1], theirs[2]),
                directory=self.launch.directory,
                variables=self._variables(),
                job=self.tree.job,
                own_group=self._own_group,
                share_handles=self.launch.share_handles,
            )
        except OSError as error:
            for descriptor in (end for pipe in pipes.values() for end in pipe):
                os.close(descriptor)
            raise self._start_error(error) from error
        for descriptor in set(theirs) - {-1}:
            os.close(descriptor)
        self.tree.grow_from(process, joined=True)
        for kind, (read, write) in pipes.items():
            if kind == streams.FEED_PIPE:
                self.stdin_pipe = write
                continue
            number = kinds.index(kind)
            self.pumps.append(
                PipePump(self.loop, read, _NAMES[number], self._output(number), self._deliver, self._on_broken)
            )
        return process

    def _output(self, number: int) -> Output | None:
        if self._deliver is not None or self.rows[number].kind == streams.CLOSED:
            return None
        return Output(self.rows[number], self._places.get(number) or Place())

    def _start_error(self, error: OSError) -> RprunError:
        name = os.fsdecode(self.launch.argv[0])
        number = getattr(error, "winerror", None)
        if number in _NOT_FOUND:
            return NotFound(f"cannot run {name}: {error.strerror} (check the path)")
        if number is None or number in _NO_MEMORY:
            return RprunError(
                f"cannot start {name}: {error.strerror} (is there no memory, or are there no handles left?)"
            )
        return NotExecutable(f"cannot run {name}: {error.strerror} (is it an executable file?)")

    # -- while it runs

    def _noted(self) -> None:
        """Bytes have moved; on any thread."""
        self._last = monotonic()
        if self.note is not None:
            self.note()

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the command's console."""
        if self.terminal is not None:
            self.terminal.resize(columns, rows)

    @property
    def can_be_asked(self) -> bool:
        """There is a way to ask the command, and nobody else, to end."""
        return self._own_group or self.terminal is not None

    def ask(self) -> bool:
        """Ask the command to end, by ^Break, to all in its console or group; False where that cannot be."""
        if self.terminal is not None and self.status is None:
            # It takes a process, and that takes its time.
            threading.Thread(target=console.break_console_of, args=(self.pid,), daemon=True).start()
            return True
        return self._own_group and console.break_group(self.pid)

    def interrupt(self) -> None:
        """Send it ^C as far as that can be done: typed where it has a console, else ^Break."""
        if self.terminal is not None:
            try:
                self.terminal.write("\x03")
            except BrokenPipeError:
                pass
        else:
            self.ask()

    def kill(self) -> None:
        """End the command itself."""
        if self._process is not None and self.status is None:
            self._process.terminate(ENDED)

    def _on_broken(self, pump: Pump, error: OSError) -> None:
        """A destination takes no more bytes. The pump has let go of its source, and the command finds out by that."""
        if not reader_is_gone(error) and self.failure is None:
            stream = "standard error" if pump.name == "stderr" else "standard output"
            self.failure = RprunError(
                f"cannot write to {stream}: {error.strerror} (what the command wrote from there on is lost)"
            )

    # -- the end

    def _wait(self, process: ProcessHandle) -> None:
        """Wait for the command's end; in a thread."""
        status = process.wait()
        # Before the loop hears of it: from now on, a read that gives nothing means something.
        if self.terminal is not None:
            self.terminal.over.set()
        self.loop.post(partial(self._on_exit, status))

    def _on_exit(self, status: int) -> None:
        self.status = status
        self.status_known = not isinstance(self._process, _Ended) or self._process.known
        self._last = monotonic()
        if self._feed is not None:
            self._feed.stop()
        if self.drain != FOREVER:
            self.loop.set_timer("drain", max(self.drain, MOMENT), self._look_whether_it_ended)

    def _look_whether_it_ended(self) -> None:
        if any(pump.busy for pump in self.pumps):
            # A slow reader of ours is waited for, however long: he gets what the command itself has written.
            left = MOMENT
        elif not self.tree.living():
            # What is in the console or pipe now is the command's own.
            left = SILENCE - (monotonic() - self._last)
        elif self.drain <= 0:
            left = MOMENT - (monotonic() - self._last)
        else:
            left = 0.0
        if left > 0:
            self.loop.set_timer("drain", left, self._look_whether_it_ended)
        else:
            self.stop_waiting()

    def wait_for_tree(self) -> None:
        """Find out when nobody of the tree is left: `alone`."""
        threading.Thread(target=self._wait_for_tree, name="rprun-tree", daemon=True).start()

    def _wait_for_tree(self) -> None:
        self.tree.wait()
        self.loop.post(self._on_alone)

    def _on_alone(self) -> None:
        self.alone = True

    def has_been_reaped(self) -> bool:
        """Tell whether the command has ended."""
        return self.status is not None

    def stop_waiting(self) -> None:
        """Nobody wants to wait for descendants any longer, once the command has ended."""
        self.waited_enough = True
        if any(pump.busy for pump in self.pumps):
            self.loop.set_timer("drain", MOMENT, self.stop_waiting)

    def ended(self) -> bool:
        """Tell whether the command has ended and everything it wrote is where it belongs."""
        if self.status is None:
            return False
        if self.waited_enough:
            for pump in self.pumps:
                if not pump.ended and not pump.busy:
                    self.cut = True
                    pump.end()
        return all(pump.ended for pump in self.pumps)

    def close_stdin(self) -> None:
        """End the input of a command whose stdin is a pipe of ours."""
        descriptor, self.stdin_pipe = self.stdin_pipe, -1
        if descriptor >= 0:
            os.close(descriptor)

    def close(self, *, spare: bool) -> None:
        """Let go of everything. A command that still runs is ended, and its tree with it.

        Args:
            spare: descendants of one that has ended live on.
        """
        over = self.status is not None
        if self._feed is not None:
            self._feed.stop()
        for pump in self.pumps:
            pump.end()
        if not over:
            self.tree.end()
            self.kill()
        self.tree.close(spare=over and spare)
        self.close_stdin()
        if self.terminal is not None:
            if self.cut or not over:
                self.terminal.cancel()
            else:
                self.terminal.close()
        if self._process is not None and over:
            self._process.close()


class _Ended(ProcessHandle):
    """A command in a console that had ended before it could be opened: only pywinpty knows its status."""

    def __init__(self, terminal: Terminal) -> None:
        self.pid = terminal.pid
        status = terminal.status()
        self.known = status is not None
        self._status = status or 0

    def wait(self) -> int:
        return self._status

    def terminate(self, code: int) -> None:
        """Nothing is left to be ended."""

    def close(self) -> None:
        """Nothing is held."""

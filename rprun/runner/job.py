"""The command and the user's terminal as one job: foreground and background, ^Z and `fg`, sizes, keys.

Some facts about that:

- A command that was started in the background, or is resumed there, is put into the background of its own terminal
  as well. When it wants to read, the kernel stops it (SIGTTIN) as it would have on the user's terminal, and that is
  how we hear of it: if we have been brought to the foreground meanwhile it simply goes on there.
- Keys are read when rprun's stdin is the terminal. When it is not (`list | rprun less`), they are left alone until
  the command wants them; see `interest.py`.
- The kernel stops a whole foreground group at ^Z, the shell of a script included. So do we.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from _signal import SIG_BLOCK, SIG_SETMASK, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, pthread_sigmask

from rprun.runner.loop import READ
from rprun.transport import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rprun.runner.execution import Execution
    from rprun.runner.interest import KeyInterest
    from rprun.runner.keyboard import Keyboard
    from rprun.runner.terminal import Terminal
    from rprun.transport.pty import Pty
    from rprun.transport.streams import Stream

DEFAULT_SIZE = (80, 24)


class Job:
    """Joins an `Execution` to the terminal among rprun's own streams, if there is one.

    Attributes:
        terminal: the user's terminal that stands behind the command's, None where there is none.
        has_limits: the command is to be ended after a time, which takes a process that runs.
        stdin_is_data: our stdin is a terminal on which an rprun outside quotes data for us, and no keyboard.
        keyboard: carries its keys, None until keys are read.
    """

    def __init__(self, execution: Execution, rows: tuple[Stream, Stream, Stream], *, own_signals: bool) -> None:
        """Find the terminal.

        Args:
            execution: the command.
            rows: rprun's own streams.
            own_signals: this process may change its signal handlers (the main thread of a program of its own).
        """
        self.execution = execution
        self.rows = rows
        self.own_signals = own_signals
        self.terminal: Terminal | None = None
        self.keyboard: Keyboard | None = None
        self.stdin_is_data = False
        self.fixed_size = False
        self._found_in_background: list[Any] | None = None  # the PTY's modes, when started there
        self.has_limits = False
        self._resuming = False
        self.pass_on_signals: Callable[[], None] = _nothing
        self._interest: KeyInterest | None = None  # while it is open whether the command wants keys
        execution.on_stopped = self._on_stopped
        execution.on_reaped = self._on_reaped
        execution.on_hangup = self._close_keyboard

    def find_terminal(self) -> None:
        """Take note of the first terminal among stdin, stdout and stderr."""
        for stream in self.rows:
            if stream.kind == streams.TTY:
                from rprun.runner.terminal import Terminal
                from rprun.transport.pty import carries_data

                is_output = self.rows[1].kind == streams.TTY and self.rows[1].identity == stream.identity
                self.terminal = Terminal(stream.fd, is_output=is_output)
                self.stdin_is_data = stream.fd == 0 and carries_data(self.terminal.attributes())
                return

    def size(self, asked: tuple[int, int] | None) -> tuple[int, int]:
        """Return the size for the PTY: what was asked for, else the terminal's, else 80x24; never 0x0."""
        if asked is not None:
            self.fixed_size = True
            return asked
        if self.terminal is not None:
            columns, rows = self.terminal.size()
            if columns and rows:
                return columns, rows
        return DEFAULT_SIZE

    def attributes(self) -> list[Any] | None:
        """Return the terminal attributes for a PTY that stands in for the user's terminal, None without one."""
        if self.terminal is None or self.stdin_is_data:
            return None
        from rprun.runner.terminal import cooked

        attributes = self.terminal.attributes()
        if self.rows[0].kind == streams.TTY and self.terminal.in_foreground():
            return attributes
        return cooked(attributes)

    def start(self, ends: tuple[str, str, str], *, reads_stdin: bool) -> None:
        """Start the command, in the foreground or background as rprun itself is.

        Args:
            ends: what the command's streams are.
            reads_stdin: what comes in on our own stdin is the command's.

        Raises:
            RprunError: as for `Execution.start`.
        """
        execution, terminal = self.execution, self.terminal
        reads_keys = (
            reads_stdin
            and execution.ends.pty is not None
            and ends[0] == streams.PTY
            and self.rows[0].kind == streams.TTY
            and not self.stdin_is_data
        )
        if terminal is not None and execution.ends.pty is not None:
            execution.launch.foreground = terminal.in_foreground()
            if reads_keys:
                self._open_keyboard(terminal, execution.ends.pty)
            if reads_keys and execution.launch.foreground and self.keyboard is not None:
                self._take_terminal(terminal, self.keyboard)
            elif reads_keys:
                self._found_in_background = execution.ends.pty.attributes()
        self._mark_cooked()
        execution.start()
        if execution.ends.pty is None or not reads_stdin:
            return
        if self.keyboard is not None:
            self._start_keyboard()
        elif ends[0] == streams.PTY:
            execution.feed_from(self.rows[0])
        elif terminal is not None:
            from rprun.runner.interest import KeyInterest

            self._interest = KeyInterest(
                execution.loop,
                terminal,
                next(pump for pump in execution.ends.terminals if pump.pty is execution.ends.pty),
                execution.monitor.pid if execution.monitor is not None else 0,
                self._on_keys_wanted,
                self._on_shown_otherwise,
            )

    def relay_keys(self) -> None:
        """Run the loop until the command has been reaped, with a short cut for its keys; not if it has no keyboard."""
        execution, keyboard = self.execution, self.keyboard
        if keyboard is not None:
            from rprun.runner.echo import relay

            screen = next(pump for pump in execution.ends.terminals if pump.pty is keyboard.pty)
            relay(execution.loop, keyboard, screen, execution.has_been_reaped)

    def _open_keyboard(self, terminal: Terminal, pty: Pty) -> None:
        from rprun.runner.keyboard import Keyboard

        self.keyboard = Keyboard(self.execution.loop, terminal.fd, pty, mirror=self.own_signals)
        self.keyboard.note = self.execution.note
        self.keyboard.on_hangup = self._on_terminal_gone
        self.keyboard.show = self._show

    def _show(self) -> None:
        """Show what the command's terminal has to show, as far as the user's takes it now."""
        for pump in self.execution.ends.terminals:
            if not pump.ended and (pump.output is None or not pump.output.pending):
                pump.on_readable(READ)

    def _take_terminal(self, terminal: Terminal, keyboard: Keyboard) -> None:
        if terminal.is_canonical() and terminal.in_foreground():
            keyboard.take_typed_ahead()
        terminal.take()

    def _start_keyboard(self) -> None:
        if self.keyboard is not None and self.terminal is not None:
            self.keyboard.command = self.execution.pid
            if self.terminal.taken:
                self.keyboard.start()

    def _on_terminal_gone(self) -> None:
        """The user's terminal has been hung up, and so is the command's."""
        pty = self.execution.ends.pty
        if pty is not None:
            self.execution.hang_up(pty)

    def _mark_cooked(self) -> None:
        """Tell the pumps whether the user's terminal ends lines itself at the moment, or may do so."""
        for pump in self.execution.ends.terminals:
            if pump.output is not None:
                to_terminal = pump.output.stream.kind == streams.TTY
                # The one that can be raw by our doing is our stdout.
                same = pump.output.stream.identity == self.rows[1].identity
                raw = same and self.terminal is not None and self.terminal.shows_raw
                pump.cooked = pump.output.stream.fd if to_terminal and not raw else -1

    def _on_keys_wanted(self) -> None:
        """The command wants keys although the terminal is not its stdin."""
        terminal, pty = self.terminal, self.execution.ends.pty
        self._stop_asking()
        if terminal is None or pty is None:
            return
        self._open_keyboard(terminal, pty)
        if self.keyboard is not None:
            self._take_terminal(terminal, self.keyboard)
            self.keyboard.send_what_was_echoed()
            self._mark_cooked()
            self._start_keyboard()

    def _on_shown_otherwise(self) -> None:
        """The command ends its lines differently from now on."""
        terminal = self.terminal
        if terminal is not None and terminal.is_output and not terminal.shows_raw and terminal.take(keys=False):
            self._mark_cooked()

    def _stop_asking(self) -> None:
        if self._interest is not None:
            self._interest.stop()
            self._interest = None

    # -- stopping and continuing

    def _on_stopped(self, _number: int) -> None:
        # On the loop, and not in the middle of whatever has brought the report up.
        self.execution.loop.set_timer("stopped", 0.0, self._follow_stop)

    def _follow_stop(self) -> None:
        """The command has been stopped: stop with it, as the one job that the shell sees."""
        # One to the whole group may reach us only now. Noted after the look below, it would be passed on when all go on
        # again, and stop the command a second time; pending, it becomes one with the stop that we make of ourselves.
        mask = pthread_sigmask(SIG_BLOCK, (SIGTSTP,) if self.own_signals else ())
        try:
            self._stop_too()
        finally:
            pthread_sigmask(SIG_SETMASK, mask)

    def _stop_too(self) -> None:
        execution, terminal = self.execution, self.terminal
        # A stop signal of our own that is still on its way to the monitor would stop the command a second time.
        self.pass_on_signals()
        # The report may be old: a SIGCONT to our whole group has continued the command already.
        number = execution.look_at_state()
        if not number:
            return
        if not self._must_stop_too():
            return
        if execution.ends.pty is None:
            self._suspend(number, whole_group=False)
            # What continued us has continued the command with the group, or is forwarded as any signal.
            self.pass_on_signals()
            return
        if number in (SIGTTIN, SIGTTOU) and terminal is not None and terminal.in_foreground():
            self.resume()
            return
        for pump in execution.ends.pumps:
            pump.drain_now()
        self._release_terminal()
        self._suspend(number, whole_group=number in (SIGTSTP, SIGTTIN, SIGTTOU))
        # Before the command goes on: a SIGTERM that came with the SIGCONT must be there when it reads, and stops again.
        self._resuming = True
        self.pass_on_signals()
        self._resuming = False
        self.resume()

    def _must_stop_too(self) -> bool:
        if not self.own_signals:
            # A program that runs commands goes on when one of them stops, unless its terminal is the command's too.
            return self.keyboard is not None
        # Stopped as well, we could not end the command in time, and without a shell nobody waits for us to stop.
        return not self.has_limits or _under_job_control()

    def _suspend(self, number: int, *, whole_group: bool) -> None:
        """Stop this process by the same signal, unless the command is continued before; return when continued."""
        if not self.own_signals:
            os.kill(os.getpid(), SIGSTOP)
            return
        from rprun.runner.suspension import Suspension

        suspension = Suspension(number, whole_group=whole_group)
        # A SIGCONT that came before it was made continues the command now, one that comes later undoes it.
        self.pass_on_signals()
        if self.execution.look_at_state():
            suspension.carry_out()
            return
        suspension.cancel()
        if whole_group:
            os.killpg(os.getpgrp(), SIGCONT)

    def on_continued(self) -> None:
        """A SIGCONT has come: it has ended a stop that is being dealt with, or one that nobody told us of."""
        if not self._resuming:
            self.resume()

    def resume(self) -> None:
        """Go on after a stop, or after a SIGCONT: in the foreground with the terminal taken, or without it."""
        execution, terminal = self.execution, self.terminal
        if execution.ends.pty is None or execution.status is not None:
            return
        foreground = True
        if terminal is not None:
            foreground = terminal.in_foreground()
            if not foreground:
                terminal.lost_foreground()
                if self.keyboard is not None:
                    self.keyboard.stop()
            elif self.keyboard is not None:
                self._adopt_attributes(terminal, execution.ends.pty)
                self._take_terminal(terminal, self.keyboard)
                self.keyboard.start()
            self._mark_cooked()
            self.resize()
        execution.order("resume " + ("foreground" if foreground else "background"))
        # Until that has been done, a ^Z among the next keys would be undone by it. The answer may be a new stop: a
        # background job that reads is stopped at once.
        if number := execution.look_at_state():
            self._on_stopped(number)

    def _adopt_attributes(self, terminal: Terminal, pty: Pty) -> None:
        """Give the command the terminal's modes when a background job first comes to the foreground.

        At its start they were those of whoever was in the foreground, such as a shell's line editor.
        """
        found, self._found_in_background = self._found_in_background, None
        if found is not None and pty.attributes() == found:
            pty.set_attributes(terminal.attributes())

    def resize(self) -> None:
        """Give the command's terminals the size of the user's."""
        if self.terminal is None or self.fixed_size:
            return
        columns, rows = self.terminal.size()
        if columns and rows:
            for pty in self.execution.ends.ptys:
                pty.resize(columns, rows)

    def _release_terminal(self) -> None:
        if self.keyboard is not None:
            self.keyboard.stop()
        if self.terminal is not None:
            self.terminal.give_back()
            self._mark_cooked()

    # -- the end

    def _on_reaped(self) -> None:
        """The command is gone: show the rest in the mode it was meant for, then return the terminal and its keys."""
        execution = self.execution
        if self._interest is not None:
            # Its end may be known of before anything that it has written has been looked at.
            self._interest.follow_output()
        self._stop_asking()
        for pump in execution.ends.pumps:
            pump.drain_now()
        if self.keyboard is not None and self.terminal is not None and self.terminal.taken:
            left = execution.ends.pty.take_unread(whole=True) if execution.ends.pty is not None else b""
            self.keyboard.stop()
            if left or self.keyboard.pending:
                self.terminal.push_back(left + self.keyboard.pending)
        if self.keyboard is not None and execution.status is not None and os.WIFSIGNALED(execution.status):
            self.keyboard.tell_of_death(os.WTERMSIG(execution.status))
        self._close_keyboard()
        if not any(pump.waits() for pump in execution.ends.pumps):
            self._release_terminal()

    def _close_keyboard(self) -> None:
        if self.keyboard is not None:
            self.keyboard.close()
            self.keyboard = None

    def close(self) -> None:
        """Give back the terminal and let go of everything."""
        self._stop_asking()
        self._close_keyboard()
        if self.terminal is not None:
            self.terminal.give_back()
        self.execution.close()


def _under_job_control() -> bool:
    """Tell whether a shell may be waiting for this process group to stop: it has a terminal's foreground."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _nothing() -> None:
    """Do nothing: this process's signals are not the command's."""

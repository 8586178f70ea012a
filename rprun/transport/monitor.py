"""The monitor: a small process between rprun and the command, the command's parent in every transport.

Some facts that make it necessary, most of them learnt by sudo's use_pty:

- A process group whose members' parents are all outside its session is orphaned, and the kernel drops SIGTSTP,
  SIGTTIN and SIGTTOU for it (POSIX 2.2.2.52). A command that is its session's leader and rprun's own child can
  therefore never be suspended. With the monitor as session leader and parent, it can.
- Without a PTY of its own the command stays in rprun's process group, and so does the monitor, with every signal
  blocked. A signal to the whole group (^C at the terminal, `kill -TERM -PGID`) is then pending here too, one to
  rprun alone is not: so a signal is passed on exactly when the command has not had it already. The kernel signals
  the newest member of a group first (`hlist_add_head` in attach_pid), thus the monitor before rprun.
- Only the parent can tell when a pid is free for reuse, so every signal to the command is sent from here.
- If rprun is killed, the control pipe ends and the monitor kills the command, as the SIGKILL would have.
- As child subreaper (prctl(2); on FreeBSD procctl(2)) it inherits every orphan of the tree, daemons in sessions of
  their own included. Where there is no such thing that is said, and the tree looked for by other means.

It answers over the report pipe, a line each; see `Monitor` in `handle.py`. It is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from _signal import (
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGTSTP,
    pthread_sigmask,
    set_wakeup_fd,
    sigpending,
    valid_signals,
)
from _signal import signal as set_handler
from errno import EINVAL

from rprun.transport import streams
from rprun.transport.command import ChildFailed, Launch, become, open_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def serve(launch: Launch, control: int, reports: int) -> NoReturn:
    """Start the command, be its parent, and do what the control pipe says until it says `bye` or ends.

    Must be called in a process of its own, single-threaded, with every signal blocked.
    """
    status = 1
    monitor = _Monitor(launch, control, reports)
    try:
        status = monitor.run()
    except BrokenPipeError:
        # rprun was killed with a report on its way to it; or it is done, and has not waited for the last one.
        if monitor.pid:
            monitor.kill(SIGKILL)
        else:
            monitor.release_terminal()
        status = 0
    except OSError as error:
        # Out of descriptors, processes or memory before the command could be started.
        if not monitor.pid:
            monitor.report(b"fail start %d\n" % (error.errno or EINVAL))
            status = 0
    finally:
        os._exit(status)


class _Monitor:
    def __init__(self, launch: Launch, control: int, reports: int) -> None:
        self.launch = launch
        self.control = control
        self.reports = reports
        self.pid = 0  # the command, 0 once it has been reaped
        self.stopped = 0  # the signal that it is stopped by, 0 while it runs
        self.stopping_group = 0  # has been sent a SIGTSTP, and the command has not stopped yet
        self.inner_group = 0  # foreground group of the terminal when the command stopped
        self.commands = b""
        self.alone = False  # no descendant is left, and that has been reported

    def run(self) -> int:
        if self.launch.tty >= 0:
            _lead_session(self.launch.tty)
        if self.launch.subreaper and not _become_reaper():
            self.report(b"scattered\n")
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        set_handler(SIGCHLD, _noted)
        failure = self.start_command()
        if failure:
            self.report(failure)
            return 0
        _close_all_but(self.control, self.reports, wake_read, wake_write)
        self.report(b"pid %d\n" % self.pid)
        pthread_sigmask(SIG_UNBLOCK, (SIGCHLD,))
        poller = streams.Poll()
        poller.register(self.control, streams.READABLE)
        poller.register(wake_read, streams.READABLE)
        while True:
            # Always looked for once before the first wait: the command may have ended before the handler was up.
            self.reap()
            if self.alone and not self.pid and self.launch.tty < 0:
                # Nobody is left to be signalled or waited for, nor a terminal to be kept: rprun need not send a word.
                return 0
            for descriptor, _ in poller.poll():
                if descriptor == wake_read:
                    os.read(wake_read, 512)
                elif not self.obey():
                    return 0

    def start_command(self) -> bytes:
        """Fork the command; return the report of what failed, or nothing once exec has succeeded."""
        # The write end closes with a successful exec; until then it carries the child's failure.
        outcome, outcome_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                become(self.launch)
            except ChildFailed as error:
                os.write(outcome_write, b"fail %s %d\n" % (error.step.encode(), error.errno))
            finally:
                os._exit(127)
        os.close(outcome_write)
        failure = b""
        while chunk := os.read(outcome, 512):
            failure += chunk
        os.close(outcome)
        if failure:
            os.waitpid(pid, 0)
        self.pid = pid
        return failure

    def reap(self) -> None:
        """Report every change of the command's state, and the end of the last descendant."""
        flags = os.WNOHANG | os.WUNTRACED | os.WCONTINUED
        while True:
            try:
                pid, status = os.waitpid(-1, flags)
            except ChildProcessError:
                if not self.alone:
                    self.alone = True
                    self.report(b"empty\n")
                return
            if pid == 0:
                return
            if pid != self.pid:
                continue
            if os.WIFSTOPPED(status):
                self.stopped = os.WSTOPSIG(status)
                self.stopping_group = 0
                self.remember_foreground()
                self.report(b"stop %d\n" % self.stopped)
            elif os.WIFCONTINUED(status):
                self.stopped = 0
                self.report(b"cont\n")
            else:
                self.pid = 0
                self.report(b"exit %d\n" % status)

    def obey(self) -> bool:
        """Carry out what the control pipe says; False when there is nothing more to do here."""
        received = os.read(self.control, 4096)
        if not received:
            self.kill(SIGKILL)
            return False
        *lines, self.commands = (self.commands + received).split(b"\n")
        for line in lines:
            verb, _, argument = line.partition(b" ")
            if verb == b"forward":
                self.forward(int(argument))
            elif verb == b"stop-and-continue":
                self.stop_and_continue()
            elif verb == b"signal":
                self.kill(int(argument))
            elif verb == b"foreground-signal":
                self.kill_foreground(int(argument))
            elif verb == b"resume":
                self.resume(in_foreground=argument == b"foreground")
            elif verb == b"state":
                self.reap()
                self.report(b"state %d\n" % self.stopped)
            elif verb == b"bye":
                self.release_terminal()
                return False
        return True

    def forward(self, number: int) -> None:
        """Send on a signal that rprun got, unless the whole group, and so the command, has had it already."""
        if _take(number):
            return
        # The kernel discards a stop signal that is pending when SIGCONT comes, and the other way round. What was sent
        # to the whole group behind this one has so undone it for the command too.
        undone_by = {SIGCONT: SIGTSTP, SIGTSTP: SIGCONT}.get(number, 0)
        if undone_by not in sigpending():
            self.kill(number)
            if undone_by in sigpending():
                # It has come in between, and the command may have had it before what it undoes.
                self.kill(undone_by)

    def stop_and_continue(self) -> None:
        """Send on a SIGTSTP and a SIGCONT that rprun got so close together that it cannot tell which was first.

        If they went to the whole group, the command has had both, and the later one is pending here. Otherwise the
        command goes on: nobody might send it another SIGCONT.
        """
        if not (_take(SIGTSTP) or _take(SIGCONT)):
            self.kill(SIGTSTP)
            self.kill(SIGCONT)

    def kill(self, number: int) -> None:
        if self.pid:
            try:
                os.kill(self.pid, number)
            except OSError:
                # A setuid command is out of reach for its caller's signals (EPERM), with or without rprun.
                pass

    def kill_foreground(self, number: int) -> None:
        group = self.foreground_group()
        if group in (0, os.getpgrp()):
            # Nobody is in the foreground: the command was started or continued in the background.
            group = self.inner_group or self.pid
        if group:
            if number == SIGTSTP:
                self.stopping_group = group
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                self.kill(number)

    def resume(self, *, in_foreground: bool) -> None:
        """Continue the command, if it is stopped or about to be, in the foreground or background of its terminal.

        One that runs gets no SIGCONT: nested runs would pass it on and on, and a late one undoes the next ^Z.
        """
        self.reap()
        if self.launch.tty < 0:
            if self.stopped:
                self.kill(SIGCONT)
            return
        group = self.inner_group or self.pid
        if in_foreground:
            # A command that was not stopped may have moved the foreground itself, as a shell does for its jobs.
            if self.stopped or self.foreground_group() in (0, os.getpgrp()):
                self.set_foreground_group(group)
        elif self.stopped:
            self.set_foreground_group(os.getpgrp())
        if self.stopped or self.stopping_group:
            for target in {group, self.pid, self.stopping_group} - {0}:
                try:
                    os.killpg(target, SIGCONT)
                except (ProcessLookupError, PermissionError):
                    pass
            self.stopping_group = 0

    def remember_foreground(self) -> None:
        """Keep the group to give the terminal back to: a shell inside may have put a job there."""
        group = self.foreground_group()
        if group and group != os.getpgrp():
            self.inner_group = group

    def foreground_group(self) -> int:
        terminal = self.open_terminal()
        if terminal < 0:
            return 0
        try:
            return os.tcgetpgrp(terminal)
        except OSError:
            return 0
        finally:
            os.close(terminal)

    def set_foreground_group(self, group: int) -> None:
        terminal = self.open_terminal()
        if terminal >= 0:
            try:
                os.tcsetpgrp(terminal, group)
            except OSError:
                pass
            finally:
                os.close(terminal)

    def open_terminal(self) -> int:
        """Open the controlling terminal for a moment: a lasting descriptor would keep its end of file away."""
        if self.launch.tty < 0:
            return -1
        try:
            return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return -1

    def release_terminal(self) -> None:
        """Leave the terminal to the monitor's own group, so that what outlives the command gets no SIGHUP.

        When a session's leader exits, the kernel hangs up the terminal's foreground group.
        """
        self.set_foreground_group(os.getpgrp())

    def report(self, line: bytes) -> None:
        os.write(self.reports, line)


def _lead_session(tty: int) -> None:
    from fcntl import ioctl
    from termios import TIOCSCTTY

    os.setsid()
    ioctl(tty, TIOCSCTTY, 0)


def _become_reaper() -> bool:
    """Have orphaned descendants become children of this process; False where the system does not do that."""
    try:
        if sys.platform == "linux":
            from rprun.linux.process import set_child_subreaper

            set_child_subreaper()
        else:
            from rprun.bsd.reaper import become_reaper

            become_reaper()
    except (OSError, ImportError):
        return False
    return True


def _close_all_but(*kept: int) -> None:
    """Close every inherited descriptor: a pipe held open here would hide its end of file from its reader."""
    for number in open_descriptors():
        if number not in kept:
            try:
                os.close(number)
            except OSError:
                # The descriptor of the listing itself is closed by now.
                pass


def _take(number: int) -> bool:
    """Take back a signal that is pending here; False where none is."""
    # In one step: a SIGTSTP that a SIGCONT discards between a look and sigwait would be waited for in vain.
    if sys.platform == "linux":
        from signal import sigtimedwait

        return sigtimedwait((number,), 0) is not None
    # macOS and OpenBSD have no sigtimedwait(2): what is pending comes in a moment in which it is not blocked.
    taken: list[int] = []
    before = set_handler(number, lambda came, _frame: taken.append(came))
    pthread_sigmask(SIG_UNBLOCK, (number,))
    pthread_sigmask(SIG_BLOCK, (number,))
    set_handler(number, before)
    return bool(taken)


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: what counts is the byte that CPython's handler puts into the wakeup pipe."""


def block_all_signals() -> set[int]:
    """Block every signal; return the mask as it was."""
    return {int(number) for number in pthread_sigmask(SIG_BLOCK, valid_signals())}

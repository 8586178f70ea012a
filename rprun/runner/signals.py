"""Signals to rprun, passed on to the command as they are.

Which of them the command has had already, because they went to the whole process group, is for the monitor to tell
(see `monitor.py`). Where the command has a terminal of its own it is in another group: signals that come from
terminals and shells (INT, QUIT, HUP, TSTP) go to the foreground group of that terminal, any other to the command.

A signal that was ignored when rprun started stays ignored, here and in the command. This module is on the start-up
path: `signal` would import `enum`, so the built-in `_signal` is used.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from _signal import (
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIGABRT,
    SIGALRM,
    SIGCHLD,
    SIGCONT,
    SIGHUP,
    SIGINT,
    SIGPIPE,
    SIGQUIT,
    SIGTERM,
    SIGTSTP,
    SIGUSR1,
    SIGUSR2,
    SIGWINCH,
    SIGXFSZ,
    getsignal,
    pthread_sigmask,
    set_wakeup_fd,
    signal,
    valid_signals,
)

from rprun.runner.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.runner.job import Job
    from rprun.runner.loop import Loop
    from rprun.transport.command import Launch

# What a terminal or a shell sends to a whole group.
_OF_TERMINALS = (SIGINT, SIGQUIT, SIGHUP, SIGTSTP)
# Signals whose default is to kill, stop or continue. Not passed on: those that report a fault of the receiver's own
# (SEGV, BUS, FPE, ILL, TRAP, SYS), those the kernel sends to rprun for its own doing (CHLD, PIPE, XCPU, XFSZ, TTIN,
# TTOU), and those that cannot be caught.
_PASSED_ON = [SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH]


def _platform_signals() -> list[int]:
    import _signal

    names = ("SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT", "SIGURG", "SIGINFO")
    found = [getattr(_signal, name, 0) for name in names]
    first, last = getattr(_signal, "SIGRTMIN", 0), getattr(_signal, "SIGRTMAX", -1)
    return [int(number) for number in (*found, *range(first, last + 1)) if number]


class Signals:
    """This process's signals while it runs a command.

    Attributes:
        mask: what was blocked when rprun started.
        ignored: what was ignored.
        caught: what is passed on.
    """

    def __init__(self) -> None:
        """Block everything and take note of what the caller has set up; `restore` or a death undoes it.

        The standard streams must be occupied before: see `streams.survey`.
        """
        self.mask = pthread_sigmask(SIG_BLOCK, valid_signals())
        # CPython ignores SIGPIPE and SIGXFSZ whatever it was given, so what the caller wanted cannot be known.
        self.ignored = [
            number for number in self.mask_of_all() if getsignal(number) == SIG_IGN and number not in (SIGPIPE, SIGXFSZ)
        ]
        self.caught = [number for number in (*_PASSED_ON, *_platform_signals()) if number not in self.ignored]
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self.caught:
            signal(number, _noted)
        if SIGCHLD in self.ignored:
            # Ignored, it would make the kernel throw away the status of every child.
            signal(SIGCHLD, SIG_DFL)
        self._job: Job | None = None

    @staticmethod
    def mask_of_all() -> list[int]:
        """Return the numbers of all signals."""
        return sorted(int(number) for number in valid_signals())

    def describe(self, launch: Launch) -> None:
        """Tell how the command is to find its signals."""
        launch.mask, launch.ignored, launch.caught = list(self.mask), self.ignored, self.caught

    def attach(self, loop: Loop) -> None:
        """Be the first on the loop: a resize or a stop comes before the keys that were typed after it."""
        loop.watch(self._read, READ, self._on_signals)

    def begin(self, job: Job) -> None:
        """Pass signals on to the command from now on."""
        self._job = job
        job.pass_on_signals = self.pass_on
        pthread_sigmask(SIG_SETMASK, self.mask)

    def _on_signals(self, _event: int) -> None:
        self.pass_on()

    def pass_on(self) -> None:
        """Pass on what has arrived, each signal once.

        In no certain order: a handler that is interrupted by another's before its first instruction is the later to
        write its byte. Of a SIGTSTP and a SIGCONT that come together the SIGCONT counts, unless it can be told.
        """
        try:
            numbers = dict.fromkeys(os.read(self._read, 4096))
        except BlockingIOError:
            return
        if SIGTSTP in numbers and SIGCONT in numbers and self._job is not None:
            del numbers[SIGTSTP]
            execution = self._job.execution
            if execution.status is None and not execution.has_terminal:
                del numbers[SIGCONT]
                execution.order("stop-and-continue")
        for number in numbers:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        job = self._job
        if job is None:
            return
        execution = job.execution
        if execution.status is not None:
            # The command has ended; what is left is the wait for descendants that hold its terminal.
            if number in (SIGINT, SIGTERM, SIGHUP, SIGQUIT):
                execution.stop_waiting()
        elif not execution.has_terminal:
            execution.order(f"forward {number}")
        elif number == SIGWINCH:
            job.resize()
        elif number == SIGCONT:
            job.on_continued()
        elif number in _OF_TERMINALS:
            execution.order(f"foreground-signal {number}")
        else:
            execution.order(f"signal {number}")

    def restore(self) -> None:
        """Return to the mask that rprun was started with."""
        set_wakeup_fd(-1)
        pthread_sigmask(SIG_SETMASK, self.mask)


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: what counts is the byte that CPython's handler puts into the wakeup pipe."""

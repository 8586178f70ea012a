"""A stop of this process, as its command has been stopped, that a SIGCONT sent meanwhile undoes.

Stopped a moment after the SIGCONT that was to end the stop, a process stays stopped, for nobody sends another. So the
stop signal is made pending first, blocked, and then it is looked once more whether the command is stopped still: a
SIGCONT sent from then on discards the pending signal (kernel/signal.c, prepare_signal; POSIX 2.4.1), and unblocking
it stops nothing. This module is on the path of a stop only.
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
    SIG_UNBLOCK,
    SIGSTOP,
    SIGTSTP,
    pthread_sigmask,
    signal,
    sigpending,
)


class Suspension:
    """A stop signal that is pending for this process. Main thread only, for it changes the signal's handler."""

    def __init__(self, number: int, *, whole_group: bool) -> None:
        """Make it pending.

        Args:
            number: SIGTSTP, SIGTTIN, SIGTTOU or SIGSTOP.
            whole_group: stop the other members of this process's group too, at once.
        """
        self._number = number
        # SIGSTOP cannot be blocked: another one waits in its place.
        self._pending = SIGTSTP if number == SIGSTOP else number
        self._mask = pthread_sigmask(SIG_BLOCK, (self._pending,))
        self._handler = signal(self._pending, SIG_DFL)
        if whole_group:
            os.killpg(os.getpgrp(), number)
        else:
            os.kill(os.getpid(), self._pending)

    def carry_out(self) -> None:
        """Stop, and return when continued; return at once if a SIGCONT has been sent since it was made pending."""
        if self._number != SIGSTOP:
            pthread_sigmask(SIG_UNBLOCK, (self._pending,))
        elif self._pending in sigpending():
            # A SIGCONT in between these two would come too early: the one gap that is left.
            os.kill(os.getpid(), SIGSTOP)
        self.cancel()

    def cancel(self) -> None:
        """Take the signal back, if it is pending still."""
        # Whatever is pending of a signal is discarded as soon as it is ignored (POSIX 2.4.3).
        signal(self._pending, SIG_IGN)
        signal(self._pending, self._handler)
        pthread_sigmask(SIG_SETMASK, self._mask)

"""The death of rprun itself, after a command that has died of a signal."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from _signal import SIG_DFL, SIG_UNBLOCK, pthread_sigmask, signal


def die_of(number: int) -> None:
    """Die of a signal as the command has, so that whoever waits for rprun sees the same death.

    Without a core dump: the command has had its own. Returns where the signal does not kill (a caller that ignores
    it, or a pid namespace's first process); the exit status says 128 plus the signal then.
    """
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        signal(number, SIG_DFL)
    except (OSError, ValueError):
        # SIGKILL has no disposition to reset; a real-time signal of the C library's own cannot be touched.
        pass
    pthread_sigmask(SIG_UNBLOCK, (number,))
    os.kill(os.getpid(), number)

"""A process that ends because of a signal ends by that signal, so that its caller's loop stops too."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn
else:
    import _signal


def die_of(name: str) -> NoReturn:
    """End this process by the signal of this name, with 128+N where that cannot be."""
    number = int(getattr(_signal, name, 0))
    if number:
        _signal.signal(number, _signal.SIG_DFL)
        # Directly: a mask may be inherited, and a blocked signal would leave the process running.
        if sys.platform != "win32":
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(128 + number)

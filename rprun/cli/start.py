"""Where the command line hands over to the run of this platform.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.runner.options import RunOptions

_OBJECTS = 50_000
"""How many objects, more than have gone, there may be before garbage is looked for."""


def start(options: RunOptions) -> int:
    """Run the command; return the exit status, or die as the command died.

    Raises:
        RprunError: rprun itself failed, or a backend that was asked for sees nothing.
    """
    if options.observe:
        import gc

        # Events come by thousands and hold no circles: to look for some every 700 objects would find none.
        gc.set_threshold(_OBJECTS)
        from rprun.backends.registry import expect_run

        # Before anything is asked what it can see, and before all that has to be done besides.
        expect_run(options.observe, dict(options.backends), sys.platform)
    if options.backends:
        from rprun.observe.capabilities import ObserverCapabilities

        backends = dict(options.backends)
        ObserverCapabilities.negotiate(backends).require_backends(backends)
    if sys.platform == "win32":
        from rprun.runner.windows.session import run
    else:
        from rprun.runner.session import run

    return run(options)

"""Where the command line hands over to the run of this platform.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.runner.options import RunOptions


def start(options: RunOptions) -> int:
    """Run the command; return the exit status, or die as the command died.

    Raises:
        RprunError: rprun itself failed, or a backend that was asked for sees nothing.
    """
    if options.observe:
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

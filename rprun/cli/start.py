"""Where the command line hands over to the run, on the platforms that have one.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

from rprun.errors import RprunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.runner.options import RunOptions


def start(options: RunOptions) -> int:
    """Run the command; return the exit status, or die as the command died.

    Raises:
        RprunError: rprun itself failed, this platform has no transport, or a backend that was asked for sees nothing.
    """
    if options.observe:
        from rprun.backends.registry import expect_run

        # Before anything is asked what it can see, and before all that has to be done besides.
        expect_run(options.observe, dict(options.backends), sys.platform)
    if options.backends:
        from rprun.observe.capabilities import ObserverCapabilities

        backends = dict(options.backends)
        ObserverCapabilities.negotiate(backends).require_backends(backends)
    if sys.platform != "win32":
        from rprun.runner.session import run

        return run(options)
    raise RprunError("cannot run commands on Windows: this version has no transport for it (use Linux or macOS)")

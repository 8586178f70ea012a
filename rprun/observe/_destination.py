"""The seam between systems: a destination of events, as this one has it."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from rprun.observe._destination_windows import Destination, complain
else:
    from rprun.observe._destination_posix import Destination, complain

__all__ = ["Destination", "complain"]

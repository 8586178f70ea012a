"""The tests of this room look at processes by way of /proc, and are about what Linux shows there."""

from __future__ import annotations

import sys

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]

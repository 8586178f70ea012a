"""The tests of this room are about kernels of Linux."""

from __future__ import annotations

import sys

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]

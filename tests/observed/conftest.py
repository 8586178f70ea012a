"""The tests of this room need a kernel that can do it."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]
else:
    from observing import unavailable

    @pytest.fixture(autouse=True)
    def works_here() -> None:
        """Skip where observation is unavailable, with its own reason."""
        if reason := unavailable():
            pytest.skip(f"seccomp user notification is unavailable: {reason}")

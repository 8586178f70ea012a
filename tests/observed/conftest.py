"""The tests of this room need a kernel that can do it."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]
else:
    from typing import TYPE_CHECKING

    from by_interpreter import executable
    from observing import unavailable

    if TYPE_CHECKING:
        from pathlib import Path

    @pytest.fixture(autouse=True)
    def works_here() -> None:
        """Skip where observation is unavailable, with its own reason."""
        if reason := unavailable():
            pytest.skip(f"seccomp user notification is unavailable: {reason}")

    @pytest.fixture(params=["machine code", "interpreter"])
    def answered_by(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """Have the usual calls be answered by either; for tests that both must pass."""
        if request.param == "interpreter":
            monkeypatch.setenv("RPRUN", executable(tmp_path))
        by: str = request.param
        return by

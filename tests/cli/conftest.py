"""Running the command line as a user does: as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would change how output looks."""
    unwanted = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM", "RPRUN_DEBUG", "PYTHONUTF8")
    return {name: value for name, value in os.environ.items() if name not in unwanted} | changes


@pytest.fixture
def rprun() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """`rprun(*arguments, env=..., **subprocess options)` run to its end, with its output as bytes."""

    def start(*arguments: str | bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
        settings: dict[str, object] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "env": clean_environment(),
            "check": False,
            "timeout": 60,
        }
        return subprocess.run([sys.executable, "-m", "rprun", *arguments], **(settings | options))  # type: ignore[call-overload, no-any-return]  # noqa: PLW1510

    return start

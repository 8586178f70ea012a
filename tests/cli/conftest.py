"""Running the command line as a user does: as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from running import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable


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

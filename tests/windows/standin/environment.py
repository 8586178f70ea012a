"""In the place of `rprun.windows.environment`."""

from __future__ import annotations

import os


def command_line() -> str:
    return os.environ.get("RPRUN_COMMAND_LINE", "")


def environment() -> list[str]:
    return [f"{name}={value}" for name, value in os.environ.items()]

"""How rprun gets onto the PATH, which is not the same everywhere; hatchling calls this when it builds.

An entry point becomes a program of the installer's making: an .exe on Windows, where nothing else would start, and on
other systems a Python script that imports `re`, which costs half of what a bare interpreter takes to start. So there
the wheel has a script of our own. Entry points cannot depend on the system that a wheel is installed on, and one of the
same name would take the script's place. So there are two kinds of wheels: `py3-none-any`, and one for each kind of
Windows, which pip prefers there. Which one is built is a matter of where, or of RPRUN_WHEEL:
`RPRUN_WHEEL=win_amd64 python -m build --wheel`.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


def _windows() -> str:
    """Return the tag of the Windows that is built for, nothing for any other system."""
    asked = os.environ.get("RPRUN_WHEEL", "")
    if asked or sys.platform != "win32":
        return asked
    return sysconfig.get_platform().replace("-", "_")


class Scripts(MetadataHookInterface):
    """Sets the entry point, where there is to be one."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Sets it."""
        if _windows():
            metadata["scripts"] = {"rprun": "rprun.__main__:main"}


class Wheel(BuildHookInterface[Any]):
    """Puts the script into the wheel, or names the system that it is for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's interface
        """Does so; called before each wheel is built."""
        tag = _windows()
        if tag:
            build_data["tag"] = f"py3-none-{tag}"
        else:
            build_data["shared_scripts"] = {"scripts/rprun": "rprun"}

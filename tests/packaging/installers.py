"""The installers that people use, each with a home directory of its own, and what a login there has afterwards.

They find everything on this machine: the package where it was built, and what it depends on in a directory of wheels.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shells import needs

if TYPE_CHECKING:
    from collections.abc import Callable

# The Python that things are installed for: not the one of a venv, which has no users.
PYTHON: str = getattr(sys, "_base_executable", sys.executable)
SYSTEM = "/usr/local/bin:/usr/bin:/bin"
# Debian's Python wants to be asked twice before pip installs for a user.
_FORCED = ["--break-system-packages"] if Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists() else []


@dataclass
class Installed:
    """Where somebody has installed rprun, and what that person's programs know of it.

    Attributes:
        home: the home directory; everything is below it.
        environment: of a login.
        executable: what is run as `rprun`.
        share: where man page and completions are.
        seen_by: who finds them without more: of `man`, `fish` and `bash`, the latter of any age.
        uninstall: the command that takes it away again.
    """

    home: Path
    environment: dict[str, str]
    executable: Path
    share: Path
    seen_by: set[str]
    uninstall: list[str]

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program as the user would; what it says is told where it fails."""
        return subprocess.run(
            [str(word) for word in command],
            env=self.environment | variables,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )

    def remove(self) -> None:
        """Uninstall it."""
        do(self.uninstall, self.environment)


def do(command: list[str], environment: dict[str, str], cwd: Path | None = None) -> bytes:
    """Run a command that must succeed; return what it prints."""
    done = subprocess.run(
        command, env=environment, cwd=cwd or environment["HOME"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout.decode(errors='replace')[-3000:]}"
    return done.stdout


def login(home: Path, wheelhouse: Path) -> dict[str, str]:
    """The environment of somebody who lives at `home`, for whom installers look into the wheelhouse only."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(home),
        "PATH": f"{home}/.local/bin:{SYSTEM}",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "TMPDIR": os.environ["TMPDIR"],
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        # Half of what pip takes is for compiling what nobody imports.
        "PIP_NO_COMPILE": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheelhouse),
        "UV_NO_CONFIG": "1",
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(wheelhouse),
        "UV_PYTHON_DOWNLOADS": "never",
    }


def program(name: str) -> str:
    """The path of an installer: beside this interpreter, or on the PATH. Skips where there is none."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or needs(name)


def pip() -> list[str]:
    """The words that start this Python's pip, which can install for others. Skips where there is none."""
    done = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip("this Python has no pip, so there is nothing to install with")
    return [sys.executable, "-m", "pip"]


def _in_venv(home: Path, environment: dict[str, str], venv: Path, uninstall: list[str]) -> Installed:
    # As after `. .venv/bin/activate`.
    environment |= {"VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{environment['PATH']}"}
    return Installed(home, environment, venv / "bin/rprun", venv / "share", {"man"}, uninstall)


def pip_in_a_venv(home: Path, source: str, wheelhouse: Path) -> Installed:
    """`.venv/bin/pip install`."""
    environment, venv = login(home, wheelhouse), home / ".venv"
    do([PYTHON, "-m", "venv", str(venv)], environment)
    do([f"{venv}/bin/pip", "install", source], environment)
    return _in_venv(home, environment, venv, [f"{venv}/bin/pip", "uninstall", "-y", "rprun"])


def uv_in_a_venv(home: Path, source: str, wheelhouse: Path) -> Installed:
    """`uv pip install`, in a venv of uv's."""
    environment, venv, uv = login(home, wheelhouse), home / ".venv", program("uv")
    do([uv, "venv", "--python", PYTHON, str(venv)], environment)
    do([uv, "pip", "install", "--python", str(venv), source], environment)
    return _in_venv(home, environment, venv, [uv, "pip", "uninstall", "--python", str(venv), "rprun"])


def pip_for_a_user(home: Path, source: str, wheelhouse: Path, base: Path | None = None) -> Installed:
    """`pip install --user`, in the home directory."""
    environment, installer = login(home, wheelhouse), [*pip(), "--python", PYTHON]
    seen_by = {"man", "bash", "fish"}
    if base is not None:
        environment |= {"PYTHONUSERBASE": str(base), "PATH": f"{base}/bin:{environment['PATH']}"}
        seen_by = {"man"}
    there = base or home / ".local"
    do([*installer, "install", "--user", *_FORCED, source], environment)
    uninstall = [*installer, "uninstall", "-y", *_FORCED, "rprun"]
    return Installed(home, environment, there / "bin/rprun", there / "share", seen_by, uninstall)


def pip_for_a_user_elsewhere(home: Path, source: str, wheelhouse: Path) -> Installed:
    """`pip install --user`, where PYTHONUSERBASE says."""
    return pip_for_a_user(home, source, wheelhouse, home / "my python")


def pipx_by_pip(home: Path, source: str, wheelhouse: Path, backend: str = "pip") -> Installed:
    """`pipx install`, which links man page and completions too."""
    environment, pipx = login(home, wheelhouse) | {"PIPX_DEFAULT_BACKEND": backend}, program("pipx")
    do([pipx, "install", "--python", PYTHON, source], environment)
    venvs = Path(do([pipx, "environment", "--value", "PIPX_LOCAL_VENVS"], environment).decode().strip())
    share = venvs / "rprun/share"
    uninstall = [pipx, "uninstall", "rprun"]
    return Installed(home, environment, home / ".local/bin/rprun", share, {"man", "bash", "fish"}, uninstall)


def pipx_by_uv(home: Path, source: str, wheelhouse: Path) -> Installed:
    """`pipx install` where there is uv, which does the work then."""
    program("uv")
    return pipx_by_pip(home, source, wheelhouse, "uv")


def uv_tool(home: Path, source: str, wheelhouse: Path) -> Installed:
    """`uv tool install`, which links programs and nothing else."""
    environment, uv = login(home, wheelhouse), program("uv")
    do([uv, "tool", "install", "--python", PYTHON, source], environment)
    share = Path(do([uv, "tool", "dir"], environment).decode().strip(), "rprun/share")
    return Installed(home, environment, home / ".local/bin/rprun", share, set(), [uv, "tool", "uninstall", "rprun"])


INSTALLERS: dict[str, Callable[[Path, str, Path], Installed]] = {
    "pip-venv": pip_in_a_venv,
    "uv-venv": uv_in_a_venv,
    "pip-user": pip_for_a_user,
    "pip-userbase": pip_for_a_user_elsewhere,
    "pipx-pip": pipx_by_pip,
    "pipx-uv": pipx_by_uv,
    "uv-tool": uv_tool,
}

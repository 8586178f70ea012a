"""The programs that rprun is measured against: found on PATH, or installed from PyPI into a venv of their own.

A peer that is not there is a row of the table that says so.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

# Below `build/`, which the project ignores; made once.
_VENV = Path(__file__).resolve().parents[1] / "build" / "benchmark-peers"
_FROM_PYPI = {"asciinema": "asciinema==2.4.0", "running-process": "running-process"}


class Programs:
    """Paths of rprun, of the Python it runs on, and of the peers that exist here."""

    def __init__(self, rprun: str) -> None:
        self.rprun = rprun
        self.python = str(Path(rprun).with_name("python3"))
        self.paths = {name: path for name in ("script", "unbuffer") if (path := shutil.which(name))}

    def install(self) -> None:
        """Make the venv with the peers that are on PyPI, unless it is there; an error is told and not fatal."""
        for name, requirement in _FROM_PYPI.items():
            program = _VENV / "bin" / name
            if not program.exists():
                self._install_one(requirement)
            if program.exists():
                self.paths[name] = str(program)

    def _install_one(self, requirement: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        pip = _VENV / "bin" / "pip"
        if not pip.exists():
            subprocess.run([self.python, "-m", "venv", str(_VENV)], env=environment, check=False)
        done = subprocess.run([str(pip), "install", "-q", requirement], env=environment, check=False)
        if done.returncode:
            print(f"benchmarks: {requirement} could not be installed", file=sys.stderr)

    def describe(self) -> str:
        """Return one sentence on what was measured, on what."""
        python = _first_line([self.python, "--version"])
        installed = [_first_line([self.rprun, "--version"])]
        if "script" in self.paths:
            installed.append(_first_line([self.paths["script"], "--version"]).replace("script from ", "script of "))
        if "unbuffer" in self.paths:
            installed.append(f"unbuffer of {_first_line(['expect', '-v']).replace('version ', '')}")
        installed += [_distribution(name) for name in _FROM_PYPI if name in self.paths]
        host = f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs"
        return f"{', '.join(installed)}; {python} on {host}."

    def is_wheel(self) -> bool:
        """Tell whether rprun is installed as a wheel, and not from an editable checkout."""
        where = _first_line([self.python, "-I", "-c", "import rprun; print(rprun.__file__)"])
        return "site-packages" in where


def _first_line(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return "?"
    return done.stdout.partition("\n")[0].strip() or "?"


def _distribution(name: str) -> str:
    script = f"from importlib.metadata import version; print(version({name!r}))"
    return f"{name} {_first_line([str(_VENV / 'bin' / 'python3'), '-c', script])}"

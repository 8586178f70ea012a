"""What is observed: programs of different kinds, each prepared in a fresh directory.

Nothing outside of that directory is written, and what is in it is the same each time, so that two runs can be compared.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).resolve().parent


class Workload(NamedTuple):
    """A program to observe.

    Attributes:
        prepare: fills the directory and returns the command, the program by its absolute path.
        needs: what must be on PATH.
        counted: two runs make the same calls the same number of times; else only which calls they are is compared.
    """

    prepare: Callable[[Path], list[str]]
    needs: tuple[str, ...]
    counted: bool = False

    def missing(self) -> str | None:
        """Return what is not here and would be needed."""
        absent = [name for name in self.needs if not _find(name)]
        return f"{', '.join(absent)} missing" if absent else None


def environment(directory: Path) -> dict[str, str]:
    """Return what every workload gets: home and temporary files below its own directory, and fixed times for git."""
    who = {"NAME": "A", "EMAIL": "a@example.org", "DATE": "2020-01-02T03:04:05Z"}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory / "home"),
        "TMPDIR": str(directory / "tmp"),
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()},
    }


def _find(name: str) -> str:
    if name == "pip":
        return "pip" if importlib.util.find_spec("pip") else ""
    return shutil.which(name) or ""


def _make(directory: Path) -> list[str]:
    subprocess.run([sys.executable, str(_HERE / "c_build.py"), str(directory), "40"], check=True)
    return [_find("make"), "-j2", "CC=gcc"]


def _shell(directory: Path) -> list[str]:
    shutil.copy(_HERE / "shell.sh", directory / "shell.sh")
    return [_find("sh"), "shell.sh"]


def _git(directory: Path) -> list[str]:
    shutil.copy(_HERE / "git.sh", directory / "git.sh")
    (directory / "home/.gitconfig").write_text(
        "[gc]\n\tautoDetach = false\n[pack]\n\tthreads = 1\n[index]\n\tthreads = 1\n"
    )
    return [_find("sh"), "git.sh"]


def _node(directory: Path) -> list[str]:
    shutil.copy(_HERE / "node.js", directory / "node.js")
    return [_find("node"), "node.js"]


def _processes(directory: Path) -> list[str]:
    shutil.copy(_HERE / "processes.py", directory / "processes.py")
    return [sys.executable, "processes.py"]


def _pip(directory: Path) -> list[str]:
    wheel = directory / "tiny-1-py3-none-any.whl"
    files = {
        "tiny/__init__.py": "def main():\n    print('tiny')\n",
        "tiny/part.py": "PART = 1\n",
        "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.dist-info/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, "tiny-1.dist-info/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, "tiny-1.dist-info/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory / "venv")], check=True)
    into = ["--python", "venv/bin/python", "install", "--no-index", "--no-deps", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", *into, "-q", f"./{wheel.name}"]


def _go(directory: Path) -> list[str]:
    """Only the program is observed: the compiler's cache is not the same twice."""
    shutil.copy(_HERE / "network.go", directory / "network.go")
    environ = {**environment(directory), "GOCACHE": str(directory / "cache"), "GOFLAGS": "-mod=mod"}
    subprocess.run([_find("go"), "build", "-o", "network", "network.go"], cwd=directory, env=environ, check=True)
    return [str(directory / "network")]


WORKLOADS = {
    "shell": Workload(_shell, ("sh", "tar", "find"), counted=True),
    "make": Workload(_make, ("make", "gcc"), counted=True),
    # A file as young as the index is looked into once more, so that how often depends on the second.
    "git": Workload(_git, ("git",)),
    "processes": Workload(_processes, ()),
    "node": Workload(_node, ("node",)),
    "pip": Workload(_pip, ("pip",)),
    "go": Workload(_go, ("go",)),
}

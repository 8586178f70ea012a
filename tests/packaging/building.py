"""Building the package, and looking into what was built."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def build(tree: Path, directory: Path, *options: str, wheelhouse: Path | None = None) -> Path:
    """Build a source tree in an environment of its own, with what is in a wheelhouse if there is one.

    Args:
        tree: the source.
        directory: where what is built goes.
        options: of `python -m build`; without any it makes an sdist, and of that a wheel.
        wheelhouse: the wheels that building needs; None to fetch them.
    """
    environment = dict(os.environ)
    # What kind of wheel it is, is a matter of where it is built, unless this says so.
    environment.pop("RPRUN_WHEEL", None)
    if wheelhouse is not None:
        environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse), "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(
        [sys.executable, "-m", "build", *options, "--outdir", str(directory), str(tree)],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        timeout=110, cwd=directory,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]
    return directory


def members(wheel: Path) -> dict[str, tuple[int, bytes]]:
    """The files of a wheel: their modes and their contents, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: (info.external_attr >> 16, archive.read(info)) for info in archive.infolist()}

"""pywinpty's own files, for the tests that put its Python code on top of the stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from windows_running import PYWINPTY

DOWNLOAD = [
    "-m",
    "pip",
    "download",
    "-q",
    "--no-deps",
    "--platform=win_amd64",
    "--python-version=3.11",
    "--only-binary=:all:",
]


@pytest.fixture(scope="session")
def pywinpty(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the directory that pywinpty's Windows wheel was unpacked in: RPRUN_PYWINPTY's, or one made here."""
    there = os.environ.get("RPRUN_PYWINPTY")
    if there:
        return there
    directory = tmp_path_factory.mktemp("pywinpty")
    done = subprocess.run(
        [sys.executable, *DOWNLOAD, "-d", str(directory), f"pywinpty=={PYWINPTY}"],
        capture_output=True,
        check=False,
        timeout=100,
    )
    wheels = list(Path(directory).glob("pywinpty-*.whl"))
    if not wheels:
        pytest.skip(f"pywinpty's wheel cannot be had: {done.stderr.decode(errors='replace').strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(directory)
    return str(directory)

"""What is installed: the package as it is built, with what it depends on at hand, so that installing needs no network.

RPRUN_DIST names a directory with the sdist and the wheel that are to be tested, RPRUN_WHEELHOUSE one with the wheels of
all that they need; without them, they are built from the checkout and downloaded.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from building import build
from installers import INSTALLERS, Installed
from shells import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable

NEEDED = ("hatchling>=1.26", "pip")
"""Beside the dependencies: what builds the package, and what pipx wants for its venvs."""


def _only(directory: Path, pattern: str) -> Path:
    (found,) = directory.glob(pattern)
    return found


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with one sdist and one wheel, made of the sdist as `python -m build` does."""
    there = os.environ.get("RPRUN_DIST")
    if there:
        return Path(there)
    if importlib.util.find_spec("build") is None:
        pytest.skip("the package build is not installed, so there is no wheel to install")
    directory = tmp_path_factory.mktemp("dist")
    build(CHECKOUT, directory)
    return directory


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    return _only(dist, "*.whl")


@pytest.fixture(scope="session")
def sdist(dist: Path) -> Path:
    """The sdist."""
    return _only(dist, "*.tar.gz")


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The directory with the wheels of all that is needed to build the package, to install it and to run it."""
    there = os.environ.get("RPRUN_WHEELHOUSE")
    if there:
        return Path(there)
    directory = tmp_path_factory.mktemp("wheelhouse")
    download = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", str(directory)]
    done = subprocess.run([*download, str(wheel), *NEEDED], capture_output=True, check=False, timeout=110)
    if done.returncode:
        pytest.skip(f"what the package needs cannot be downloaded: {done.stderr.decode(errors='replace')[-300:]}")
    return directory


@pytest.fixture(scope="session")
def _installations() -> dict[str, Installed]:
    return {}


@pytest.fixture(params=INSTALLERS)
def installed(
    request: pytest.FixtureRequest, installing: Callable[[str], Installed], _installations: dict[str, Installed]
) -> Installed:
    """rprun as one of the installers has installed it; once for all tests, which leave it as it is."""
    name: str = request.param
    if name not in _installations:
        _installations[name] = installing(name)
    return _installations[name]


@pytest.fixture
def installing(tmp_path_factory: pytest.TempPathFactory, wheel: Path, wheelhouse: Path) -> Callable[[str], Installed]:
    """Installs rprun by the installer of a name, in a new home directory."""
    return lambda name: INSTALLERS[name](tmp_path_factory.mktemp(name), str(wheel), wheelhouse)

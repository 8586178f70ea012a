"""What is handed out is whole, and the same whichever way it was made."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from typing import TYPE_CHECKING

import pytest
from building import build, members
from shells import CHECKOUT

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")

# What a checkout has beside what belongs into it.
UNTRACKED = re.compile(r"(^|/)(__pycache__|\..*_cache|\.venv|\.git|\.hypothesis|dist|build)(/|$)|\.pyc$")


def needs_module(name: str) -> None:
    """Skip where a tool of Python's is not installed."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the package {name} is not installed")


def metadata(wheel: Path) -> Message:
    """The metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(archive.read(name))


def test_a_wheel_is_the_same_from_the_tree_and_from_the_sdist(
    tmp_path: Path, wheel: Path, sdist: Path, wheelhouse: Path
) -> None:
    """Names, modes and contents of all members are equal, however the wheel was come by."""
    needs_module("build")
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(tmp_path)], check=True, timeout=60)
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for tree, name in ((CHECKOUT, "from-the-tree"), (unpacked, "from-the-sdist")):
        (tmp_path / name).mkdir()
        (made,) = build(tree, tmp_path / name, "--wheel", wheelhouse=wheelhouse).glob("*.whl")
        assert members(made) == members(wheel)
        assert made.name == wheel.name


def test_the_sdist_is_the_tree(sdist: Path) -> None:
    """Every file of the checkout is in the sdist, byte for byte, and nothing else but its metadata."""
    with tarfile.open(sdist) as archive:
        held = {
            member.name.partition("/")[2]: archive.extractfile(member)
            for member in archive.getmembers()
            if member.isfile()
        }
        contents = {name: file.read() for name, file in held.items() if file is not None}
    del contents["PKG-INFO"]
    tree = {
        path.relative_to(CHECKOUT).as_posix(): path
        for path in CHECKOUT.rglob("*")
        if path.is_file() and not UNTRACKED.search(path.relative_to(CHECKOUT).as_posix())
    }
    assert set(contents) == set(tree)
    assert [name for name, path in tree.items() if path.read_bytes() != contents[name]] == []


def test_the_wheel_has_every_module_and_file_of_the_package(wheel: Path) -> None:
    """Every file below rprun/ is in the wheel, the marker of types and the schema of events among them."""
    package = {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "rprun").rglob("*")
        if path.is_file() and not UNTRACKED.search(path.relative_to(CHECKOUT).as_posix())
    }
    assert {name for name in members(wheel) if name.startswith("rprun/")} == package
    assert {"rprun/py.typed", "rprun/observe/event.schema.json"} <= package


def test_metadata_says_what_is_true(wheel: Path) -> None:
    """Version, Python and dependencies are those of the code, and the classifiers agree with them."""
    said = metadata(wheel)
    version = re.search(r'^__version__ = "(.*)"$', (CHECKOUT / "rprun/__init__.py").read_text(), re.MULTILINE)
    assert version
    assert said["Version"] == version[1]
    assert said["Requires-Python"] == ">=3.11"
    assert said["License-Expression"] == "MIT"
    assert said["Description-Content-Type"] == "text/markdown"
    needed = {re.match(r"[\w-]+", line)[0] for line in said.get_all("Requires-Dist") if "extra ==" not in line}  # type: ignore[index]
    assert needed == {"psutil", "pywinpty", "rich", "typer"}
    assert set(said.get_all("Provides-Extra")) == {"dev", "packaging", "test"}
    # Nobody knows where the project will be hosted, so there is no address yet that could be right.
    assert said.get_all("Project-URL") is None


def test_dependencies_are_what_is_imported(wheel: Path) -> None:
    """What the package imports beside Python's own is what it depends on, and it depends on no more."""
    imported: set[str] = set()
    for name, (_, source) in members(wheel).items():
        if name.startswith("rprun/") and name.endswith(".py"):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.partition(".")[0])
    foreign = imported - sys.stdlib_module_names - {"rprun", "_signal", "_socket"}
    assert foreign == {"psutil", "rich", "typer", "winpty"}


def test_twine_accepts_both(sdist: Path, wheel: Path) -> None:
    """An index would take them: the metadata is valid and the description can be shown, without a warning."""
    needs_module("twine")
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode()
    assert done.stdout.count(b"PASSED") == 2

"""What is asked of every object of machine code that is committed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
LINUX = TREE / "rprun/linux"


def assert_depends_on_nothing(source: str, functions: set[str]) -> None:
    """The objects of a source name no library, and no symbol but these functions, which are all their own."""
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf")
    objects = sorted(LINUX.glob(f"{source}_*.so"))
    assert objects
    for path in objects:
        said = subprocess.run(
            ["readelf", "--dynamic", "--relocs", "--dyn-syms", "--wide", str(path)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert "NEEDED" not in said
        assert "There are no relocations" in said
        symbols = [line.split() for line in said.splitlines() if " GLOBAL " in line]
        assert sorted((words[3], words[-1]) for words in symbols) == [("FUNC", name) for name in sorted(functions)]

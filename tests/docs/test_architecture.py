"""The direction of imports is the one that ARCHITECTURE.md shows: nothing imports what stands above it."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")

# The one step upwards: what can be observed is asked of the backends, when it is asked for.
ALLOWED = {("observe/capabilities.py", "backends")}


def package() -> Path:
    """Return where the package under test is installed."""
    found = importlib.util.find_spec("rprun")
    assert found
    assert found.origin
    return Path(found.origin).parent


def rooms() -> list[str]:
    """Return the rooms of ARCHITECTURE.md's table, from the top down."""
    return [
        name.removesuffix(".py").rstrip("/") for name in re.findall(r"^\| `([\w/.]+)` \|", ARCHITECTURE, re.MULTILINE)
    ]


def imports(file: Path) -> Iterator[str]:
    """Yield the rooms that a module imports from, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("rprun."))


def test_every_room_is_described() -> None:
    """The table names every directory and module of the package, and nothing that is not there."""
    there = {path.stem for path in package().iterdir() if path.is_dir() or path.suffix == ".py"}
    assert set(rooms()) == there - {"__init__", "__pycache__"}


def test_imports_point_downwards() -> None:
    """No module imports from a room above its own, apart from the exception that ARCHITECTURE.md names."""
    order = rooms()
    wrong = []
    for file in sorted(package().rglob("*.py")):
        name = file.relative_to(package()).as_posix()
        room = name.removesuffix(".py").split("/")[0]
        if room == "__init__":
            continue
        wrong += [
            (name, above)
            for above in imports(file)
            if above in order and order.index(above) < order.index(room) and (name, above) not in ALLOWED
        ]
    assert wrong == []

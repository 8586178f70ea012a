"""What stands in for Windows' calls has the names and parameters of what it stands for, and that is declared rightly.

The modules themselves need Windows. Their structures and prototypes can be looked at anywhere.
"""

from __future__ import annotations

import ast
import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from running import clean_environment

from rprun.windows import structures

STANDIN = Path(__file__).parent / "standin"
DOOR = Path(structures.__file__).parent
MODULES = ("console", "environment", "process")


def interface(file: Path) -> dict[str, object]:
    """Return the public functions and methods of a module, each with its parameters."""
    found: dict[str, object] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
                arguments = node.args
                found[prefix + node.name] = [each.arg for each in (*arguments.args, *arguments.kwonlyargs)]

    visit(ast.parse(file.read_text()).body, "")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_stand_ins_have_the_interface(module: str) -> None:
    """Every function of the door that is used above it has its stand-in, with the same parameters."""
    real = interface(DOOR / f"{module}.py")
    # Called by the door itself only.
    for name in ("ProcessHandle.resume", "Job._limit"):
        real.pop(name, None)
    assert interface(STANDIN / f"{module}.py") == real


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="sizes of 64 bits")
def test_structures() -> None:
    """The structures have the sizes and offsets that winnt.h gives them on 64-bit Windows."""
    assert ctypes.sizeof(structures.BasicLimits) == 64
    assert structures.BasicLimits.LimitFlags.offset == 16
    assert structures.BasicLimits.MinimumWorkingSetSize.offset == 24
    assert ctypes.sizeof(structures.ExtendedLimits) == 144
    assert structures.ExtendedLimits.IoInfo.offset == 64
    assert structures.ExtendedLimits.ProcessMemoryLimit.offset == 112
    assert ctypes.sizeof(structures.ProcessIds) == 8


# `ctypes.WinDLL` that only remembers: each function has its argument types and its result declared, and none is called.
LOADING = """
import ctypes, importlib, subprocess, sys, types
class Function:
    argtypes = restype = "not declared"
class Library:
    functions = {}
    def __init__(self, name, **_):
        self.name = name
    def __getattr__(self, name):
        return self.functions.setdefault(f"{self.name}.{name}", Function())
ctypes.WinDLL = Library
ctypes.WinError = ctypes.get_last_error = ctypes.WINFUNCTYPE = lambda *_: None
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
sys.platform = "win32"
for name in ("console", "environment", "process"):
    importlib.import_module(f"rprun.windows.{name}")
for name, function in sorted(Library.functions.items()):
    assert "not declared" not in (function.argtypes, function.restype), name
print(len(Library.functions))
"""


def test_prototypes_are_declared() -> None:
    """Every call has its argument types and its result declared: a handle has 64 bits, and an int has not."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_no_door_opens_elsewhere() -> None:
    """Nothing on this system imports a module of the door, which would fail."""
    assert importlib.util.find_spec("rprun.windows.console") is not None
    with pytest.raises(AssertionError):
        importlib.import_module("rprun.windows.console")

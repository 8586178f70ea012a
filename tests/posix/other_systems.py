"""rprun as on another system of POSIX: an executable that stands for it, for tests and for whole rooms of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from running import clean_environment, finish

SYSTEMS: dict[str, tuple[str, ...]] = {
    "darwin": ("end", "discard", "canonical", "select"),
    "freebsd14": ("end", "discard", "canonical"),
    "openbsd7": ("end", "discard", "canonical"),
}
"""Each system with what of its kernel is imitated; see `as_posix.py`."""

# The package is the one that is tested here, wherever pytest found it; it comes last, behind what it is installed with.
_PROGRAM = """#!{python}
import sys
sys.path.insert(0, {here!r})
import as_posix
del sys.path[0]
sys.path.append({package!r})
as_posix.main({system!r}, *{switches!r})
"""


def executable(directory: Path, system: str, switches: tuple[str, ...] | None = None) -> str:
    """Write an executable that is `rprun` on that system; return its path."""
    spec = importlib.util.find_spec("rprun")
    assert spec
    assert spec.origin
    path = directory / f"rprun-{system}"
    text = _PROGRAM.format(
        python=sys.executable,
        here=str(Path(__file__).parent),
        package=str(Path(spec.origin).parents[1]),
        system=system,
        switches=SYSTEMS[system] if switches is None else switches,
    )
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o755)
    return str(path)


def start(words: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command with pipes at stdout and stderr; to be used as a context manager."""
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": clean_environment()}
    settings |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, **(settings | options))


def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; its stdout and stderr as bytes."""
    data = options.pop("input", None)
    process = start(words, **({"stdin": subprocess.PIPE} if data is not None else {}) | options)
    return finish(process, data)


def suite(rprun: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run some of the tests of other rooms with that executable."""
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *words],
        cwd=root,
        env={**os.environ, "RPRUN": rprun},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

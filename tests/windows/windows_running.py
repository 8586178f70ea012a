"""rprun's Windows side is tested here by running all of it: real children on real terminals and pipes of this system.

What is put in its place is only what is not here: Windows' own calls, and pywinpty's native module (see `standin/`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from running import clean_environment, finish

PROGRAM = str(Path(__file__).parent / "as_windows.py")

PYWINPTY = "3.1.2"
"""The version whose interface the stand-in has."""

FAULTS = ("cut", "nul", "empty", "error", "late", "no-eof", "ask", "short", "iseof", "status", "handles", "drop")
"""What pywinpty is known to do wrong; each is a switch of the stand-in."""

# The faults that can be there at once; `error` is another end than `empty`.
TOGETHER = ",".join(fault for fault in FAULTS if fault != "error")


def start_as_windows(*words: str, faults: str = "", **options: Any) -> subprocess.Popen[bytes]:
    """Start `as_windows.py`; to be used as a context manager."""
    settings: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    environment = clean_environment(RPRUN_FAULTS=faults, **options.pop("variables", {}))
    # Its own package is the one that is tested here, wherever pytest found it.
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen([sys.executable, PROGRAM, *words], env=environment, **(settings | options))


def run_as_windows(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end; its stdout and stderr as bytes."""
    data, timeout = options.pop("input", None), options.pop("timeout", 60)
    process = start_as_windows(*words, **({"stdin": subprocess.PIPE} if data is not None else {}) | options)
    return finish(process, data, timeout)


def rprun(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run `rprun` as on Windows."""
    return run_as_windows("cli", *words, **options)


def program(source: str, **options: Any) -> str:
    """Run a program that uses `rprun` as on Windows; what it prints."""
    done = run_as_windows("api", source, **options)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout.decode()

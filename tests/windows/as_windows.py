"""Runs rprun's Windows side on this system: all of it but what stands behind its door, and pywinpty's native module.

    python as_windows.py cli ARGUMENT...      as `rprun ARGUMENT...`
    python as_windows.py api PROGRAM          a Python program that uses `rprun` or `winpty`

The stand-ins are in `standin/`. With RPRUN_PYWINPTY, a directory that pywinpty's wheel was unpacked in, its own Python
code is what stands between; without it, only the native module's names are there.
"""

from __future__ import annotations

# All of these before the platform has another name: what asks for it when it is imported gets the true one.
import _signal
import codecs
import ctypes
import encodings.utf_16_le
import importlib
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36


def pretend() -> None:
    """Make this interpreter look like one on Windows, to rprun."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.path.insert(0, str(Path(__file__).parent / "standin"))
    _signal.SIGBREAK = 21  # type: ignore[misc]
    real, find = sys.platform, shutil.which

    def which(command: str, mode: int = os.F_OK | os.X_OK, path: str | None = None) -> str | None:
        sys.platform = real
        try:
            return find(command, mode, path)
        finally:
            sys.platform = "win32"

    # pywinpty's: it would look for `sh.exe` on a system that it takes for Windows.
    shutil.which = which
    sys.platform = "win32"
    for name in ("console", "process", "environment"):
        sys.modules[f"rprun.windows.{name}"] = importlib.import_module(name)
    native = importlib.import_module("_winpty")
    theirs = os.environ.get("RPRUN_PYWINPTY")
    if theirs:
        sys.path.insert(0, theirs)
        sys.modules["winpty._winpty"] = native
        return
    winpty = types.ModuleType("winpty")
    winpty.__dict__.update(PTY=native.PTY, WinptyError=native.WinptyError, Backend=types.SimpleNamespace(ConPTY=0))
    sys.modules["winpty"] = winpty


if __name__ == "__main__":
    pretend()
    what, *arguments = sys.argv[1:]
    sys.argv = ["rprun", *arguments]
    if what == "cli":
        from rprun.__main__ import main

        sys.exit(main())
    exec(compile(arguments[0], "<program>", "exec"), {"__name__": "__main__"})
    # What waits in a thread for ever, as a fault has it, is not waited for.
    sys.stdout.flush()
    os._exit(0)

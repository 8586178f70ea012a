"""Interactive shells on a terminal, which complete a line and then run it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import termios
from pathlib import Path
from typing import Self

import pytest
from running import clean_environment

PATIENCE = 30
# Where the generated files are; the package itself may be imported from elsewhere.
CHECKOUT = Path(__file__).resolve().parents[1]


def needs(program: str) -> str:
    """The program's path; skips where there is none."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed, so what it would say is unknown")
    return found


class Shell:
    """A shell on a terminal of its own, wide enough that no line is folded."""

    def __init__(self, command: list[str], home: Path, environment: dict[str, str] | None = None) -> None:
        """Start it at `home`, with what is in an environment, this process's unless there is another one."""
        before = clean_environment() if environment is None else environment
        settled = {"TERM": "dumb", "HOME": str(home), "PS1": "", "INPUTRC": "/dev/null", "HISTFILE": "/dev/null"}
        environment = before | settled
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 500, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        os.waitpid(self.pid, 0)

    def until(self, marker: bytes) -> bytes:
        """What the shell writes up to the marker."""
        seen = b""
        while marker not in seen:
            if not select.select([self.fd], [], [], PATIENCE)[0]:
                raise AssertionError(f"{marker!r} did not come; seen: {seen[-2000:]!r}")
            seen += os.read(self.fd, 65536)
        return seen

    def setup(self, script: Path) -> None:
        """Read a script, to its end."""
        # In two halves, so that the echo of the line is not taken for its output.
        os.write(self.fd, f". {script}; echo REA''DY\n".encode())
        self.until(b"READY")

    def completed(self, line: str) -> list[str]:
        """The words that `rprun` gets after the line, a tabulator and a return key."""
        os.write(self.fd, line.encode() + b"\t\n")
        output = self.until(b"<END>").decode()
        return output.partition("<START>")[2].partition("<END>")[0].split("<>")[:-1]


# Stands in for rprun: prints its arguments.
STAND_IN = "rprun() { printf '<STA''RT>'; printf '%s<>' \"$@\"; printf '<EN''D>\\n'; }\n"

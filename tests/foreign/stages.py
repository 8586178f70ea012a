"""A stage runs a program to its end with known standard streams: a terminal, pipes, or a mix of both.

The bare runs and the runs inside rprun stand on the same stages, so that a test which asks for a terminal finds one
in both or in neither.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress

STAGES = ("terminal", "pipes", "mixed")
"""All three streams are a terminal; all three are pipes; stdin is a terminal and the others are pipes."""

_SIZE = struct.pack("HHHH", 24, 80, 0, 0)

# A session leader without a terminal takes the one it opens, as a login shell does. The arguments are the terminal,
# the descriptors that are to be it, and the program.
_TAKE_TERMINAL = """
import os, sys
os.setsid()
tty = os.open(sys.argv[1], os.O_RDWR)
for number in sys.argv[2]:
    os.dup2(tty, int(number))
if tty > 2:
    os.close(tty)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class TookTooLongError(Exception):
    """The program has not ended in its time, and has been killed with its process group."""


def perform(stage: str, argv: list[str], environment: dict[str, str], patience: float) -> tuple[int, bytes]:
    """Run a program on a stage; return its exit status (negative: a signal) and all that it wrote.

    Raises:
        TookTooLongError: it has not ended within `patience` seconds.
    """
    if stage == "pipes":
        return _perform(argv, environment, patience, new_session=True)
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, _SIZE)
        taken = "012" if stage == "terminal" else "0"
        starter = [sys.executable, "-ISc", _TAKE_TERMINAL, os.ttyname(slave), taken]
        return _perform([*starter, *argv], environment, patience, master)
    finally:
        # The slave is kept open until here: a PTY without one reads as ended.
        os.close(slave)
        os.close(master)


def _perform(
    argv: list[str], environment: dict[str, str], patience: float, *masters: int, new_session: bool = False
) -> tuple[int, bytes]:
    with subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=new_session,
    ) as process:
        assert process.stdout
        assert process.stderr
        output = _read(process, [process.stdout.fileno(), process.stderr.fileno(), *masters], patience)
    return process.returncode, output


def _read(process: subprocess.Popen[bytes], descriptors: list[int], patience: float) -> bytes:
    """Read until the program has ended and no more comes; a process that it leaves behind is not waited for."""
    deadline = time.monotonic() + patience
    parts: dict[int, list[bytes]] = {descriptor: [] for descriptor in descriptors}
    waiting = set(descriptors)
    while waiting:
        ended = process.poll() is not None
        ready, _, _ = select.select(list(waiting), [], [], 0 if ended else 0.05)
        if ended and not ready:
            break
        for descriptor in ready:
            data = os.read(descriptor, 65536)
            parts[descriptor].append(data)
            if not data:
                waiting.discard(descriptor)
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            last = b"".join(b"".join(part) for part in parts.values())[-2000:]
            raise TookTooLongError(last.decode(errors="replace"))
    return b"".join(b"".join(part) for part in parts.values())

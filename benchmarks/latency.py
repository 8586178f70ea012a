"""Key-press echo: from a byte written to the outer terminal until the command's echo of it arrives there.

The command is `cat` on a raw terminal without echo, so that each byte goes through the runner twice. All runners are
alive at the same time and are pressed in turns, a block of keys each; between two keys all is idle, as with a typist.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import statistics
import tempfile
import termios
import time
from typing import TYPE_CHECKING, Self

from benchmarks.measure import FailedError, environment, percentile
from benchmarks.table import Row, absent, compared

if TYPE_CHECKING:
    from benchmarks.peers import Programs

_BLOCKS = {False: 40, True: 8}
_KEYS = 50
_PAUSE = 0.002
_PATIENCE = 10.0
_INNER = "stty raw -echo; printf READY; exec cat"


class Typist:
    """A terminal in which a runner runs `cat`, and whoever types at it."""

    def __init__(self, argv: list[str]) -> None:
        self._name = argv[0]
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            try:
                _silence(0)
                os.execve(argv[0], argv, environment())
            finally:
                os._exit(127)
        seen = b""
        while b"READY" not in seen:
            seen += self._read()
        self.times: list[float] = []

    def press(self, keys: int) -> None:
        """Press keys one after the other and note how long each takes to come back."""
        for _ in range(keys):
            time.sleep(_PAUSE)
            start = time.perf_counter()
            os.write(self._terminal, b"x")
            echo = self._read()
            self.times.append(time.perf_counter() - start)
            if echo != b"x":
                raise FailedError(f"{self._name}: echoed {echo!r} for one key")

    def _read(self) -> bytes:
        if not select.select([self._terminal], [], [], _PATIENCE)[0]:
            raise FailedError(f"{self._name}: no echo within {_PATIENCE:g} s")
        return os.read(self._terminal, 4096)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGTERM)
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


def _silence(terminal: int) -> None:
    """Switch echo off: a runner that leaves the outer terminal alone would have its keys echoed by the kernel there."""
    attributes = termios.tcgetattr(terminal)
    attributes[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def rows(programs: Programs, *, quick: bool) -> list[Row]:
    """Compare median and 99th percentile with those of script, unbuffer and asciinema."""
    with tempfile.TemporaryDirectory() as scratch:
        recording = os.path.join(scratch, "keys.cast")
        arguments = {
            "script": ["-qec", _INNER, os.devnull],
            # Without -p it reads no keys at all.
            "unbuffer": ["-p", "sh", "-c", _INNER],
            "asciinema": ["rec", "-q", "--overwrite", "-c", _INNER, recording],
        }
        commands = {name: [programs.paths[name], *words] for name, words in arguments.items() if name in programs.paths}
        times = _type_in_turns({"rprun": [programs.rprun, "--", "sh", "-c", _INNER], **commands}, _BLOCKS[quick])
    medians = {name: [statistics.median(figures)] for name, figures in times.items()}
    tails = {name: [percentile(figures, 0.99)] for name, figures in times.items()}
    found = []
    for what, figures in (("key-press echo, median", medians), ("key-press echo, p99", tails)):
        for name in arguments:
            target = 1.0 if name == "script" else None
            present = name in figures
            found.append(compared(what, figures, name, target, "µs") if present else absent(what, name, target))
    return found


def _type_in_turns(commands: dict[str, list[str]], blocks: int) -> dict[str, list[float]]:
    typists: dict[str, Typist] = {}
    try:
        for name, argv in commands.items():
            typists[name] = Typist(argv)
            typists[name].press(_KEYS)
            typists[name].times.clear()
        for _ in range(blocks):
            for typist in typists.values():
                typist.press(_KEYS)
    finally:
        for typist in typists.values():
            typist.__exit__()
    return {name: typist.times for name, typist in typists.items()}

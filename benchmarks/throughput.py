"""Throughput: a file of text through the runner, to /dev/null and into a pipe that `wc -c` reads."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import FailedError, environment, in_turns
from benchmarks.table import Row, absent, compared

if TYPE_CHECKING:
    from benchmarks.peers import Programs

_MEGABYTES = {False: 270, True: 27}
_ROUNDS = {False: 5, True: 3}
# Through a pipe it is a tenth of a second, which varies by half.
_ROUNDS_OF_PIPES = {False: 25, True: 5}
_LINE = "{:09d} the quick brown fox jumps over the lazy dog, 0123456789 times a day\n"


def rows(programs: Programs, *, quick: bool) -> list[Row]:
    """Compare with script on a PTY, and with cat on a pipe."""
    megabytes = _MEGABYTES[quick]
    with tempfile.TemporaryDirectory() as scratch:
        text = os.path.join(scratch, "text")
        size = _write_text(text, megabytes * 1_000_000)
        return [
            row
            for to_pipe in (False, True)
            for row in (
                _through_pty(programs, text, size, to_pipe=to_pipe, quick=quick),
                _through_pipe(programs, text, size, to_pipe=to_pipe, quick=quick),
            )
        ]


def _through_pty(programs: Programs, text: str, size: int, *, to_pipe: bool, quick: bool) -> Row:
    what = f"{round(size / 1e6)} MB of text, `rprun --pty -- cat FILE` {'into a pipe' if to_pipe else 'to /dev/null'}"
    script = programs.paths.get("script")
    if script is None:
        return absent(what, "script", 1.0)
    commands = {
        "rprun": [programs.rprun, "--pty", "--", "cat", text],
        "script": [script, "-qec", f"cat {shlex.quote(text)}", os.devnull],
    }
    return _compare(what, commands, "script", 1.0, size, to_pipe=to_pipe, rounds=_ROUNDS[quick])


def _through_pipe(programs: Programs, text: str, size: int, *, to_pipe: bool, quick: bool) -> Row:
    what = f"{round(size / 1e6)} MB of text, `rprun --pipe -- cat FILE` {'into a pipe' if to_pipe else 'to /dev/null'}"
    commands = {
        "rprun": [programs.rprun, "--pipe", "--", "cat", text],
        "cat FILE \\| cat": ["sh", "-c", f"cat {shlex.quote(text)} | cat"],
    }
    return _compare(what, commands, "cat FILE \\| cat", 1.3, size, to_pipe=to_pipe, rounds=_ROUNDS_OF_PIPES[quick])


def _compare(
    what: str, commands: dict[str, list[str]], against: str, target: float, size: int, *, to_pipe: bool, rounds: int
) -> Row:
    measure = _into_pipe if to_pipe else _to_null
    contenders = {name: partial(measure, argv, size) for name, argv in commands.items()}
    return compared(what, in_turns(contenders, rounds), against, target, "s")


def _to_null(argv: list[str], size: int) -> float:
    """Return the seconds of a run that writes to /dev/null; its size cannot be checked there."""
    del size
    start = time.perf_counter()
    status = subprocess.call(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment())
    taken = time.perf_counter() - start
    if status:
        raise FailedError(f"{argv[0]}: exit status {status}")
    return taken


def _into_pipe(argv: list[str], size: int) -> float:
    """Return the seconds of a run into `wc -c`, which must see every byte; a PTY may add a CR to each line."""
    start = time.perf_counter()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment()) as producer:
        counted = subprocess.run(["wc", "-c"], stdin=producer.stdout, capture_output=True, check=True)
    taken = time.perf_counter() - start
    lines = size // len(_LINE.format(0))
    if producer.returncode or int(counted.stdout) not in (size, size + lines):
        raise FailedError(f"{argv[0]}: status {producer.returncode}, {int(counted.stdout)} of {size} bytes")
    return taken


def _write_text(path: str, size: int) -> int:
    """Write about `size` bytes of numbered lines; return how many they are."""
    length = len(_LINE.format(0))
    with open(path, "w", encoding="ascii") as file:
        file.writelines(_LINE.format(number) for number in range(size // length))
    return os.path.getsize(path)

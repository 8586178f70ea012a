"""Peak memory: the largest resident set that any process of the runner ever had, with 20 MB relayed, unobserved."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import TYPE_CHECKING

from benchmarks.measure import FailedError, environment
from benchmarks.table import Row, absent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers import Programs

_LIMIT = 18.0
# Writes 20 MB, says so, and stays until its input ends.
_INNER = "yes | head -c 20000000; echo READY; read line"
_TRANSPORTS: tuple[tuple[str, ...], ...] = ((), ("--pty",), ("--pipe",))


def rows(programs: Programs, *, quick: bool) -> list[Row]:
    """Measure every transport, on a terminal; the limit is absolute, the figure beside it is script's."""
    del quick
    script = programs.paths.get("script")
    theirs = _peak([script, "-qec", _INNER, os.devnull]) if script else None
    found = []
    for transport in _TRANSPORTS:
        words = " ".join(["rprun", *transport, "--"])
        what = f"peak memory of any process, `{words} ...`"
        ours = _peak([programs.rprun, *transport, "--", "sh", "-c", _INNER])
        if theirs is None:
            found.append(absent(what, "script", _LIMIT))
        found.append(Row(what, f"{ours:.1f} MB", "`script`", f"{theirs or 0:.1f} MB", ours, _LIMIT, " MB"))
    return found


def _peak(argv: list[str]) -> float:
    """Return megabytes: the largest VmHWM (proc_pid_status(5)) among the runner's processes."""
    master, slave = pty.openpty()
    try:
        with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environment()) as process:
            seen = b""
            while b"READY" not in seen:
                seen = seen[-10:] + os.read(master, 65536)
            program = os.readlink(f"/proc/{process.pid}/exe")
            peaks = [_status(pid, "VmHWM") for pid in _tree(process.pid) if _runs(pid, program)]
            # ^D twice: once may only end the line that is being read.
            os.write(master, b"\n\x04")
    finally:
        os.close(slave)
        os.close(master)
    if process.returncode not in (0, 1):
        raise FailedError(f"{argv[0]}: exit status {process.returncode}")
    return max(peaks) * 1024 / 1e6


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = [int(word) for word in file.read().split()]
    for child in children:
        yield from _tree(child)


def _runs(pid: int, program: str) -> bool:
    return os.readlink(f"/proc/{pid}/exe") == program


def _status(pid: int, name: str) -> int:
    """Return a field of /proc/PID/status, in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))

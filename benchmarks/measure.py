"""Programs are timed in turns (A B A B), after a warm-up, and compared turn by turn.

Turns, because the speed of a machine drifts: what is compared is measured in the same minute. The median of what the
turns say, because one interrupted run must not decide.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# What of this process's environment would change what is measured: not writing bytecode makes each start compile.
_DISTORTING = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONSAFEPATH", "COLUMNS", "LINES", "RPRUN_DEBUG")


class FailedError(Exception):
    """A program that is measured did not do what it was run for; its time would mean nothing."""


def environment() -> dict[str, str]:
    """Return the environment that every measured program gets."""
    kept = {name: value for name, value in os.environ.items() if name not in _DISTORTING}
    return kept | {"TERM": kept.get("TERM", "xterm"), "LC_ALL": "C.UTF-8"}


def seconds(argv: Sequence[str]) -> float:
    """Return how long a program takes from its start to its end, its three streams being /dev/null.

    Raises:
        FailedError: it did not end with status 0.
    """
    with open(os.devnull, "r+b") as null:
        start = time.perf_counter()
        status = subprocess.call(argv, stdin=null, stdout=null, stderr=null, env=environment())
        taken = time.perf_counter() - start
    if status != 0:
        raise FailedError(f"{' '.join(argv)}: exit status {status}")
    return taken


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Return each contender's `rounds` measurements, taken in turns after `warm_up` unmeasured rounds."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up + rounds):
        for name, measure in contenders.items():
            figure = measure()
            if turn >= warm_up:
                taken[name].append(figure)
    return taken


def percentile(figures: Sequence[float], share: float) -> float:
    """Return the smallest figure that at least this share of all figures does not exceed."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

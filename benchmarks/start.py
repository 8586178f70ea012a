"""Start: from the exec of the runner to its exit, around `true`."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import in_turns, seconds
from benchmarks.table import Row, absent, compared

if TYPE_CHECKING:
    from benchmarks.peers import Programs

_ROUNDS = {False: 60, True: 15}


def rows(programs: Programs, *, quick: bool) -> list[Row]:
    """Compare `rprun --pty -- true` and `rprun --pipe -- true` with the peers' way of doing the same."""
    return [*_terminal(programs, quick=quick), *_pipe(programs, quick=quick), *_slow_peers(programs, quick=quick)]


def _terminal(programs: Programs, *, quick: bool) -> list[Row]:
    what = "start to exit, `rprun --pty -- true`"
    commands = {
        "script": [programs.paths.get("script", ""), "-qec", "true", os.devnull],
        "unbuffer": [programs.paths.get("unbuffer", ""), "true"],
    }
    targets = {"script": 1.2, "unbuffer": None}
    return _compare(what, [programs.rprun, "--pty", "--", "true"], commands, targets, quick=quick)


def _pipe(programs: Programs, *, quick: bool) -> list[Row]:
    what = "start to exit, `rprun --pipe -- true`"
    commands = {"python3 -c pass": [programs.python, "-c", "pass"]}
    return _compare(what, [programs.rprun, "--pipe", "--", "true"], commands, {"python3 -c pass": 1.6}, quick=quick)


def _slow_peers(programs: Programs, *, quick: bool) -> list[Row]:
    """In turns of their own: their starts take so long that the fast ones would be measured far apart."""
    what = "start to exit, `rprun --pipe -- true`"
    with tempfile.TemporaryDirectory() as scratch:
        recording = os.path.join(scratch, "true.cast")
        commands = {
            "running-process": [programs.paths.get("running-process", ""), "--", "true"],
            "asciinema": [programs.paths.get("asciinema", ""), "rec", "-q", "--overwrite", "-c", "true", recording],
        }
        targets = dict.fromkeys(commands, 0.25)
        return _compare(what, [programs.rprun, "--pipe", "--", "true"], commands, targets, quick=quick, divide=4)


def _compare(
    what: str,
    ours: list[str],
    commands: dict[str, list[str]],
    targets: dict[str, float | None] | dict[str, float],
    *,
    quick: bool,
    divide: int = 1,
) -> list[Row]:
    present = {name: argv for name, argv in commands.items() if argv[0]}
    contenders = {name: partial(seconds, argv) for name, argv in {"rprun": ours, **present}.items()}
    figures = in_turns(contenders, _ROUNDS[quick] // divide, warm_up=3) if present else {}
    return [
        compared(what, figures, name, targets[name], "ms") if name in present else absent(what, name, targets[name])
        for name in commands
    ]

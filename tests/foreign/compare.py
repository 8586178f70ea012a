"""CPython's own suites for terminals, processes and signals end inside rprun as they end outside, test by test.

    python tests/foreign/compare.py [--python PYTHON] [--rprun RPRUN] [--observed] [SUITE...]

Each suite runs bare on each stage (terminal, pipes, mixed) and then inside `rprun --`, `rprun --pty --` and
`rprun --pipe --`. A run inside is compared with the bare run whose streams are what the command sees: under `--pty`
that is the terminal whatever the outer streams are, and under `--pipe` on a terminal stdin is still the terminal.
With `--observed`, the suites and some more run inside `rprun --observe all`, with everything they do on record.
Where outcomes differ, both runs are repeated: a difference that does not come back is reported as unstable.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from outcomes import differences, parse
from stages import TookTooLongError, perform

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

QUICK = ["test_pty", "test_openpty", "test_tty", "test_popen", "test_ioctl"]
# Their tests sleep for seconds, whoever runs them.
SLOW = ["test_fork1", "test_wait4", "test_select", "test_poll"]
ALL = [
    *("test_pty", "test_tty", "test_openpty", "test_termios", "test_ioctl", "test_fork1", "test_wait3", "test_wait4"),
    *("test_popen", "test_select", "test_selectors", "test_poll", "test_epoll", "test_eintr", "test_threadsignals"),
    *("test_subprocess", "test_signal", "test_readline"),
]

# They wait for ever for themselves where the machine is a guest without a loopback of this kind, also bare.
HANGING = ("-i", "*VSOCK*")

PATIENCE = 600.0
"""Seconds one suite may take; the longest, test_subprocess, takes about one minute."""


class Cell(NamedTuple):
    """One way to run a suite inside rprun, and the bare run that it must equal."""

    outer: str
    options: tuple[str, ...]
    equals: str

    def __str__(self) -> str:
        return " ".join(["rprun", *self.options, "--", "on", self.outer])


CELLS = (
    Cell("terminal", (), "terminal"),
    Cell("terminal", ("--pty",), "terminal"),
    Cell("terminal", ("--pipe",), "mixed"),
    Cell("pipes", (), "pipes"),
    Cell("pipes", ("--pty",), "terminal"),
    Cell("pipes", ("--pipe",), "pipes"),
)

OBSERVED = ("--observe", "all", "--json", "--events", os.devnull)
ALL_OBSERVED = [
    *ALL,
    *("test_os", "test_posix", "test_socket", "test_asyncio", "test_multiprocessing_spawn"),
]
CELLS_OBSERVED = (Cell("terminal", OBSERVED, "terminal"), Cell("pipes", OBSERVED, "pipes"))


class Comparison:
    """Runs suites bare and inside, and remembers the bare outcomes."""

    def __init__(self, python: str, rprun: Sequence[str]) -> None:
        self._python = python
        self._rprun = list(rprun)
        self._bare: dict[tuple[str, str], dict[str, str]] = {}

    def suites(self, wanted: Sequence[str]) -> list[str]:
        """Return those of the wanted suites that this Python ships; none without its `test` package."""
        command = [self._python, "-Ic", "import test; print(*test.__path__)"]
        folders = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        return [name for name in wanted if any(_exists(folder, name) for folder in folders)]

    def differences(self, cell: Cell, suite: str) -> dict[str, tuple[str, str]]:
        """Return the tests of a suite that ended otherwise inside than outside, as (bare, inside)."""
        # At the same time: what takes long in these suites is mostly waiting.
        with ThreadPoolExecutor(2) as pool:
            inside = pool.submit(self._outcomes, cell.outer, self._words(cell), suite)
            if (cell.equals, suite) not in self._bare:
                self._bare[cell.equals, suite] = self._outcomes(cell.equals, [], suite)
            return differences(self._bare[cell.equals, suite], inside.result())

    def repeat(self, cell: Cell, suite: str) -> dict[str, tuple[str, str]]:
        """As `differences`, with a new bare run."""
        self._bare.pop((cell.equals, suite), None)
        return self.differences(cell, suite)

    def count(self, stage: str, suite: str) -> int:
        """Return how many tests a suite had in its bare run."""
        return len(self._bare[stage, suite])

    def _words(self, cell: Cell) -> list[str]:
        return [*self._rprun, *cell.options, "--"]

    def _outcomes(self, stage: str, prefix: list[str], suite: str) -> dict[str, str]:
        scratch = tempfile.mkdtemp(prefix="suite-")
        try:
            argv = [*prefix, self._python, "-m", "test", "-v", "--tempdir", scratch, *HANGING, suite]
            _, output = perform(stage, argv, _environment(scratch), PATIENCE)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        found = parse(output)
        if not found:
            raise AssertionError(f"{suite} on {stage} gave no outcome: {output[-2000:].decode(errors='replace')}")
        return found


def _environment(scratch: str) -> dict[str, str]:
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONSAFEPATH", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {"TERM": "xterm", "TMPDIR": scratch}


def _exists(folder: str, suite: str) -> bool:
    return Path(folder, f"{suite}.py").exists() or Path(folder, suite).is_dir()


def report(comparison: Comparison, suites: Sequence[str], cells: Sequence[Cell]) -> Iterator[tuple[str, bool]]:
    """Yield (line, is a lasting difference) as the comparison goes on."""
    for suite in suites:
        for cell in cells:
            start = time.monotonic()
            try:
                first = comparison.differences(cell, suite)
                second = comparison.repeat(cell, suite) if first else {}
            except (TookTooLongError, AssertionError) as error:
                yield f"{suite}: {cell}: {type(error).__name__}: {error}", True
                continue
            seconds = time.monotonic() - start
            count = comparison.count(cell.equals, suite)
            verdict = "equal" if not first else "equal when repeated" if not second else "DIFFERENT"
            yield f"{suite}: {cell}: {count} tests, {verdict} ({seconds:.1f} s)", False
            for name in sorted(first.keys() | second.keys()):
                lasting = name in first and name in second
                bare, inside = (second if name in second else first)[name]
                yield f"    {'' if lasting else 'unstable: '}{name}: bare {bare}, inside {inside}", lasting


def main() -> int:
    """Compare and print; 1 where a difference lasts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="default: all of them")
    parser.add_argument("--python", default=sys.executable, help="the Python whose suites are run")
    parser.add_argument("--rprun", default=str(Path(sys.executable).with_name("rprun")))
    parser.add_argument("--observed", action="store_true", help="with everything the suites do on record")
    arguments = parser.parse_args()
    comparison = Comparison(arguments.python, [arguments.rprun])
    wanted = arguments.suites or (ALL_OBSERVED if arguments.observed else ALL)
    suites = comparison.suites(wanted)
    for name in wanted:
        if name not in suites:
            print(f"{name}: absent from this Python")
    lasting = 0
    for line, bad in report(comparison, suites, CELLS_OBSERVED if arguments.observed else CELLS):
        print(line, flush=True)
        lasting += bad
    print(f"{lasting} lasting differences")
    return 1 if lasting or not suites else 0


if __name__ == "__main__":
    sys.exit(main())

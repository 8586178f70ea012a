"""What rprun says of a program is what strace sees: nothing done is left out, nothing is claimed that was not tried.

    python tests/foreign/strace_compare.py [OPTIONS] [WORKLOAD...]

Each workload runs three times in directories of the same path and content: bare, to warm caches up, under strace, and
under `rprun --observe all`. Every open, exec, rename, unlink, link, symlink, mkdir, rmdir, chmod, chown, truncate, bind
and send that strace saw succeed, and every connect that it saw at all, must be among rprun's events; and each of the
events among the calls that strace saw. With `--results`, for a backend that sees outcomes, the calls that failed must
be there too, and each with the result that strace saw. With `--counts`, for a backend that counts, each end of a file
must be there, with as many bytes as that process has written through that descriptor, and no other. `--self` puts a
second run under strace in the place of rprun's: what differs then is the workload's own unsteadiness.
"""

# ruff: noqa: T201 - it is a program that prints its findings.
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import strace_descriptors
from items import LIMIT, UNKNOWN, Item
from rprun_items import of_rprun
from strace_items import FOLLOWED, TRACED, Account, of_strace
from strace_log import Log, parse
from workloads.catalogue import WORKLOADS, Workload, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 300.0
"""Seconds one run may take; the longest takes some seconds."""

_SHOWN = 12
"""Differences of one workload that are printed."""


class FailedError(Exception):
    """A workload ended with another status than bare, so that what was seen of it means nothing."""


class Finding(NamedTuple):
    """The comparison of one workload."""

    certain: int
    claimed: int
    missed: Counter[Item]
    invented: Counter[Item]
    remarks: list[str]

    @property
    def equal(self) -> bool:
        """Tell whether nothing is missed, invented or counted as lost."""
        return not self.missed and not self.invented and not any(remark.startswith("lost") for remark in self.remarks)


class Stage:
    """Runs a workload in a directory that is made anew, under the same path, for each run."""

    def __init__(self, workload: Workload, scratch: Path) -> None:
        self._workload = workload
        self._directory = scratch.resolve() / "run"
        self._report = scratch.resolve() / "report"

    def bare(self) -> None:
        """Run it unobserved."""
        self._perform([])

    def strace(self, *, results: bool = False, counts: bool = False) -> Account:
        """Run it under strace."""
        self._perform(strace_argv(self._report, counts=counts))
        log = read_log(self._report, self._directory)
        account = of_strace(log, results=results)
        if counts:
            for item, count in strace_descriptors.of_descriptors(log).items():
                outcome = ("ok",) if results else ()
                account.possible[*item, *outcome] += count
                # What has been removed has no path any more if it was not opened here; rprun may still know one.
                if item[1] != UNKNOWN:
                    account.certain[*item, *outcome] += count
        return account

    def rprun(
        self, rprun: Sequence[str], backend: str | None = None, *, results: bool = False, counts: bool = False
    ) -> tuple[Counter[Item], list[str]]:
        """Run it under rprun; return the items and what rprun says it did not see."""
        backends = ",".join(f"{category}={backend}" for category in ("file", "network", "process"))
        forced = ["--backend", backends] if backend else []
        self._perform([*rprun, "--observe", "all", *forced, "--json", "--events", str(self._report), "--"])
        events = [json.loads(line) for line in self._report.read_text(encoding="utf-8").splitlines()]
        remarks = [f"lost {event['count']}" for event in events if event["kind"] == "lost"]
        remarks += [
            f"unobserved {event['category']}: {event['reason']}" for event in events if event["kind"] == "unobserved"
        ]
        return of_rprun(events, results=results, counts=counts), remarks

    def _perform(self, prefix: Sequence[str]) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._report.unlink(missing_ok=True)
        for name in ("", "home", "tmp"):
            (self._directory / name).mkdir()
        argv = [*prefix, *self._workload.prepare(self._directory)]
        done = subprocess.run(
            argv,
            cwd=self._directory,
            env=environment(self._directory),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            said = (done.stdout + done.stderr)[-2000:].decode(errors="replace")
            raise FailedError(f"{' '.join(argv)}: exit status {done.returncode}: {said}")


def strace_argv(report: Path, *, counts: bool = False) -> list[str]:
    """Return the words that run a command under strace as `read_log` wants it."""
    more = strace_descriptors.TRACED if counts else ()
    # A question mark: a name that this architecture or this strace does not have is no error.
    names = ",".join(f"?{name}" for name in (*TRACED, *FOLLOWED, *more))
    options = ["-f", "-q", "-y", "-s", str(LIMIT), "-e", f"trace={names}"]
    return ["strace", *options, "-o", str(report), "--"]


def read_log(report: Path, directory: Path) -> Log:
    """Return what strace wrote of a command that began in `directory`."""
    return parse(report.read_bytes().decode("utf-8", "surrogateescape"), str(directory))


def compare(
    workload: Workload,
    rprun: Sequence[str] | None,
    backend: str | None = None,
    *,
    results: bool = False,
    counts: bool = False,
) -> Finding:
    """Compare rprun's account of a workload with strace's; strace's with another of strace's if `rprun` is None.

    Args:
        workload: what is run.
        rprun: the words that start it.
        backend: for what it observes; its own choice if it is None.
        results: whether calls are to have had the same results.
        counts: whether ends of files are to be the same, and what was written to them.

    Raises:
        FailedError: a run failed.
    """
    with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
        stage = Stage(workload, Path(scratch))
        stage.bare()
        seen = stage.strace(results=results, counts=counts)
        if rprun is None:
            again = stage.strace(results=results, counts=counts)
            claims, possible, remarks = again.certain, again.possible, []
        else:
            claims, remarks = stage.rprun(rprun, backend, results=results, counts=counts)
            possible = claims
    missed = _beyond(seen.certain, possible, counted=workload.counted)
    invented = _beyond(claims, seen.possible, counted=workload.counted)
    return Finding(seen.certain.total(), claims.total(), missed, invented, remarks)


def _beyond(items: Counter[Item], others: Counter[Item], *, counted: bool) -> Counter[Item]:
    """Return the items that are not among the others, or not that often."""
    if counted:
        return items - others
    return Counter({item: count for item, count in items.items() if item not in others})


def report(
    names: Sequence[str], rprun: Sequence[str] | None, backend: str | None, *, results: bool, counts: bool
) -> Iterator[tuple[str, bool]]:
    """Yield (line, is a difference) as the comparison goes on."""
    yield f"{'workload':12}{'strace':>8}{'claimed':>9}{'missed':>8}{'invented':>10}  verdict", False
    for name in names:
        if missing := WORKLOADS[name].missing():
            yield f"{name:12}{missing}, not run", False
            continue
        try:
            found = compare(WORKLOADS[name], rprun, backend, results=results, counts=counts)
        except (FailedError, subprocess.TimeoutExpired) as error:
            yield f"{name:12}{type(error).__name__}: {error}", True
            continue
        figures = f"{found.certain:8}{found.claimed:9}{found.missed.total():8}{found.invented.total():10}"
        yield f"{name:12}{figures}  {'equal' if found.equal else 'DIFFERENT'}", not found.equal
        for line in found.remarks:
            yield f"    {line}", False
        for line in described(found):
            yield f"    {line}", False


def described(found: Finding) -> Iterator[str]:
    """Yield the differences for a reader."""
    for title, items in (("missed", found.missed), ("invented", found.invented)):
        for item, count in items.most_common(_SHOWN):
            yield f"{title} {count}x {' '.join(repr(part) if index else part for index, part in enumerate(item))}"
        if len(items) > _SHOWN:
            yield f"{title}: {len(items) - _SHOWN} more"


def main() -> int:
    """Compare and print; 1 where there is a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--rprun", default=str(Path(sys.executable).with_name("rprun")))
    parser.add_argument("--backend", help="which one observes (default: what rprun chooses)")
    parser.add_argument("--results", action="store_true", help="calls must have had the same results")
    parser.add_argument(
        "--counts", action="store_true", help="files must have been closed as often, with as much written"
    )
    parser.add_argument("--self", action="store_true", dest="alone", help="compare strace with strace")
    arguments = parser.parse_args()
    if unknown := set(arguments.workloads) - WORKLOADS.keys():
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    if not shutil.which("strace"):
        parser.error("strace is missing (try your distribution's package)")
    differences = 0
    rprun = None if arguments.alone else [arguments.rprun]
    names = arguments.workloads or list(WORKLOADS)
    for line, bad in report(names, rprun, arguments.backend, results=arguments.results, counts=arguments.counts):
        print(line, flush=True)
        differences += bad
    print(f"{differences} workloads differ")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

"""Observation: what it costs a program that opens files all the time, a build, and calls that nobody watches.

Each is measured without privilege, whoever runs this, and where eBPF works, by that as well. A run counts only if it
was observed: missing events would make it fast. Where rprun says that it lost some, the row says how many.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from operator import sub
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import workloads
from benchmarks.measure import FailedError, environment, in_turns, seconds
from benchmarks.table import absent, compared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.peers import Programs
    from benchmarks.table import Row

_OPENS = {False: 100_000, True: 10_000}
_FILES = {False: 160, True: 40}
_UNWATCHED = 300_000
_ROUNDS = {False: 9, True: 3}
# What eBPF adds is some percent, by which a run takes longer or shorter anyway.
_MANY_ROUNDS = {False: 15, True: 3}

_WRITE_PROJECT = Path(__file__).resolve().parents[1] / "tests/foreign/workloads/c_build.py"
_STRACE = "strace -f --seccomp-bpf"
_WITHOUT_PRIVILEGE = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
_CONNECTIONS = {False: 10_000, True: 1_000}

# What rprun watches for each category, as strace names it; `?` because some architectures lack the older ones.
_FILE_CALLS = (
    *("open", "openat", "openat2", "creat", "truncate", "ftruncate", "rename", "renameat", "renameat2", "unlink"),
    *("unlinkat", "rmdir", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "chmod", "fchmod", "fchmodat"),
    *("chown", "lchown", "fchown", "fchownat"),
)
_PROCESS_CALLS = ("execve", "execveat")
_NETWORK_CALLS = ("connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg")

_EBPF = "rprun by eBPF"


def rows(programs: Programs, *, quick: bool) -> list[Row]:
    """Compare with the bare program and with strace, which is asked for the same calls."""
    with tempfile.TemporaryDirectory() as scratch:
        bench = _Bench(programs, Path(scratch))
        return [
            *_opens(bench, quick=quick),
            *_build(bench, quick=quick),
            *_connections(bench, quick=quick),
            *_unwatched(bench, quick=quick),
        ]


class _Bench(NamedTuple):
    """How programs are run here, bare and observed."""

    programs: Programs
    scratch: Path

    @property
    def events(self) -> Path:
        return self.scratch / "events"

    @property
    def trace(self) -> Path:
        return self.scratch / "trace"

    def rprun(self, categories: str, argv: Sequence[str], *, privileged: bool = False) -> list[str]:
        options = ["--observe", categories, "--json", "--events", str(self.events)]
        before = [] if privileged or os.geteuid() else _WITHOUT_PRIVILEGE
        return [*before, self.programs.rprun, *options, "--", *argv]

    def has_ebpf(self) -> bool:
        """Tell whether eBPF works for who runs this."""
        done = subprocess.run(
            [self.programs.rprun, "--backend", "file=ebpf", "--require", "file=partial", "--", "true"],
            check=False,
            capture_output=True,
        )
        return done.returncode == 0

    def strace(self, calls: Sequence[str], argv: Sequence[str]) -> list[str]:
        trace = "trace=" + ",".join(f"?{call}" for call in calls)
        return ["strace", "-f", "--seccomp-bpf", "-e", trace, "-o", str(self.trace), *argv]

    def compiled(self, name: str, source: str, otherwise: str) -> list[str]:
        """Return the start of a command: a C program, or Python's like of it where there is no gcc."""
        if not shutil.which("gcc"):
            return [sys.executable, "-ISc", otherwise]
        (self.scratch / f"{name}.c").write_text(source)
        program = str(self.scratch / name)
        subprocess.run(["gcc", "-O2", "-o", program, f"{program}.c"], check=True)
        return [program]

    def lost(self, kind: str, least: int) -> int:
        """Return how many events the last run says it lost.

        Raises:
            FailedError: it neither has the least number of events of this kind nor says that it lost them.
        """
        seen = lost = 0
        with self.events.open(encoding="utf-8") as lines:
            for line in lines:
                seen += f'"{kind}"' in line
                if '"lost"' in line:
                    lost += _count(line)
        if seen + lost < least:
            raise FailedError(f"rprun reported {seen} {kind} events of {least}: it did not observe")
        return lost


def _count(line: str) -> int:
    import json

    event = json.loads(line)
    return int(event["count"]) if event["kind"] == "lost" else 0


def _opens(bench: _Bench, *, quick: bool) -> list[Row]:
    count = _OPENS[quick]
    what, target = f"{count:,} opens, `--observe file`", 0.15
    if not shutil.which("strace"):
        return [absent(what, _STRACE, target)]
    argv = [*bench.compiled("opens", workloads.OPEN_C, workloads.OPEN_PYTHON), str(count)]
    losses: list[int] = []

    def observed() -> float:
        taken = seconds(bench.rprun("file", argv))
        losses.append(bench.lost("file-open", count))
        return taken

    traced = partial(seconds, bench.strace(_FILE_CALLS, argv))
    contenders: dict[str, Callable[[], float]] = {"rprun": observed, _STRACE: traced}
    figures = in_turns(contenders, _ROUNDS[quick])
    return [compared(what + _said(losses), figures, _STRACE, target, "s")]


def _build(bench: _Bench, *, quick: bool) -> list[Row]:
    what = f"C build of {_FILES[quick]} files, `make -j2`, file, process and network observed"
    added = "what observation adds to that build"
    if not (shutil.which("make") and shutil.which("gcc")):
        return [absent(what, "make", 1.35), absent(added, _STRACE, 0.4)]
    project = bench.scratch / "project"
    project.mkdir()
    subprocess.run([sys.executable, str(_WRITE_PROJECT), str(project), str(_FILES[quick])], check=True)
    argv = ["make", "-j2", "-C", str(project), "CC=gcc"]
    losses: list[int] = []

    def built(command: list[str]) -> float:
        # Nobody has the megabytes of another run taken away first.
        made = (*project.glob("*.o"), project / "program", project / "library.a", bench.events, bench.trace)
        for each in made:
            each.unlink(missing_ok=True)
        return seconds(command)

    def observed(*, privileged: bool = False) -> float:
        taken = built(bench.rprun("file,process,network", argv, privileged=privileged))
        losses.append(bench.lost("exec", _FILES[quick]))
        return taken

    contenders: dict[str, Callable[[], float]] = {"rprun": observed, "bare": partial(built, argv)}
    if bench.has_ebpf():
        contenders[_EBPF] = partial(observed, privileged=True)
    if shutil.which("strace"):
        calls = (*_FILE_CALLS, *_PROCESS_CALLS, *_NETWORK_CALLS)
        contenders[_STRACE] = partial(built, bench.strace(calls, argv))
    figures = in_turns(contenders, _MANY_ROUNDS[quick])
    whole = [compared(what + _said(losses), figures, "bare", 1.35, "s")]
    if _EBPF in figures:
        whole.append(compared("the same, by eBPF", {**figures, "rprun": figures[_EBPF]}, "bare", 1.08, "s"))
    if _STRACE not in figures:
        return [*whole, absent(added, _STRACE, 0.4)]
    more = {name: list(map(sub, figures[name], figures["bare"])) for name in ("rprun", _STRACE)}
    return [*whole, compared(added, more, _STRACE, 0.4, "s")]


def _connections(bench: _Bench, *, quick: bool) -> list[Row]:
    count = _CONNECTIONS[quick]
    argv = [sys.executable, "-ISc", workloads.CONNECT, str(count)]
    commands = {"rprun": bench.rprun("network", argv), "bare": argv}
    if bench.has_ebpf():
        commands[_EBPF] = bench.rprun("network", argv, privileged=True)
    figures = in_turns({name: partial(_own_time, command) for name, command in commands.items()}, _MANY_ROUNDS[quick])
    bench.lost("net-connect", count)
    rows = [compared(f"{count:,} connections, `--observe network`", figures, "bare", None, "s")]
    if _EBPF in figures:
        rows.append(compared("the same, by eBPF", {**figures, "rprun": figures[_EBPF]}, "bare", 1.1, "s"))
    return rows


def _unwatched(bench: _Bench, *, quick: bool) -> list[Row]:
    """No target: the kernel asks any filter about each call, which costs some 50 ns; strace's filter shows how much."""
    argv = [*bench.compiled("unwatched", workloads.UNWATCHED_C, workloads.UNWATCHED_PYTHON), str(_UNWATCHED)]
    commands = {"rprun": bench.rprun("all", argv), "bare": argv}
    if shutil.which("strace"):
        commands[_STRACE] = bench.strace((*_FILE_CALLS, *_PROCESS_CALLS, *_NETWORK_CALLS), argv)
    if bench.has_ebpf():
        commands[_EBPF] = bench.rprun("all", argv, privileged=True)
    figures = in_turns({name: partial(_own_time, command) for name, command in commands.items()}, 3 * _ROUNDS[quick])
    bench.lost("file-open", 1)
    what = f"{_UNWATCHED:,} times getppid and read, `--observe all`"
    rows = [compared(what, figures, against, None, "ms") for against in ("bare", _STRACE) if against in figures]
    if _EBPF in figures:
        rows.append(compared("the same, by eBPF", {**figures, "rprun": figures[_EBPF]}, "bare", None, "ms"))
    return rows


def _own_time(argv: Sequence[str]) -> float:
    """Return the seconds that a program says its loop took."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment(), cwd=os.sep
    )
    if done.returncode:
        raise FailedError(f"{' '.join(argv)}: exit status {done.returncode}: {done.stderr}")
    return float(done.stdout)


def _said(losses: Sequence[int]) -> str:
    return f" ({max(losses):,} events lost)" if any(losses) else ""

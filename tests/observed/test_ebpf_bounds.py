"""Few descriptors, slow readers, many runs, killed runs: nothing is lost uncounted, and nothing is left.

What is left in the kernel is looked for in the whole host, where others may have something of theirs. So after many
runs it is less than one thing for each.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ebpf_observing import ALL, kinds, needs_ebpf, objects, observe, options
from observing import REPEAT, compile_c, lost, of_kind, read_events
from running import (
    clean_environment,
    descendants_of,
    kill_quietly,
    read_until,
    rprun_argv,
    run,
    start,
    wait_gone,
    wait_until,
)

from rprun import CAPTURE, ObserverConfig, Process
from rprun.backends.ebpf.call_program import CallPrograms
from rprun.backends.ebpf.session import Session
from rprun.observe.categories import EventCategory

if TYPE_CHECKING:
    pass


@pytest.mark.parametrize("limit", [10, 12, *range(16, 33, 2), 40])
def test_few_descriptors(limit: int, tmp_path: Path) -> None:
    """One line says what to raise, or all is as ever."""
    needs_ebpf()
    arguments = (*options(tmp_path / "events"), "--", "sh", "-c", "cat /dev/null; exit 6")
    result = run(*arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    if result.returncode == 125:
        assert limit < 40
        assert (result.stderr.count(b"\n"), b"ulimit -n" in result.stderr) == (1, True)
        return
    assert (result.returncode, result.stderr) == (6, b"")
    assert kinds(read_events(tmp_path / "events"))["exec"] == 2


NO_MORE = """
import os, resource, sys
from rprun import CAPTURE, ObserverConfig, Process
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
config = ObserverConfig.with_categories(["network"], {"network": "ebpf"})
connect = "import socket; socket.socket().connect_ex(('127.0.0.1', 1))"
script = 'read line <"$0"; exec "$1" -ISc "$2"'
process, subscriber = Process.with_observer(["sh", "-c", script, sys.argv[1], sys.executable, connect], config)
with process, open(sys.argv[1], "wb", buffering=0) as go:
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    go.write(b"go\\n")
    process.wait(30)
    for each in held:
        os.close(each)
    for event in subscriber:
        print(event.kind, event.fields.get("address"))
"""


def test_no_descriptor_left(tmp_path: Path) -> None:
    """What a program is told does not take descriptors, once the command has been started."""
    needs_ebpf()
    os.mkfifo(tmp_path / "go")
    argv = (sys.executable, "-c", NO_MORE, str(tmp_path / "go"))
    result = subprocess.run(argv, capture_output=True, text=True, check=False, env=clean_environment(), timeout=60)
    assert (result.stderr, result.stdout) == ("", "net-connect 127.0.0.1\nnet-close 127.0.0.1\n")


@pytest.mark.parametrize("forced", [(), ("file=ebpf",), tuple(f"{category}=ebpf" for category in ALL)])
def test_programs_are_loaded_once(forced: tuple[str, ...], tmp_path: Path) -> None:
    """The session that was tried out is the one of the run, whatever is asked for first; the command inherits none."""
    needs_ebpf()
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    log = tmp_path / "log"
    backends = [word for each in forced for word in ("--backend", each)]
    arguments = ("--observe", ",".join(ALL), *backends, "--json", "--events", str(tmp_path / "events"))
    traced = [strace, "-f", "-e", "trace=bpf", "-o", str(log), *rprun_argv(), *arguments]
    result = subprocess.run(
        [*traced, "--", "ls", "/proc/self/fd"],
        capture_output=True,
        check=False,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
    )
    # The last is that of the directory.
    assert (result.returncode, result.stdout.split()) == (0, [b"0", b"1", b"2", b"3"])
    names = Counter(re.findall(r'BPF_PROG_LOAD, .*?prog_name="(\w+)"', log.read_text()))
    assert names["rprun_sys_exit"] == 1
    assert set(names.values()) == {1}


OPENS = """
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    for (long i = atol(argv[1]); i; i--) close(open("/dev/null", O_RDONLY));
    return write(1, "done\\n", 5) != 5;
}
"""


@pytest.mark.parametrize("stopped", ["consumer", "rprun"])
def test_nobody_reads(stopped: str, tmp_path: Path) -> None:
    """The command goes on, memory is bounded, and every event that is not there is counted."""
    needs_ebpf()
    program, count = compile_c(tmp_path, OPENS, "-static"), 150_000 * REPEAT
    read, write = os.pipe()
    script = 'echo ready; read line; exec "$0" "$1"'
    with start(
        *options(f"fd:{write}", "file"), "--", "sh", "-c", script, program, str(count), stdin=-1, pass_fds=(write,)
    ) as process:
        os.close(write)
        assert process.stdout is not None
        assert process.stdin is not None
        read_until(process.stdout.fileno(), b"ready")
        if stopped == "rprun":
            process.send_signal(signal.SIGSTOP)
        process.stdin.write(b"\n")
        process.stdin.flush()
        if stopped == "rprun":
            # Its monitor does not stop, and no more does the command.
            wait_until(lambda: _opens_are_over(process.pid), timeout=30)
            process.send_signal(signal.SIGCONT)
        read_until(process.stdout.fileno(), b"done", timeout=30)
        peak = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line)
        with open(read, "rb") as file:
            events = [json.loads(line) for line in file]
        assert process.wait(20) == 0
    # 16 MB are the ring.
    assert int(peak.split()[1]) < 64_000
    missing = sum(event["count"] for event in of_kind(events, "lost") if event["category"] == "file")
    # An open and a close each.
    made = of_kind(events, "file-open", "file-close")
    assert missing > 0
    assert 2 * count <= len(made) + missing <= 2 * count + 80


def _opens_are_over(rprun: int) -> bool:
    return all(b"program" not in _words(pid) for pid in descendants_of(rprun))


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


RING = """
import ctypes
library, parameters = ctypes.CDLL(None), ctypes.create_string_buffer(120)
# io_uring_setup
raise SystemExit(library.syscall(425, 4, parameters) < 0 or library.syscall(425, 4, parameters) < 0)
"""


def test_what_is_not_seen(tmp_path: Path) -> None:
    """A process that sets up an io_uring is named, once for each category that it can go around."""
    result, events = observe(tmp_path, sys.executable, "-c", RING)
    if result.returncode:
        pytest.skip("io_uring is missing, or root has forbidden it")
    unobserved = [(event["category"], event["backend"]) for event in of_kind(events, "unobserved")]
    assert unobserved == [("file", "ebpf"), ("network", "ebpf")]


def test_descendants_that_go_on(tmp_path: Path) -> None:
    """They are followed for as long as rprun waits for them, and not a moment longer."""
    script = "(read line <$0; cat /dev/null; exit 9) >/dev/null 2>&1 & exit 3"
    os.mkfifo(tmp_path / "go")
    needs_ebpf()
    with start(
        *options(tmp_path / "events"), "--orphans", "wait", "--", "setsid", "sh", "-c", script, str(tmp_path / "go")
    ) as process:
        with open(tmp_path / "go", "w", encoding="ascii") as file:
            file.write("go\n")
        assert process.wait(20) == 3
    events = read_events(tmp_path / "events")
    assert sorted(event["exit_code"] for event in of_kind(events, "descendant-exited")) == [0, 9]
    with start(*options(tmp_path / "events"), "--", "setsid", "sh", "-c", script, str(tmp_path / "go")) as process:
        assert process.wait(20) == 3
        (left,) = (event["pid"] for event in of_kind(read_events(tmp_path / "events"), "descendant-started"))
        with open(tmp_path / "go", "w", encoding="ascii") as file:
            file.write("go\n")
        wait_gone(left)
    assert kinds(read_events(tmp_path / "events"))["exec"] == 2


def test_killed(tmp_path: Path) -> None:
    """No process but rprun and its monitor holds anything in the kernel, so that all ends with them."""
    needs_ebpf()
    before, turns = objects(), 10 * REPEAT
    for turn in range(turns):
        kill_some(random.Random(turn), f"60.{os.getpid()}{turn:03}", tmp_path)
        result, events = observe(tmp_path, "sh", "-c", "cat /dev/null; exit 5")
        assert (result.returncode, kinds(events)["exec"], lost(events)) == (5, 2, 0)
    wait_until(lambda: len(objects() - before) < turns)


def kill_some(chance: random.Random, mark: str, tmp_path: Path) -> None:
    """Kill five runs at a random moment.

    Args:
        chance: when.
        mark: seconds that a daemon of theirs sleeps, by which to find them all.
        tmp_path: for their events.
    """
    # In the words of rprun, its monitor and the shell too, and of what they have forked and is not yet another program.
    script = f"setsid sleep {mark} & while :; do cat /dev/null; done"
    files = [tmp_path / str(number) for number in range(5)]
    with ExitStack() as running:
        for file in files:
            process = running.enter_context(start(*options(file), "--", "sh", "-c", script))
            running.callback(process.wait, 10)
            running.callback(process.kill)
        time.sleep(chance.random() * 0.5)
    wait_until(lambda: all(_words(pid).startswith(b"sleep\0") for pid in _marked(mark)))
    assert [held for pid in _marked(mark) for held in _held(pid)] == []
    for pid in _marked(mark):
        kill_quietly(pid)
    for file in files:
        if file.exists():
            for line in file.read_text().splitlines(keepends=True):
                assert not line.endswith("\n") or json.loads(line)


def test_many_in_a_row(tmp_path: Path) -> None:
    """Each of 500 runs is one as the first."""
    needs_ebpf()
    before = objects()

    def run_one(number: int) -> tuple[int, bytes, int, int]:
        file = tmp_path / str(number)
        result = run(*options(file), "--", "sh", "-c", f"exit {number % 256}")
        events = read_events(file)
        return result.returncode, result.stderr, kinds(events)["exec"], lost(events)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run_one, range(500)))
    assert found == [(number % 256, b"", 1, 0) for number in range(500)]
    wait_until(lambda: len(objects() - before) < len(found))


def _marked(mark: str) -> list[int]:
    """Processes that have a text in their words."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and mark.encode() in _words(int(name))]


def _held(pid: int) -> list[str]:
    names = [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    return [target for target in map(os.readlink, names) if "bpf" in target]


def test_many_at_once(tmp_path: Path) -> None:
    """Trees at the same time do not get into each other's records."""
    needs_ebpf()
    before = objects()
    count = 50
    runs = [start(*options(tmp_path / str(i)), "--", "sh", "-c", f"cat /dev/null; exit {i}") for i in range(count)]
    for number, process in enumerate(runs):
        with process:
            assert (process.communicate(timeout=60), process.returncode) == ((b"", b""), number)
        events = read_events(tmp_path / str(number))
        assert (kinds(events)["exec"], len({event["pid"] for event in events}), lost(events)) == (2, 2, 0)
    wait_until(lambda: len(objects() - before) < count)


def test_threads_of_one_program() -> None:
    """The API observes a tree for each of its threads, and leaves nothing behind."""
    needs_ebpf()
    config = ObserverConfig.with_categories(ALL, dict.fromkeys(map(EventCategory, ALL), "ebpf"))
    found: list[tuple[int | None, Counter[str]]] = []

    def work(number: int) -> None:
        process, subscriber = Process.with_observer(
            ["sh", "-c", f"cat /dev/null; exit {number}"], config, output=CAPTURE
        )
        with process:
            code = process.wait(30)
            found.append((code, Counter(str(event.kind) for event in subscriber)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(str(code) for code, _ in found) == [str(number) for number in range(6)]
    assert {(seen["exec"], seen["descendant-started"], seen["descendant-exited"]) for _, seen in found} == {(2, 1, 1)}


@pytest.mark.parametrize("step", ["load", "attach"])
def test_half_loaded(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of the programs cannot be loaded, none of the others stays; their descriptors are looked for."""
    needs_ebpf()

    def fail(*_: object) -> list[int]:
        raise OSError(12, "no memory")

    monkeypatch.setattr(CallPrograms, step, fail)
    with pytest.raises(OSError, match="no memory"):
        Session(EventCategory.ALL)

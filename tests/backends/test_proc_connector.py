"""proc-connector: a tree's starts, execs and ends, exactly, whatever its processes do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import TRANSPORTS, rprun_argv, run, transport_id

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from contract import CHECKS, check_descriptors, emitting, reports

from rprun.backends.connector import ProcConnector, probing
from rprun.backends.connector.attempts import Attempts
from rprun.backends.connector.tree import Tree
from rprun.backends.registry import for_run
from rprun.linux import seen
from rprun.observe.capabilities import CategoryCapability
from rprun.transport.command import Launch
from rprun.transport.handle import Monitor

sys.path.append(str(Path(__file__).parents[1] / "linux"))
from children import compiled

HERE = pytest.mark.skipif(bool(probing.refusal()), reason=f"needs the proc connector: {probing.refusal()}")
ONLY = ("--observe", "process", "--backend", "process=proc-connector")

THREADS = """
import ctypes, os, threading
ready, done = threading.Event(), threading.Event()
threads = [threading.Thread(target=lambda: (ready.set(), done.wait())) for _ in range(8)]
[each.start() for each in threads]
done.set()
[each.join() for each in threads]
os._exit(42)
"""
THREAD_EXECS = (
    "import os, threading; threading.Thread(target=lambda: os.execvp('sh', ['sh', '-c', 'true; exit 7'])).start()"
)
# A grandchild is told to end when its parent has ended, and is waited for.
ORPHAN = """
import os, select
said, say = os.pipe()
heard, tell = os.pipe()
middle = os.fork()
if middle == 0:
    grandchild = os.fork()
    if grandchild == 0:
        os.read(heard, 1)
        os._exit(9)
    os.write(say, str(grandchild).encode())
    os._exit(0)
grandchild = os.pidfd_open(int(os.read(said, 20)))
os.waitpid(middle, 0)
os.write(tell, b".")
select.select([grandchild], [], [])
"""
# The first thread ends alone, another one ends the process; then one that a signal ends.
FIRST_ENDS = r"""
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_t first;
static void *other(void *_) { pthread_join(first, 0); if (!fork()) _exit(3); wait(0); _exit(42); }
int main(void) { pthread_t t; first = pthread_self(); pthread_create(&t, 0, other, 0); pthread_exit(0); }
"""
SIBLING = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    int end[2]; char c;
    pipe(end);
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) { close(end[0]); _exit(5); }
    close(end[1]); read(end[0], &c, 1);
    /* Its end is told a moment after its descriptors are closed, and before it is reaped. */
    while (kill(pid, 0) == 0) sched_yield();
    printf("%ld", pid);
}
"""


def observed(tmp_path: Path, *command: str, options: tuple[str, ...] = ONLY, status: int = 0) -> list[dict[str, Any]]:
    """Run a command; its events."""
    events = tmp_path / "events"
    done = run(*options, "--json", "--events", str(events), "--", *command)
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in events.read_text().splitlines()]


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Those of one kind."""
    return [event for event in events if event["kind"] == kind]


def assert_whole(events: list[dict[str, Any]], command: int) -> None:
    """Every start has an end behind it, and a parent before it."""
    alive, parents = set(), {command}
    for event in events:
        if event["kind"] == "descendant-started":
            assert event["ppid"] in parents
            alive.add(event["pid"])
            parents.add(event["pid"])
        elif event["kind"] == "descendant-exited":
            alive.remove(event["pid"])
        elif event["kind"] == "exec":
            assert event["pid"] in alive | {command}
            assert event["result"] == "ok"
            assert "attempt" not in event
    assert not alive


@HERE
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check: Any) -> None:
    """It keeps to what every backend promises."""
    check(ProcConnector)


@HERE
@pytest.mark.parametrize("machine_code", [True, False])
def test_it_is_tried_out(machine_code: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a child that is seen to start and to end, whatever starts it."""
    if not machine_code:
        monkeypatch.setattr(seen, "OBJECT", "/nowhere")
    assert not probing.try_out()


@HERE
def test_the_command_inherits_nothing(tmp_path: Path) -> None:
    """What it holds open stays its own."""
    check_descriptors(ProcConnector, tmp_path)


@HERE
@pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
def test_a_script(tmp_path: Path, transport: tuple[str, ...]) -> None:
    """Starts with their parents, programs as they were asked for, ends with their statuses; nothing else."""
    script = "env A=1 true; (exit 42); (kill -KILL $(exec sh -c 'echo $PPID')); exec ls /"
    events = observed(tmp_path, "sh", "-c", script, options=(*ONLY, *transport))
    command = events[0]["pid"]
    assert_whole(events, command)
    assert [event["argv"] for event in of(events, "exec")] == [
        ["sh", "-c", script],
        ["env", "A=1", "true"],
        ["true"],
        ["sh", "-c", "echo $PPID"],
        ["ls", "/"],
    ]
    assert {event["cwd"] for event in of(events, "exec")} == {os.getcwd()}
    assert of(events, "exec")[2]["path"] == shutil.which("true")
    assert sorted(event["exit_code"] for event in of(events, "descendant-exited")) == [-9, 0, 0, 42]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    times = [event["timestamp_ms"] for event in events]
    assert times == sorted(times)


@HERE
def test_an_exec_that_fails_is_none(tmp_path: Path) -> None:
    """Attempts that the kernel refused are left out, also between others."""
    (tmp_path / "odd").write_text("no program")
    (tmp_path / "odd").chmod(0o755)
    script = (
        "import os\n"
        "for path in ('/dev/null', '/nowhere/at/all', '.'):\n"
        "    try: os.execv(path, [path])\n"
        "    except OSError: pass\n"
        f"os.execve({str(tmp_path / 'odd')!r}, ['x'], {{}}) if os.fork() == 0 else os.wait()\n"
        "try: os.execv('/', ['x'])\n"
        "except OSError: os.execvp('env', ['env', 'env', 'true'])\n"
    )
    events = observed(tmp_path, sys.executable, "-c", script)
    assert_whole(events, events[0]["pid"])
    assert [event["argv"][0] for event in of(events, "exec")] == [sys.executable, "env", "env", "true"]


@HERE
def test_programs_in_a_row(tmp_path: Path) -> None:
    """A process that becomes program after program within a millisecond: each with its own arguments."""
    chain = ["env"] * 20 + ["true"]
    events = observed(tmp_path, *chain)
    assert [event["argv"] for event in events] == [chain[index:] for index in range(len(chain))]


# Starts itself anew, so many times, each time after an attempt that fails.
FAILS_BETWEEN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words) {
    char left[16]; int n = atoi(words[2]);
    if (n == 0) return 0;
    sprintf(left, "%d", n - 1);
    execl(words[1], "no program", words[1], left, (char *) 0);
    execl("/proc/self/exe", words[0], words[1], left, (char *) 0);
    return 9;
}
"""


@HERE
def test_failures_between_programs_in_a_row(tmp_path: Path) -> None:
    """Of two attempts within a millisecond, the one that the kernel refused is not taken for the other."""
    (tmp_path / "odd").write_text("no program")
    (tmp_path / "odd").chmod(0o755)
    program = str(compiled(tmp_path, FAILS_BETWEEN, "-static"))
    events = observed(tmp_path, program, str(tmp_path / "odd"), "100")
    assert [event["argv"] for event in of(events, "exec")] == [
        [program, str(tmp_path / "odd"), str(left)] for left in range(100, -1, -1)
    ]


@HERE
def test_many(tmp_path: Path) -> None:
    """Two hundred processes, one after the other and beside each other: none is missing."""
    events = observed(tmp_path, "sh", "-c", "for i in $(seq 100); do env true & env true; done; wait")
    assert_whole(events, events[0]["pid"])
    assert not of(events, "lost")
    assert len(of(events, "descendant-started")) == 201
    execs = of(events, "exec")
    assert sum(event["argv"] == ["true"] for event in execs) == 200
    assert sum(event["argv"] == ["env", "true"] for event in execs) == 200


@HERE
def test_with_files_and_network(tmp_path: Path) -> None:
    """There is one filter for both: files by it alone, programs confirmed by the connector."""
    options = ("--observe", "all", "--backend", "process=proc-connector")
    events = observed(tmp_path, "sh", "-c", "cat /etc/hostname >/dev/null; (exit 3)", options=options, status=3)
    kinds = {event["kind"] for event in events}
    assert {"started", "exec", "file-open", "descendant-started", "descendant-exited", "exited"} <= kinds
    assert not {"lost", "unobserved"} & kinds
    assert ["cat", "/etc/hostname"] in [event["argv"] for event in of(events, "exec")]
    assert all(event["result"] == "ok" for event in of(events, "exec"))
    assert "/etc/hostname" in [event["path"] for event in of(events, "file-open")]
    assert len(of(events, "exec")) == 2


@HERE
def test_without_a_filter(tmp_path: Path) -> None:
    """Where an outer filter has the one place, starts and ends are exact, and arguments come from /proc."""
    events = tmp_path / "events"
    inner = [*rprun_argv(), *ONLY, "--json", "--events", str(events), "--", "sh", "-c", "(exit 3); read x"]
    outer = ("--observe", "file", "--events", os.devnull, "--pipe", "--")
    done = run(*outer, *inner, input=b"")
    assert done.returncode == 1, done.stderr
    found = [json.loads(line) for line in events.read_text().splitlines()]
    command = found[0]["pid"]
    assert_whole(found, command)
    assert [event["exit_code"] for event in of(found, "descendant-exited")] == [3]
    (start,) = of(found, "exec")
    assert start["argv"] in (["sh", "-c", "(exit 3); read x"], None)


@HERE
def test_threads_are_no_processes(tmp_path: Path) -> None:
    """Threads start and end unseen; the process's status is its own although theirs come later."""
    for _ in range(5):
        events = observed(tmp_path, "sh", "-c", '"$0" -c "$1"; true', sys.executable, THREADS)
        assert_whole(events, events[0]["pid"])
        assert [event["exit_code"] for event in of(events, "descendant-exited")] == [42]


@HERE
def test_exec_in_a_thread(tmp_path: Path) -> None:
    """A thread that starts a program becomes the process, which ends once, and is followed on."""
    for _ in range(5):
        events = observed(tmp_path, "sh", "-c", '"$0" -c "$1"; exit 0', sys.executable, THREAD_EXECS)
        assert_whole(events, events[0]["pid"])
        assert [event["exit_code"] for event in of(events, "descendant-exited")] == [7]
        assert of(events, "exec")[-1]["argv"] == ["sh", "-c", "true; exit 7"]
        assert of(events, "exec")[-1]["pid"] == of(events, "descendant-exited")[0]["pid"]


@HERE
def test_the_first_thread_ends_first(tmp_path: Path) -> None:
    """The process goes on, and so do its children."""
    program = compiled(tmp_path, FIRST_ENDS, "-pthread")
    events = observed(tmp_path, "sh", "-c", f"{program}; true")
    assert_whole(events, events[0]["pid"])
    assert sorted(event["exit_code"] for event in of(events, "descendant-exited")) == [3, 42]


@HERE
def test_clone_parent(tmp_path: Path) -> None:
    """A child that is made its maker's sibling belongs to the tree."""
    program = compiled(tmp_path, SIBLING)
    done = run(*ONLY, "--json", "--events", str(tmp_path / "events"), "--", str(program))
    assert done.returncode == 0
    found = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [event["pid"] for event in of(found, "descendant-started")] == [int(done.stdout)]
    assert [event["exit_code"] for event in of(found, "descendant-exited")] == [5]


@HERE
def test_orphans_keep_their_true_parent(tmp_path: Path) -> None:
    """A grandchild that outlives its parent is followed to its end."""
    events = observed(tmp_path, sys.executable, "-c", ORPHAN)
    (orphan,) = [event["pid"] for event in of(events, "descendant-exited") if event["exit_code"] == 9]
    (start,) = [event for event in of(events, "descendant-started") if event["pid"] == orphan]
    assert start["ppid"] in [event["pid"] for event in of(events, "descendant-started")]


@HERE
def test_what_was_dropped(tmp_path: Path) -> None:
    """Messages without room are a `lost` record; who lives by then is known again, and its end is told."""
    backend = ProcConnector()
    emitter, subscriber = emitting(backend)
    paths = [tmp_path / "go", tmp_path / "ready"]
    for path in paths:
        os.mkfifo(path)
    go, ready = (os.open(path, os.O_RDWR) for path in paths)
    script = 'for i in 1 2 3 4 5 6 7 8; do (:); (:); done; (echo >"$1"; read y <"$0"; exit 9) & wait $!'
    launch = Launch([os.fsencode(word) for word in ("sh", "-c", script, *paths)])
    try:
        backend.prepare(launch, emitter, backend.categories)
        assert backend._connector is not None
        backend._connector._socket.setsockopt(1, 8, 1)  # SO_RCVBUF: the kernel makes it its least
        monitor = Monitor.fork(launch)
        try:
            told = reports(monitor)
            backend.attach(int(told[0][1][0]))
            assert os.read(ready, 1)
            # Room again, so that nothing is dropped for what else happens on this host.
            backend._connector._socket.setsockopt(1, 8, 1 << 20)
            while backend.deliver(100):
                pass
            os.write(go, b"\n")
            while not any(verb == "exit" for verb, _ in told):
                told += reports(monitor)
            monitor.order("bye")
            backend.finish(10)
        finally:
            monitor.close()
    finally:
        backend.stop()
        emitter.close()
        os.close(go)
        os.close(ready)
    events = subscriber.drain()
    kinds = [event.kind.value for event in events]
    assert "lost" in kinds
    starts = [event.pid for event in events if event.kind == "descendant-started"]
    ends = {event.pid: event.fields["exit_code"] for event in events if event.kind == "descendant-exited"}
    assert len(starts) == len(set(starts))
    assert set(starts) == set(ends)
    assert ends[starts[-1]] == 9


@pytest.mark.parametrize("namespace", ["--net", "--pid", "--user"])
def test_in_a_container(namespace: str) -> None:
    """In other namespaces it is unavailable, with a sentence, and something else is chosen."""
    extra = ["--fork", "--mount-proc"] if namespace == "--pid" else []
    enter = ["unshare", *(["--user", "--map-root-user"] if os.getuid() else []), namespace, *extra]
    if subprocess.run([*enter, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip(f"unshare {namespace} is not allowed here for unprivileged users")
    code = (
        "from rprun.backends.connector import ProcConnector; p = ProcConnector().probe('process');"
        "print(p.support, p.reason)"
    )
    said = subprocess.run([*enter, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    support, _, reason = said.stdout.partition(" ")
    assert support == "unavailable"
    assert "namespace" in reason


def test_one_instance_serves_the_filter_s_categories() -> None:
    """A run has one filter: who has it does the work of both."""
    rows = [
        CategoryCapability("file", "partial", "seccomp-user-notify", "x"),
        CategoryCapability("process", "supported", "proc-connector", "x"),
        CategoryCapability("network", "partial", "seccomp-user-notify", "x"),
    ]
    assert [(b.name, c) for b, c in for_run(rows, "linux")] == [("proc-connector", ("process", "file", "network"))]
    assert [(b.name, c) for b, c in for_run(rows[:1], "linux")] == [("seccomp-user-notify", ("file",))]


def test_tree() -> None:
    """Threads, late messages of threads that an exec ended, strangers."""
    tree = Tree(100)
    assert not tree.on_fork(100, 100, 50)
    assert tree.on_fork(101, 101, 100)
    assert not tree.on_fork(102, 101, 100)
    assert not tree.on_fork(900, 900, 800)
    assert not tree.on_exec(900)
    assert tree.on_exec(101)
    assert tree.on_exit(102, 101, 0) is None
    assert tree.on_exit(900, 900, 0) is None
    assert tree.on_fork(103, 101, 100) is False
    assert tree.on_exit(101, 101, signal.SIGTERM) is None
    assert tree.on_exit(103, 101, 0) == signal.SIGTERM
    assert 101 not in tree


def test_attempts() -> None:
    """The last in time, one spared for each message that follows; what failed goes with it."""
    seen = Attempts()
    for time, name in ((1, "no"), (2, "first"), (2, "second"), (9, "third")):
        seen.add(7, time, {"path": name})
    assert seen.confirm(7, 3, 2) == {"path": "first"}
    assert seen.confirm(7, 3, 1) == {"path": "second"}
    assert seen.confirm(7, 9, 0) == {"path": "third"}
    assert seen.confirm(7, 9, 0) is None

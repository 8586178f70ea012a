"""What eBPF puts on record: the tree with outcomes, in order, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ebpf_observing import kinds, needs_ebpf, observe
from observing import capabilities, compile_c, lost, of_kind, paths, python
from running import (
    rprun_argv,
)

if TYPE_CHECKING:
    pass

EACH = "cat /dev/null; {python} -ISc 'import socket; socket.socket().bind((\"127.0.0.1\", 0))'"


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("file", {"file-open", "file-close"}),
        ("network", {"net-bind", "net-close"}),
        ("process", {"exec", "descendant-started", "descendant-exited"}),
    ],
)
def test_one_category(category: str, expected: set[str], tmp_path: Path) -> None:
    """What was not asked for is not there."""
    _, events = observe(tmp_path, "sh", "-c", EACH.format(python=sys.executable) + "; :", categories=[category])
    assert set(kinds(events)) == expected | {"started", "exited"}


@pytest.mark.parametrize(
    ("file", "process"),
    [("ebpf", "proc-connector"), ("ebpf", "seccomp-user-notify"), ("seccomp-user-notify", "ebpf")],
)
def test_with_another_backend(file: str, process: str, tmp_path: Path) -> None:
    """Each tells of its own category only, so that nothing is told twice."""
    needs_ebpf()
    rows = [row for row in capabilities(*rprun_argv()) if (row["category"], row["backend"]) == ("process", process)]
    if rows[0]["support"] == "unavailable":
        pytest.skip(rows[0]["reason"])
    backends = f"file={file},process={process}"
    result, events = observe(
        tmp_path, "sh", "-c", "cat /dev/null; exit 4", categories=("file", "process"), backends=backends
    )
    assert (result.stderr, result.returncode) == (b"", 4)
    found = kinds(events)
    assert [found[kind] for kind in ("exec", "descendant-started", "descendant-exited", "lost")] == [2, 1, 1, 0]
    assert all(("result" in event) == (file == "ebpf") for event in of_kind(events, "file-open"))
    assert "/dev/null" in [event["path"] for event in of_kind(events, "file-open")]


def test_order(tmp_path: Path) -> None:
    """Nothing of a process comes before its start, and after its end only what it had open; times do not go back."""
    script = "for i in 1 2 3 4 5 6 7 8; do (cat /dev/null | cat | cat >/dev/null) & done; wait"
    _, events = observe(tmp_path, "sh", "-c", script)
    living, ended, latest = {events[0]["pid"]}, 0, Counter[int]()
    for event in events[1:-1]:
        pid = event["pid"]
        if event["kind"] == "descendant-started":
            assert event["ppid"] in living
            living.add(pid)
        if event["kind"] in ("file-write", "file-close") and pid not in living:
            # The kernel closes them when it has told of the end, and rprun tells of it before anything else.
            assert pid == ended
        else:
            assert pid in living
        assert latest[pid] <= event["timestamp_ms"]
        latest[pid] = event["timestamp_ms"]
        if event["kind"] == "descendant-exited":
            living.remove(pid)
            ended = pid
    assert living == {events[0]["pid"]}
    assert kinds(events)["exec"] == 25


def test_nobody_else(tmp_path: Path) -> None:
    """What goes on outside of the tree leaves no trace."""
    needs_ebpf()
    (tmp_path / "other").touch()
    with subprocess.Popen(["sh", "-c", 'while :; do cat "$0"; done', tmp_path / "other"]) as other:
        try:
            _, events = observe(tmp_path, "sh", "-c", "i=0; while [ $i -lt 50 ]; do cat /dev/null; i=$((i + 1)); done")
        finally:
            other.kill()
            other.wait()
    assert paths(events, "file-open", tmp_path) == []
    assert kinds(events)["descendant-started"] == 50


def test_a_big_tree(tmp_path: Path) -> None:
    """2,000 processes at nearly the same time; each has its start, its end and its status."""
    script = "i=0; while [ $i -lt 2000 ]; do (exit $((i % 5))) & i=$((i + 1)); done; wait"
    _, events = observe(tmp_path, "sh", "-c", script)
    started = {event["pid"] for event in of_kind(events, "descendant-started")}
    ended = {event["pid"]: event["exit_code"] for event in of_kind(events, "descendant-exited")}
    assert started == set(ended)
    assert Counter(ended.values()) == dict.fromkeys(range(5), 400)
    assert lost(events) == 0


ODD_EXECS = r"""
import os, sys
def start(*words):
    if not os.fork():
        os.execve(*words, os.environ)
    os.wait()
true = open("/bin/true", "rb").read()
memory = os.memfd_create("program")
os.write(memory, true)
start(memory, ["from memory"])
with open(sys.argv[1] + "/deleted", "wb", opener=lambda *a: os.open(*a[:2], 0o755)) as file:
    file.write(true)
deleted = os.open(sys.argv[1] + "/deleted", 0)
os.unlink(sys.argv[1] + "/deleted")
start(deleted, ["deleted"])
start(sys.argv[1] + "/outer", ["typed", "", "a b"])
os.chdir("/bin")
start("./true", [b"\xff\xfe", *["y" * 1000] * 1900])
"""


def test_odd_execs(tmp_path: Path) -> None:
    """Memory, a removed file, a script of a script, 2 MB of arguments, no UTF-8."""
    for name, interpreter in (("inner", "/bin/sh -e"), ("outer", f"{tmp_path}/inner given")):
        (tmp_path / name).write_text(f"#!{interpreter}\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    result, events = observe(tmp_path, *python(ODD_EXECS, str(tmp_path)))
    assert (result.stderr, result.returncode) == (b"", 0)
    _, memory, deleted, script, large = of_kind(events, "exec")
    assert [(event["path"], event["argv"]) for event in (memory, deleted)] == [
        (None, ["from memory"]),
        (None, ["deleted"]),
    ]
    assert (script["path"], script["argv"]) == (str(tmp_path / "outer"), ["typed", "", "a b"])
    assert (os.path.basename(large["path"]), large["argv"][0], large["argv_base64"][0]) == ("true", "��", "//4=")
    assert large["argv"][1:] == ["y" * 1000] * 1900
    assert lost(events) == 0


THREADS = """
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static int gone[2];
static void *run(void *exec) {
    char byte;
    if (exec) execl("/bin/cat", "cat", "/dev/null", (char *)0);
    read(gone[0], &byte, 1);
    syscall(SYS_exit_group, 7);
    return exec;
}
int main(int argc, char **argv) {
    int status; pthread_t thread;
    if (!fork()) {
        pthread_create(&thread, NULL, run, argv);
        pthread_join(thread, NULL);
    }
    wait(&status);
    if (pipe(gone)) return 1;
    if (!fork()) {
        close(gone[1]);
        pthread_create(&thread, NULL, run, NULL);
        syscall(SYS_exit, 3);
    }
    close(gone[1]);
    wait(&status);
    return WEXITSTATUS(status);
}
"""


def test_threads(tmp_path: Path) -> None:
    """An exec by a thread is its process's; a process ends with its last thread."""
    result, events = observe(tmp_path, compile_c(tmp_path, THREADS, "-pthread"))
    assert result.returncode == 7
    first, second = (event["pid"] for event in of_kind(events, "descendant-started"))
    assert [event["pid"] for event in of_kind(events, "exec")] == [events[0]["pid"], first]
    assert [(event["pid"], event["exit_code"]) for event in of_kind(events, "descendant-exited")] == [
        (first, 0),
        (second, 7),
    ]


INTERRUPTED = """
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
static int ends[2];
static void ring(int number) { (void)number; if (write(ends[1], "x", 1) != 1) _exit(9); }
int main(void) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
    socklen_t size = sizeof address;
    struct sigaction action = { .sa_handler = ring, .sa_flags = SA_RESTART };
    struct itimerval soon = { .it_value.tv_usec = 50000 };
    int server = socket(AF_INET, SOCK_STREAM, 0); char byte;
    if (pipe(ends) || bind(server, (void *)&address, size) || listen(server, 1)) return 1;
    getsockname(server, (void *)&address, &size);
    if (!fork()) {
        read(ends[0], &byte, 1);
        return connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&address, size) != 0;
    }
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &soon, 0);
    return accept(server, 0, 0) < 0;
}
"""


def test_a_call_that_is_begun_again(tmp_path: Path) -> None:
    """One accept, which a signal interrupted before the kernel restarted it, is one event."""
    result, events = observe(tmp_path, compile_c(tmp_path, INTERRUPTED), categories=["network"])
    assert result.returncode == 0
    assert [(event["result"], event["address"]) for event in of_kind(events, "net-accept")] == [("ok", "127.0.0.1")]

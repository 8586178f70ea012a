"""The eBPF programs that follow a tree of processes: who is of it, and how each ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_process import CLONE, EXEC, EXIT, STARTED, UNSHARE, needs_bpf, programs, python, run, script, watch

sys.path.append(str(Path(__file__).parents[1] / "linux"))
from children import forked

from rprun.linux import libc
from rprun.linux.token import tell
from rprun.observe.events import now_ms

CLONE_PARENT, CLONE_NEWPID = 0x8000, 0x20000000  # include/uapi/linux/sched.h


def test_a_shell() -> None:
    """Each process starts below the right one, is what it became, and ends as it did; the times are in order."""
    before = now_ms()
    seen = run("/bin/sh", "-c", "cd /; /bin/true | /bin/cat 'a b' 2>/dev/null; (exit 3); exit 0")
    after = now_ms()
    assert seen.execs()[0] == {
        "path": b"/bin/sh",
        "argv": [b"/bin/sh", b"-c", b"cd /; /bin/true | /bin/cat 'a b' 2>/dev/null; (exit 3); exit 0"],
        "cwd": os.getcwdb(),
        "result": "ok",
    }
    others = sorted((one["path"], one["argv"], one["cwd"]) for one in seen.execs()[1:])
    assert others == [(b"/bin/cat", [b"/bin/cat", b"a b"], b"/"), (b"/bin/true", [b"/bin/true"], b"/")]
    assert sorted(seen.codes().values()) == [0, 1, 3]
    assert {event.fields["ppid"] for event in seen.of(STARTED)} == {seen.root}
    assert seen.lost == 0
    times = [event.at_ns for event in seen.events]
    assert before - 1 <= min(times) // 1_000_000 <= max(times) // 1_000_000 <= after + 1


def test_many_short_processes() -> None:
    """None is missed, however short it lives."""
    seen = run("/bin/sh", "-c", "for i in $(seq 200); do /bin/true $i; done")
    assert len(seen.codes()) == 201
    assert set(seen.codes().values()) == {0}
    words = [one["argv"][1] for one in seen.execs() if one["path"] == b"/bin/true"]
    assert words == [b"%d" % number for number in range(1, 201)]


def test_threads_are_no_processes() -> None:
    """Threads are told from processes, and a process that a thread starts is one."""
    seen = python(
        "import threading, os\n"
        "def body():\n"
        "    os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)\n"
        "threads = [threading.Thread(target=body if i == 7 else int) for i in range(20)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]"
    )
    (child,) = seen.codes()
    assert [(one.pid, one.fields["argv"]) for one in seen.of(EXEC)][1:] == [(child, [b"true"])]
    assert [one.fields["ppid"] for one in seen.of(STARTED)] == [seen.root]


def test_clone_parent() -> None:
    """A child that is made its maker's sibling is of the tree; its parent is the one that wait(2) knows."""

    def body() -> None:
        if not libc.syscall(CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0):
            os._exit(5)
        os._exit(0)

    seen = watch(body)
    (child,) = seen.codes()
    assert seen.of(STARTED)[0].fields == {"ppid": os.getpid()}
    assert seen.codes() == {child: 5}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


def test_a_daemon() -> None:
    """What has left its parents is still seen, after the command has ended."""
    seen = run("/bin/sh", "-c", "(setsid /bin/sh -c 'exec /bin/sleep 0.2' & ) ; exit 0")
    sleeps = [event for event in seen.of(EXEC) if event.fields["argv"] == [b"/bin/sleep", b"0.2"]]
    assert len(sleeps) == 1
    assert seen.codes()[sleeps[0].pid] == 0
    with suppress(ChildProcessError):
        os.waitpid(sleeps[0].pid, 0)


def test_exit_codes_and_signals() -> None:
    """As the parent is told by wait(2)."""
    seen = python(
        "import os, signal, sys\n"
        "for code in range(256):\n"
        "    if not os.fork(): os._exit(code)\n"
        "for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGRTMAX):\n"
        "    if not os.fork(): os.kill(os.getpid(), number); os._exit(1)\n"
        "for _ in range(260): os.wait()"
    )
    signals = (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGRTMAX)
    assert sorted(seen.codes().values()) == sorted([*range(256), *(-number for number in signals)])


INITIAL_THREAD_ENDS = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None)
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
def body():
    stat = f'/proc/self/task/{os.getpid()}/stat'
    while open(stat).read().rpartition(')')[2].split()[0] != 'Z':
        os.sched_yield()
    os._exit(9) if sys.argv[1] == 'exit_group' else libc.syscall(int(sys.argv[2]), 8)
threading.Thread(target=body).start()
libc.syscall(int(sys.argv[2]), 7)
"""


@pytest.mark.parametrize("end", ["exit_group", "exit"])
def test_the_initial_thread_ends_first(end: str) -> None:
    """The process lives on, and ends as its parent is told (of two that end alone that depends on the kernel)."""
    argv = [sys.executable, "-c", INITIAL_THREAD_ENDS, end, str(EXIT)]
    seen = watch(lambda: os.execv(argv[0], argv))
    told = os.waitstatus_to_exitcode(seen.status)
    assert told in ([9] if end == "exit_group" else [7, 8])
    assert list(seen.codes().values()) == [told]


def test_a_pid_namespace_below() -> None:
    """Processes that have other numbers for themselves are called by those that they have here."""
    needs_bpf()
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs root, and unshare(1)")
    seen = watch(lambda: os.execvp("unshare", ["unshare", "--pid", "--fork", "sh", "-c", "/bin/true; test $$ = 1"]))
    assert seen.status == 0
    assert len(seen.codes()) == 2
    assert min(seen.codes()) > 100
    assert {event.pid for event in seen.of(EXEC)} == {seen.root, *seen.codes()}
    first, second = seen.of(STARTED)
    assert first.fields == {"ppid": seen.root}
    assert second.fields == {"ppid": first.pid}


def test_an_observer_in_a_pid_namespace() -> None:
    """Then its own numbers count, which are not those of the initial namespace."""
    needs_bpf()
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a pid namespace")

    def inside() -> None:
        assert os.getpid() == 1
        seen = run("/bin/sh", "-c", "/bin/true; (exit 2); exit 0")
        assert seen.root == 2
        assert seen.codes() == {3: 0, 4: 2}
        assert [event.pid for event in seen.of(EXEC)] == [2, 3]
        assert [event.fields for event in seen.of(STARTED)] == [{"ppid": 2}] * 2

    def body() -> None:
        libc.syscall(UNSHARE, CLONE_NEWPID)
        assert os.waitstatus_to_exitcode(os.waitpid(forked(inside), 0)[1]) == 0

    assert os.waitstatus_to_exitcode(os.waitpid(forked(body), 0)[1]) == 0


def test_others_are_not_seen() -> None:
    """Neither what this process starts besides, nor one that does not know the token."""
    with programs() as (maps, token):
        assert forked(lambda: tell(token ^ 1)) > 0
        os.wait()
        subprocess.run(["/bin/sh", "-c", "/bin/true; /bin/true"], check=True)
        assert maps.ring.take(100) == []
        assert list(maps.tree.keys()) == []


SCRIPT = """
for i in 1 2 3 4 5 6 7 8; do
    ls / | sort -r | head -$i > /dev/null
    printf '%s\\n' a b c | xargs -n 1 -P 3 /bin/echo "x $i" > /dev/null
    (kill -9 $(sh -c 'echo $PPID')) 2> /dev/null
    nosuchprogram 2> /dev/null
    nice sh -c "exit $i" || env -i /bin/true &
done
wait
exit 0
"""


def test_against_strace(tmp_path: Path) -> None:
    """Every exec that succeeded and every end is told that strace(1) tells, and no other."""
    needs_bpf()
    strace, log = shutil.which("strace"), tmp_path / "log"
    if strace is None:
        pytest.skip("needs strace")
    file = script(tmp_path / "script", "#!/bin/sh\n" + SCRIPT)
    # A log for each process: in a common one, lines can be interrupted by those of others.
    command = [strace, "-ff", "-q", "-s", "4096", "-v", "-xx", "-o", str(log), "-e", "trace=execve,execveat", file]
    seen = run(*command)
    theirs, ends = [], {}
    for each in tmp_path.glob("log.*"):
        pid, text = int(each.suffix[1:]), each.read_text()
        for path, argv in re.findall(r'^execve\("(.*?)", \[(.*?)\], \[.*\]\) += 0$', text, re.MULTILINE):
            theirs.append((pid, _plain(path), [_plain(word) for word in re.findall(r'"(.*?)"', argv)]))
        ((code, name),) = re.findall(r"^\+{3} (?:exited with (\d+)|killed by (SIG\w+))", text, re.MULTILINE)
        ends[pid] = int(code) if code else -signal.Signals[name]
    ours = [(event.pid, event.fields["path"], event.fields["argv"]) for event in seen.of(EXEC)]
    assert len(theirs) > 80
    # What strace does itself, to find out what the kernel can do, is not in its log.
    assert sorted(one for one in ours if one[0] in ends) == sorted(theirs)
    assert {pid: code for pid, code in seen.codes().items() if pid in ends} == ends
    assert {one[1] for one in ours if one[0] not in ends} == {strace.encode()}


def _plain(text: str) -> bytes:
    """Return what strace -xx writes as hexadecimal numbers."""
    return bytes.fromhex(text.replace("\\x", ""))

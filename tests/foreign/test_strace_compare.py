"""strace's output is understood, two runs under strace are equal, and rprun sees what strace sees."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from items import UNKNOWN, normal
from rprun_items import of_rprun
from running import rprun_argv
from strace_compare import compare, described, read_log, strace_argv
from strace_descriptors import of_descriptors
from strace_items import of_strace
from strace_log import MisreadError, parse, split, string
from workloads.catalogue import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path

    from items import Item
    from strace_items import Account

ODD_NAMES = r"""
import os
os.mkdir("a<b>(c, d")
os.chdir("a<b>(c, d")
name = os.fsdecode(b'x>y,"z\n\t\\ \xff\xe2\x98\x83')
open(name, "w").close()
os.rename(name, "plain")
here = os.open(".", os.O_RDONLY)
os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=here)
os.symlink("plain", "link", dir_fd=here)
if os.fork() == 0:
    os.chdir("..")
    os.mkdir("above")
    os._exit(3)
os.wait()
os.mkdir("below")
with open("deep", "r+") as file:
    file.truncate(3)
    os.unlink("deep")
    file.truncate(2)
try:
    os.unlink("absent")
except OSError:
    pass
"""

THREAD_EXECS = """
import os, sys, threading
thread = threading.Thread(target=os.execv, args=("/bin/sh", ["sh", "-c", "kill -KILL $$"]))
thread.start()
thread.join()
"""

ADDRESSES = r"""
import socket
for family, address in (
    (socket.AF_INET, ("127.0.0.1", 9)),
    (socket.AF_INET6, ("::1", 9)),
    (socket.AF_UNIX, "\0abstract"),
    (socket.AF_UNIX, "/absent/socket"),
):
    with socket.socket(family) as client:
        client.connect_ex(address)
with socket.socket(type=socket.SOCK_DGRAM) as sender:
    sender.sendto(b"{sa_family=AF_INET6}", ("127.0.0.1", 9))
    sender.sendmsg([b"two"], [], 0, ("127.0.0.1", 10))
with socket.create_server(("127.0.0.1", 0)) as server:
    pass
"""

ENDS = r"""
import os, sys, threading
write = os.O_WRONLY | os.O_CREAT
a, b = os.open("a", write), os.open("b", write)
os.write(a, b"1")
os.dup2(a, b)
os.writev(b, [b"2", b"2"])
if os.fork() == 0:
    os.write(a, b"333")
    os._exit(0)
os.wait()
os.closerange(a, a + 1)
assert os.open("c", write) == a
os.pwrite(a, b"4444", 10)
os.sendfile(a, os.open("a", os.O_RDONLY), 0, 5)
other = threading.Thread(target=os.close, args=(a,))
other.start()
other.join()
memory = os.memfd_create("d")
os.write(memory, b"55555")
kept = os.open("e", write)
os.write(kept, b"666666")
os.write(os.pipe()[1], b"pipe")
os.set_inheritable(b, True)
os.execv("/bin/sh", ["sh", "-c", f"echo 7 >&{b}"])
"""


def _why_not() -> str:
    """Return why strace cannot be used here; nothing where it can."""
    if not shutil.which("strace"):
        return "strace missing"
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"ptrace missing: {done.stderr.strip()}" if done.returncode else ""


WHY_NOT = _why_not()
needs_strace = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def account(directory: Path, *argv: str) -> Account:
    """Run a program in an empty directory under strace."""
    report, room = directory.resolve() / "report", directory.resolve() / "room"
    room.mkdir()
    subprocess.run([*strace_argv(report), *argv], cwd=room, check=False, capture_output=True, timeout=60)
    return of_strace(read_log(report, room))


def within(items: object, directory: Path) -> set[Item]:
    """Return the items of one directory, with paths relative to it."""
    room = f"{directory.resolve()}/room"
    found = [item for item in items if any(part.startswith(f"{room}/") for part in item)]  # type: ignore[attr-defined]
    return {tuple(part.replace(f"{room}/", "") for part in item) for item in found}


@needs_strace
def test_names_and_directories_are_read(tmp_path: Path) -> None:
    """Any byte of a name comes back, and relative paths are joined with the directory of the process that gave them."""
    seen = account(tmp_path, sys.executable, "-ISc", ODD_NAMES)
    odd = 'x>y,"z\n\t\\ \udcff☃'
    certain = within(seen.certain, tmp_path)
    assert certain == {
        ("file-mkdir", "a<b>(c, d"),
        ("file-open", f"a<b>(c, d/{odd}", "write", "create"),
        ("file-rename", f"a<b>(c, d/{odd}", "a<b>(c, d/plain"),
        ("file-open", "a<b>(c, d", "read", ""),
        ("file-open", "a<b>(c, d/deep", "write", "create"),
        ("file-symlink", "a<b>(c, d/link", "/plain"),
        ("file-mkdir", "above"),
        ("file-mkdir", "a<b>(c, d/below"),
        ("file-open", "a<b>(c, d/deep", "readwrite", ""),
        ("file-truncate", "a<b>(c, d/deep"),
        ("file-unlink", "a<b>(c, d/deep"),
    }
    assert within(seen.possible, tmp_path) - certain == {("file-unlink", "a<b>(c, d/absent")}
    assert seen.possible["file-truncate", UNKNOWN] == 1
    assert seen.possible["descendant-exited", "3"] == 1
    assert seen.possible["descendant-started",] == 1


@needs_strace
def test_halves_are_joined(tmp_path: Path) -> None:
    """An open that waits for another process is one call, though strace wrote it in two halves."""
    script = "mkfifo fifo; cat fifo > copy & echo text > fifo; wait"
    seen = account(tmp_path, "/bin/sh", "-c", script)
    assert "unfinished" in (tmp_path / "report").read_text()
    assert within(seen.certain, tmp_path) >= {
        ("file-open", "fifo", "read", ""),
        ("file-open", "fifo", "write", "create"),
        ("file-open", "copy", "write", "create"),
    }


@needs_strace
def test_exec_of_a_thread_is_one_exec(tmp_path: Path) -> None:
    """It succeeded, although its end stands under another number than its begin; and a signal is an end as well."""
    seen = account(tmp_path, sys.executable, "-ISc", THREAD_EXECS)
    assert "superseded" in (tmp_path / "report").read_text()
    assert seen.certain["exec", "/bin/sh", "['sh', '-c', 'kill -KILL $$']"] == 1
    assert seen.possible["descendant-exited", "-9"] == 1


@needs_strace
def test_addresses_are_read(tmp_path: Path) -> None:
    """Of each family; connects count although nobody listens, and data that look like an address are none."""
    seen = account(tmp_path, sys.executable, "-ISc", ADDRESSES)
    assert {item for item in seen.certain if item[0].startswith("net-")} == {
        ("net-connect", "inet", "127.0.0.1", "9"),
        ("net-connect", "inet6", "::1", "9"),
        ("net-connect", "unix", "@abstract"),
        ("net-connect", "unix", "/absent/socket"),
        ("net-send", "inet", "127.0.0.1", "9"),
        ("net-send", "inet", "127.0.0.1", "10"),
        ("net-bind", "inet", "127.0.0.1", "0"),
    }
    assert seen.possible["net-listen",] == 1


@needs_strace
def test_ends_are_followed(tmp_path: Path) -> None:
    """Each descriptor of each process has an end, and the sum of what went through it while it was one file."""
    report, room = tmp_path.resolve() / "report", tmp_path.resolve() / "room"
    room.mkdir()
    argv = [*strace_argv(report, counts=True), sys.executable, "-ISc", ENDS]
    subprocess.run(argv, cwd=room, check=True, capture_output=True, timeout=60)
    found = of_descriptors(read_log(report, room))
    counts = {item: count for item, count in found.items() if item[1].startswith(f"{room}/")}
    assert {(item[0], item[1].removeprefix(f"{room}/"), *item[2:]): count for item, count in counts.items()} == {
        # The first descriptor, the duplicate, the shell's duplicate of that, the child's, and that opened for reading.
        ("file-close", "a"): 5,
        ("file-write", "a", "1"): 1,
        ("file-write", "a", "2"): 2,
        ("file-write", "a", "3"): 1,
        ("file-close", "b"): 1,
        ("file-close", "c"): 1,
        ("file-write", "c", "9"): 1,
        ("file-close", "e"): 1,
        ("file-write", "e", "6"): 1,
    }
    assert found["file-write", UNKNOWN, "5"] == 1


def test_arguments_are_split() -> None:
    """At commas that stand in no string, no brackets and no path."""
    assert list(split('3</a, b>, "x, \\", y", {a=[1, 2], b=f(1, 2)}, 1<<3, NULL')) == [
        "3</a, b>",
        '"x, \\", y"',
        "{a=[1, 2], b=f(1, 2)}",
        "1<<3",
        "NULL",
    ]


def test_what_is_cut_is_read_up_to_there() -> None:
    """A string longer than strace was asked for ends in dots; what is no string has no text."""
    assert string('"long"...') == "long"
    assert string("NULL") is None
    assert string("0x7ffc") is None


def test_unknown_line_is_an_error() -> None:
    """Nothing is passed over."""
    with pytest.raises(MisreadError):
        parse("12 something new\n", "/")
    with pytest.raises(MisreadError):
        parse("strace: Process 12 attached\n", "/")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/proc/123/maps", "/proc/4567/maps"),
        ("/run/tmp/ccAbCd12.o", "/run/tmp/ccZZZZZZ.o"),
        ("/x/tmp_obj_AbCdEf", "/x/tmp_obj_012345"),
        ("/x/__pycache__/a.cpython-311.pyc.139", "/x/__pycache__/a.cpython-311.pyc.4"),
        ("-fresolution=/run/tmp/ccAbCd12.res", "-fresolution=/run/tmp/cc012345.res"),
    ],
)
def test_random_parts_are_taken_out(one: str, other: str) -> None:
    """Names that two runs never share become equal."""
    assert normal(one) == normal(other)


def test_names_that_only_look_random_stay() -> None:
    """A file that is really missing must not hide behind a pattern."""
    for name in (
        "/usr/bin/ccache",
        "/a/temporary",
        "/a/tmp/b",
        "/proc/self/maps",
        "/a/account.c",
        "/a/testing",
        "/a/stringop.h",
    ):
        assert normal(name) == name


def test_events_become_the_same_items() -> None:
    """Exact bytes win over what JSON can show, and spellings of one path are one path."""
    events = [
        {"kind": "started", "category": "lifecycle"},
        {
            "kind": "file-open",
            "path": "/a//./b\ufffd",
            "path_base64": "L2EvLy4vYv8=",
            "access": "read",
            "create": False,
        },
        {"kind": "file-rename", "from": "/a/b/", "to": None},
        {"kind": "exec", "path": "/bin/x", "argv": ["x", "\ufffd"], "argv_base64": [None, "/w=="]},
        {"kind": "net-connect", "family": "inet", "address": "127.0.0.1", "port": 40000},
        {"kind": "net-connect", "family": "unix", "path": "@x"},
        {"kind": "descendant-exited", "exit_code": None},
    ]
    assert of_rprun(events) == {
        ("file-open", "/a/b\udcff", "read", ""): 1,
        ("file-rename", "/a/b", UNKNOWN): 1,
        ("exec", "/bin/x", "['x', '\\udcff']"): 1,
        ("net-connect", "inet", "127.0.0.1", "ephemeral"): 1,
        ("net-connect", "unix", "@x"): 1,
        ("descendant-exited", UNKNOWN): 1,
    }


@needs_strace
def test_strace_agrees_with_itself() -> None:
    """Two runs of one workload are equal: what differs from run to run is taken out."""
    found = compare(WORKLOADS["shell"], None)
    assert found.equal, "\n".join(described(found))
    assert found.certain > 100


# It stands for an rprun that saw nothing and makes something up.
LIAR = """
import os, sys
events = sys.argv[sys.argv.index("--events") + 1]
with open(events, "w") as file:
    file.write('{"kind": "file-open", "path": "/made/up", "access": "read", "create": false}\\n')
    file.write('{"kind": "lost", "count": 3}\\n')
command = sys.argv[sys.argv.index("--") + 1 :]
os.execv(command[0], command)
"""


@needs_strace
def test_differences_are_found() -> None:
    """All that was left out is missed, what was made up is named, and a loss is no silent one."""
    found = compare(WORKLOADS["shell"], [sys.executable, "-ISc", LIAR])
    assert found.missed.total() == found.certain
    assert found.invented == {("file-open", "/made/up", "read", ""): 1}
    assert found.remarks == ["lost 3"]
    assert not found.equal


@needs_strace
@pytest.mark.parametrize("name", ["shell", "make"])
def test_rprun_sees_what_strace_sees(name: str) -> None:
    """Nothing done is left out, and nothing is claimed that was not tried."""
    if missing := WORKLOADS[name].missing():
        pytest.skip(missing)
    answer = subprocess.run([*rprun_argv(), "capabilities", "--json"], capture_output=True, text=True, check=True)
    rows = json.loads(answer.stdout)
    for row in rows:
        if row["support"] == "unavailable" or row["backend"] == "psutil-poll":
            pytest.skip(f"exact observation of {row['category']} missing here: {row['reason']}")
    # It is the one that counts.
    counts = any(row["category"] == "file" and row["backend"] == "ebpf" for row in rows)
    found = compare(WORKLOADS[name], rprun_argv(), counts=counts)
    assert found.equal, "\n".join([*found.remarks, *described(found)])

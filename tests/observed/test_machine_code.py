"""What the machine code tells of a call is what the interpreter tells of it, and what is not for it gets there."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest
from by_interpreter import executable
from observing import Events, compile_c, maps_of, observe, of_kind, options, supervisor_of
from running import read_until, start, wait_gone, wait_until

from rprun.linux.memory import FIRST_CHUNK

if TYPE_CHECKING:
    from pathlib import Path

# Opens what it is given in every way; the first one tells the supervisor which files the program sees.
OPENS = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void at(int directory, const char *path, int flags) { syscall(SYS_openat, directory, path, flags, 0600); }
static void both(const char *path, int flags) { at(AT_FDCWD, path, flags); syscall(SYS_open, path, flags, 0600); }
int main(int argc, char **argv)
{
    open("/etc", O_RDONLY);
    int work = open(argv[1], O_RDONLY | O_DIRECTORY);
    chdir(argv[1]);
    for (int each = 2; each < argc; each++) {
        both(argv[each], O_RDONLY);
        both(argv[each], O_WRONLY | O_CLOEXEC);
        both(argv[each], O_RDONLY | O_NOFOLLOW);
        both(argv[each], O_PATH);
        at(work, argv[each], O_RDWR);
        at(99, argv[each], O_RDONLY);
        at(-1, argv[each], O_RDONLY);
    }
    both("made", O_CREAT | O_WRONLY);
    both("made", O_CREAT | O_EXCL | O_WRONLY);
    /* At the end of a page behind which there is none, and of one behind which there is. */
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *end = page + 8192 - 6;
    strcpy(page + 4096 - 4, "/etc/../etc");
    both(page + 4096 - 4, O_RDONLY);
    munmap(page + 4096, 4096);
    end -= 4096;
    strcpy(end, "/etc/");
    both(end, O_RDONLY);
    memcpy(end, "/etc/x", 6); /* without a NUL */
    both(end, O_RDONLY);
    both(0, O_RDONLY);
    both((char *)-4096, O_RDONLY);
    both((char *)0x7fffffffffff, O_RDONLY);
    both("", O_RDONLY);
    mkdir("gone", 0700);
    chdir("gone");
    at(AT_FDCWD, "x", O_RDONLY);
    rmdir("../gone");
    at(AT_FDCWD, "x", O_RDONLY);
    chdir(argv[1]);
    mkdir("not (deleted)", 0700);
    chdir("not (deleted)");
    both("x", O_RDONLY);
    if (!fork()) {
        both("../made", O_RDONLY);
        _exit(0);
    }
    wait(0);
    chdir("/");
    both("etc", O_RDONLY);
    return 3;
}
"""
BACK = "../" * 8


def opened(events: Events) -> list[dict[str, Any]]:
    """What is told of each open, but for what differs between two runs."""
    pids = {event["pid"]: number for number, event in reversed(list(enumerate(events)))}
    drop = {"seq", "timestamp_ms", "pid"}
    return [
        {name: value for name, value in event.items() if name not in drop} | {"process": pids[event["pid"]] > 0}
        for event in of_kind(events, "file-open")
    ]


def make_files(work: Path) -> None:
    """Make the directory that is worked in, with files of all kinds."""
    if work.exists():
        shutil.rmtree(work)
    work.mkdir()
    (work / "file").touch()
    (work / "loop").symlink_to("loop")
    (work / "dangling").symlink_to("nothing")
    (work / "up").symlink_to("..")
    (work / "closed").mkdir(mode=0)


def test_every_open_is_told_in_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of all kinds, in all the ways to open them: the same events in the same order."""
    program = compile_c(tmp_path, OPENS, "-w")
    work = tmp_path / "work"
    name = b"n\xffn".decode(errors="surrogateescape")
    long = ["/etc/" + "x" * (size - 5) for size in (FIRST_CHUNK - 1, FIRST_CHUNK, FIRST_CHUNK + 1)]
    paths = [
        *("file", "./file", "file/", "file/x", "nothing", "loop", "dangling", "up", "up/work//file", "closed"),
        *("closed/x", f"{work}/file", f"{work}/nothing", "/", ".", "..", "//etc", f"{BACK}etc/hostname"),
        *("/dev/null", "/dev/stdin", "/dev/fd/0", "/dev/full", "/dev/tty", "/proc/self/stat", "/proc/self/fd/0"),
        *("/proc/thread-self/comm", "itself", "/proc/1/stat", "/proc/1/fd", f"/proc/{os.getpid()}/stat"),
        *(name, "a\nb", '"', "\\", "-x", *long, "/" + "y" * 4094, "/" + "y" * 4095, "z" * 300),
    ]
    told = []
    for way in ("machine code", "interpreter"):
        if way == "interpreter":
            monkeypatch.setenv("RPRUN", executable(tmp_path))
        make_files(work)
        result, events = observe(tmp_path, program, str(work), *paths, categories="file")
        # Else whoever tidies up, and is not root, could not.
        (work / "closed").chmod(0o700)
        assert result.returncode == 3, result
        told.append(opened(events))
    assert len(told[1]) > 11 * len(paths)
    for one, other in zip(*told, strict=True):
        assert one == other


def test_it_is_used(tmp_path: Path) -> None:
    """Where there is machine code it is used: the object is mapped into the first supervisor, and into nobody else."""
    if os.uname().machine != "x86_64":
        pytest.skip("there is machine code for x86_64 only")
    with start(*options(tmp_path / "events"), "--", "sh", "-c", "echo ready; read line", stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        read_until(process.stdout.fileno(), b"ready")
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        assert "answering_x86_64.so" in maps_of(supervisor)
        assert "answering" not in maps_of(process.pid)
        # It may have been what ended the other one: the next one does without.
        os.kill(supervisor, signal.SIGKILL)
        # The other one's memory may be there for a moment still.
        killed = supervisor
        supervisor = wait_until(lambda: (found := supervisor_of(process.pid)) != killed and found)
        assert "answering" not in maps_of(supervisor)
        process.stdin.close()
        process.wait(20)
    wait_gone(supervisor)


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_around_the_ring(size: int, tmp_path: Path) -> None:
    """More records than the ring holds, of all lengths: none is lost, cut or told twice."""
    program = compile_c(tmp_path, AROUND)
    result, events = observe(tmp_path, program, str(size), categories="file", timeout=120)
    assert result.returncode == 3
    names = [event["path"] for event in of_kind(events, "file-open") if event["path"].startswith("/none")]
    missing = sum(event["count"] for event in of_kind(events, "lost"))
    assert len(names) + missing == ROUNDS
    numbers = [int(name[6:14]) for name in names]
    assert numbers == sorted(set(numbers))
    assert all(name[14:] == "x" * (int(name[6:14]) % 97 + size) for name in names)


ROUNDS = 90_000
AROUND = rf"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{{
    char path[256];
    for (int each = 0; each < {ROUNDS}; each++) {{
        int length = sprintf(path, "/none/%08d", each), more = each % 97 + atoi(argv[1]);
        memset(path + length, 'x', more);
        path[length + more] = 0;
        open(path, O_RDONLY);
    }}
    return 3;
}}
"""

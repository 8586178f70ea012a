"""Nobody waits for who serves a file system but who uses it: not the supervisor, and so not the rest of the tree."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

import pytest
from observing import compile_c, observe, of_kind, options, python, read_events
from running import read_until, start
from silent_mounts import automount, filesystem
from test_machine_code import OPENS, make_files, opened

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("answered_by")

# A child goes to where nobody answers, its parent goes on.
TWO = """
import os, signal, sys
way, path = sys.argv[1:]
print("ready", flush=True)
sys.stdin.buffer.raw.read(1)
child = os.fork()
if not child:
    if way == "exec":
        os.execv(path, ["program"])
    os.open(path, os.O_RDONLY)
sys.stdin.buffer.raw.read(1)
for _ in range(100):
    os.close(os.open("/etc/passwd", os.O_RDONLY))
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
sys.exit(3)
"""


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("way", ["open", "exec"])
@pytest.mark.parametrize("mounted", [filesystem, automount])
def test_who_does_not_answer(mounted: object, way: str, when: str, tmp_path: Path) -> None:
    """Only who looks there waits; what it did is told, and nothing of whether there is such a file."""
    place, events = tmp_path / "place", tmp_path / "events"
    place.mkdir()
    path = str(place / "a file")
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(mounted(place)) if when == "before" else -1  # type: ignore[operator]
        words = [*options(events), "--", *python(TWO, way, path)]
        with start(*words, stdin=-1, bufsize=0) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            read_until(process.stdout.fileno(), b"ready")
            if when == "meanwhile":
                asked = stack.enter_context(mounted(place))  # type: ignore[operator]
            process.stdin.write(b"1")
            assert select.select([asked], [], [], 30)[0]
            process.stdin.write(b"2")
            try:
                assert process.wait(15) == 3
            finally:
                # Lets everybody go.
                stack.close()
    told = [event for event in read_events(events) if event.get("path") == path]
    assert [event["kind"] for event in told] == ["exec" if way == "exec" else "file-open"]
    assert "exists" not in told[0]
    seen = [event for event in read_events(events) if event.get("path") == "/etc/passwd"]
    assert [event["exists"] for event in seen] == [True] * 100


SERVER = r"""
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
static char request[1 << 17];
int main(int argc, char **argv)
{
    char options[100], program[4096];
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC), status;
    sprintf(options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
    sprintf(program, "%s/program", argv[1]);
    if (mount("served", argv[1], "fuse", 0, options))
        return 1;
    pid_t child = -1;
    for (;;) {
        struct fuse_in_header *in = (void *)request;
        struct { struct fuse_out_header header; struct fuse_init_out init; } out = {{sizeof out.header, -ENOENT}};
        if (read(device, request, sizeof request) < 0)
            return 2;
        if (in->opcode == FUSE_INIT) {
            out.header.len = sizeof out, out.header.error = 0;
            out.init.major = FUSE_KERNEL_VERSION, out.init.minor = FUSE_KERNEL_MINOR_VERSION, out.init.max_write = 4096;
        } else
            /* To answer, it needs somebody itself. */
            execl("/nowhere", "x", (char *)0);
        out.header.unique = in->unique;
        write(device, &out, out.header.len);
        if (in->opcode != FUSE_INIT)
            break;
        if (!(child = fork())) {
            execl(program, "program", (char *)0);
            _exit(7);
        }
    }
    waitpid(child, &status, 0);
    umount2(argv[1], MNT_DETACH);
    return WEXITSTATUS(status);
}
"""


@pytest.mark.parametrize("categories", ["process", "all"])
def test_who_serves_itself(categories: str, tmp_path: Path) -> None:
    """A tree that executes a program from what it serves itself does not wait, whatever is observed of it."""
    if os.geteuid() or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("/dev/fuse, which needs to be root")
    place = tmp_path / "place"
    place.mkdir()
    program = compile_c(tmp_path, SERVER, "-w")
    result, events = observe(tmp_path, program, str(place), categories=categories, timeout=30)
    if result.returncode == 1:
        pytest.skip("mount(2), which needs to be root")
    assert result.returncode == 7
    assert f"{place}/program" in [event["path"] for event in of_kind(events, "exec")]


def test_what_is_local_is_known_all_the_same(tmp_path: Path) -> None:
    """Beside a mount that may keep one waiting, of all other files is told what is told without it."""
    program, work, place = compile_c(tmp_path, OPENS, "-w"), tmp_path / "work", tmp_path / "place"
    place.mkdir()
    names = [
        *("file", "./file", "file/", "file/x", "nothing", "nothing/x", "loop", "dangling", "up", "up/work//file"),
        *("closed", f"{work}/file", f"{work}/nothing", f"{work}/up/work/nothing", f"{work}/up/work/file"),
        *("/", ".", "..", "/dev/null", "/dev/none", "/dev/shm/none", "/proc/1/stat", "/proc/1/none", "/proc/none"),
        *("/sys/none", "/sys/kernel", "/bin/sh", "/bin/nothing", "/bin/nothing/x", "x" * 300),
    ]
    told = []
    for waits in (False, True):
        with filesystem(place) if waits else contextlib.nullcontext():
            make_files(work)
            result, events = observe(tmp_path, program, str(work), *names, categories="file")
            (work / "closed").chmod(0o700)
        assert result.returncode == 3, result
        told.append(opened(events))
    for one, other in zip(*told, strict=True):
        # Whether a name like that is a file's or the kernel's word is not asked for then.
        assert one == other or "/not (deleted)/" in one["path"]

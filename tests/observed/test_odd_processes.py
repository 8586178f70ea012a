"""Threads, vfork, chroot, processes that must not be read: each is answered, and told of as far as can be."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from observing import REPEAT, compile_c, is_privileged, lost, observe, of_kind, python
from running import rprun_argv

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("answered_by")

THREADS = """
import os, threading
def work(number):
    for i in range(50):
        os.close(os.open(f"/dev/../dev/null", number << 20 & 0))
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for each in threads: each.start()
for each in threads: each.join()
"""


def test_threads(tmp_path: Path) -> None:
    """What threads do is their process's, and no thread is taken for a process."""
    _, events = observe(tmp_path, *python(THREADS))
    opened = [event for event in of_kind(events, "file-open") if event["path"] == "/dev/../dev/null"]
    assert len(opened) == 400
    assert {event["pid"] for event in opened} == {events[0]["pid"]}
    assert of_kind(events, "descendant-started", "descendant-exited", "lost") == []


OWN_DESCRIPTORS = """
import ctypes, os, socket, threading
tcp = socket.socket()
def work():
    assert ctypes.CDLL(None).unshare(0x400) == 0 # CLONE_FILES
    udp = socket.socket(type=socket.SOCK_DGRAM)
    os.dup2(udp.fileno(), tcp.fileno())
    used = socket.socket(fileno=tcp.fileno())
    used.connect(("127.0.0.1", 9))
    used.detach()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_a_thread_with_descriptors_of_its_own(tmp_path: Path) -> None:
    """The socket that is looked at is the thread's, and not what its process has under that number."""
    result, events = observe(tmp_path, *python(OWN_DESCRIPTORS))
    assert result.returncode == 0, result
    assert [event["protocol"] for event in of_kind(events, "net-connect")] == ["udp"]


EXEC_IN_THREAD = """
#include <pthread.h>
#include <unistd.h>
static void *run(void *nothing) { execl("/bin/cat", "cat", "/dev/null", (char *)0); return nothing; }
int main(void) {
    pthread_t thread;
    if (fork()) { return 0; }
    pthread_create(&thread, NULL, run, NULL);
    pthread_join(thread, NULL);
    return 1;
}
"""


def test_exec_in_a_thread(tmp_path: Path) -> None:
    """The program of a thread becomes that of its process, which is started and goes on as one."""
    program = compile_c(tmp_path, EXEC_IN_THREAD, "-pthread")
    result, events = observe(tmp_path, "sh", "-c", '"$0"; sleep 0.2; exit 3', program)
    assert result.returncode == 3
    (cat,) = [event for event in of_kind(events, "exec") if event["argv"] == ["cat", "/dev/null"]]
    kinds = [event["kind"] for event in events if event["pid"] == cat["pid"]]
    assert (kinds[0], kinds.count("descendant-started"), kinds.count("descendant-exited")) == (
        "descendant-started",
        1,
        1,
    )


SPAWN = """
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
int main(void) {
    char *words[] = { "cat", "/dev/null", NULL };
    for (int i = 0; i < 20; i++) {
        pid_t pid; int status;
        if (i % 2) { if (posix_spawn(&pid, "/bin/cat", NULL, NULL, words, environ)) return 1; }
        else if (!(pid = vfork())) { execv("/bin/cat", words); _exit(2); }
        if (waitpid(pid, &status, 0) != pid || status) return 3;
    }
    return 5;
}
"""


def test_vfork_and_posix_spawn(tmp_path: Path) -> None:
    """A parent that stands still until its child's exec keeps nobody waiting."""
    result, events = observe(tmp_path, compile_c(tmp_path, SPAWN))
    assert result.returncode == 5
    assert len([event for event in of_kind(events, "exec") if event["argv"] == ["cat", "/dev/null"]]) == 20
    assert {event["ppid"] for event in of_kind(events, "descendant-started")} == {events[0]["pid"]}
    assert [event["exit_code"] for event in of_kind(events, "descendant-exited")] == [0] * 20


def test_changes_of_directory(tmp_path: Path) -> None:
    """A relative path belongs to the directory of the moment."""
    program = (
        "import os\nfor d in ('/', '/dev', '/usr'):\n os.chdir(d)\n try: os.open('null', 0)\n except OSError: pass"
    )
    _, events = observe(tmp_path, *python(program))
    names = [event["path"] for event in of_kind(events, "file-open") if event["path"].endswith("null")]
    assert [os.path.normpath(name).replace("//", "/") for name in names] == ["/null", "/dev/null", "/usr/null"]


@pytest.mark.skipif(not is_privileged(), reason="CAP_SYS_CHROOT is missing, which only root has")
def test_chroot(tmp_path: Path) -> None:
    """Paths are as the process sees them, inside its root, and nothing is said of what is there."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").touch()
    program = (
        "import os, sys\nos.close(os.open(sys.argv[1], 0))\nos.chroot(sys.argv[1])\nos.chdir('/')\n"
        "for i in range(3):\n os.open('/file', 0)\n os.open('file', 0)"
    )
    result, events = observe(tmp_path, *python(program, str(tmp_path)))
    assert result.returncode == 1
    assert "exists" not in of_kind(events, "file-open")[-1]
    result, events = observe(tmp_path, *python(program, str(tmp_path / "inside")))
    assert result.returncode == 0
    assert "exists" in next(event for event in of_kind(events, "file-open") if event["path"] == f"{tmp_path}/inside")
    opened = [event for event in of_kind(events, "file-open") if event["path"].endswith("/file")]
    assert [event["path"].replace("//", "/") for event in opened] == ["/file"] * 6
    assert not any("exists" in event for event in opened)


SHARED_ROOT = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static char stack[65536];
static int child(void *root) { return chroot(root) || chdir("/"); }
int main(int argc, char **argv) {
    close(open("/etc/passwd", O_RDONLY));
    int status, pid = clone(child, stack + sizeof stack, CLONE_FS | SIGCHLD, argv[1]);
    if (waitpid(pid, &status, 0) != pid || status) return 1;
    for (int each = 0; each < 2; each++) { open("/inside", O_RDONLY); open("inside", O_RDONLY); }
    execl("/program", "program", (char *)0);
    return 2;
}
"""
EXITS = "int main(void) { return 7; }"


@pytest.mark.skipif(not is_privileged(), reason="CAP_SYS_CHROOT is missing, which only root has")
def test_a_root_that_is_shared(tmp_path: Path) -> None:
    """If another process changes the root of both, no path is told as one outside, and an exec is told."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "inside").touch()
    shutil.move(compile_c(tmp_path, EXITS, "-static"), root / "program")
    result, events = observe(tmp_path, compile_c(tmp_path, SHARED_ROOT, "-static"), str(root))
    assert result.returncode == 7
    opened = [event for event in of_kind(events, "file-open") if event["path"].endswith("inside")]
    assert [event["path"].replace("//", "/") for event in opened] == ["/inside"] * 4
    assert not any("exists" in event for event in opened)
    assert [event["path"] for event in of_kind(events, "exec")][-1] == "/program"


@pytest.mark.skipif(not is_privileged(), reason="CAP_SYS_ADMIN is missing, which only root has")
def test_numbers_of_another_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc has the numbers of another pid namespace, nothing is taken from it: a directory is unknown."""
    inner = tmp_path / "rprun-inside"
    inner.write_text('#!/bin/sh\nexec unshare --pid --fork "$@"\n'.replace('"$@"', f'{shlex.join(rprun_argv())} "$@"'))
    inner.chmod(0o755)
    monkeypatch.setenv("RPRUN", str(inner))
    result, events = observe(tmp_path, "sh", "-c", "cd /usr/share && cat no-such-file; exit 5")
    assert result.returncode == 5
    assert not [event for event in of_kind(events, "file-open") if (event["path"] or "").endswith("no-such-file")]
    assert of_kind(events, "exec")[-1]["cwd"] is None


NOT_DUMPABLE = """
import ctypes, os, sys
if len(sys.argv) > 1:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
os.close(os.open("/dev/null", 0))
pid = os.fork()
if not pid:
    os.close(os.open("/dev/null", 0))
    os._exit(4)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) + 2)
"""


@pytest.mark.parametrize("user", [(), ("other",)], ids=["same", "other"])
def test_not_dumpable(user: tuple[str, ...], tmp_path: Path) -> None:
    """What must not be read has no path; its calls go on, and it is started and ended as any other."""
    if user and not is_privileged():
        pytest.skip("CAP_SETUID is missing, which only root has")
    result, events = observe(tmp_path, *python(NOT_DUMPABLE, *user))
    assert (result.stderr, result.returncode) == (b"", 6)
    # From 3.12 on Python counts its threads when it forks.
    last = [event["path"] for event in of_kind(events, "file-open") if event["path"] != "/proc/self/stat"][-2:]
    assert set(last) <= {None, "/dev/null"}
    assert [event["exit_code"] for event in of_kind(events, "descendant-exited")] == [4]
    assert lost(events) == 0


def test_mount_namespaces(tmp_path: Path) -> None:
    """Where other files are seen than here, nothing is said of whether they exist."""
    words = ("unshare", "--mount", "--user", "--map-root-user")
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("unprivileged user namespaces are forbidden here")
    script = 'mount -t tmpfs none "$0" && : >"$0/new" && cat "$0/new" && exit 3'
    result, events = observe(tmp_path, *words, "sh", "-c", script, str(tmp_path))
    if result.returncode != 3:
        pytest.skip(f"mount(2) is forbidden here: {result.stderr!r}")
    opened = [event for event in of_kind(events, "file-open") if event["path"] == f"{tmp_path}/new"]
    assert len(opened) == 2
    assert all("exists" not in event or event["exists"] is None for event in opened)


def test_many_short_ones(tmp_path: Path) -> None:
    """Hundreds that live a millisecond each have their statuses."""
    program = 'i=0; while [ $i -lt 300 ]; do sh -c "exec 3</dev/null; exit $((i % 7))"; i=$((i + 1)); done'
    _, events = observe(tmp_path, "sh", "-c", program)
    ended = {event["pid"]: event["exit_code"] for event in of_kind(events, "descendant-exited")}
    started = [event["pid"] for event in of_kind(events, "descendant-started")]
    assert [ended[pid] for pid in started] == [i % 7 for i in range(300)]


SHARED_MEMORY = """
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    static char path[] = "/nowhere/of the parent";
    for (int left = atoi(argv[1]); left > 0; left--) {
        open(path, O_RDONLY);
        pid_t pid = vfork();
        if (pid == 0) {
            /* It has the parent's memory, and so has the parent afterwards. */
            memcpy(path + sizeof path - 7, " child", 6);
            open(path, O_RDONLY);
            execl(argv[0], argv[0], "0", "/nowhere/of the program", (char *)0);
            _exit(1);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status)
            return 1;
        memcpy(path + sizeof path - 7, "parent", 6);
    }
    for (int number = 2; number < argc; number++)
        open(argv[number], O_RDONLY);
    return 0;
}
"""


def test_whose_memory(tmp_path: Path) -> None:
    """Each of a parent, its vfork(2) child, and the program of that child is read in its own memory."""
    program, count = compile_c(tmp_path, SHARED_MEMORY, "-w"), 50 * REPEAT
    result, events = observe(tmp_path, program, str(count))
    assert result.returncode == 0
    paths = [str(event["path"]) for event in of_kind(events, "file-open")]
    expected = ["/nowhere/of the parent", "/nowhere/of the  child", "/nowhere/of the program"] * count
    assert [path for path in paths if not path.startswith(("/etc/ld", "/lib", "/usr/lib"))] == expected


CLOSED_PAGE = """
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
int main(void)
{
    char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(page, "/etc/passwd");
    if (open(page, O_RDONLY) < 0 || mprotect(page, 4096, PROT_NONE))
        return 1;
    return open(page, O_RDONLY) < 0 ? 5 : 2;
}
"""


def test_a_page_that_is_closed(tmp_path: Path) -> None:
    """What the kernel cannot read, as it is in a page without permissions, is not told either."""
    result, events = observe(tmp_path, compile_c(tmp_path, CLOSED_PAGE))
    assert result.returncode == 5
    assert [event["path"] for event in of_kind(events, "file-open")][-2:] == ["/etc/passwd", None]


OWN_VIEW = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>
static pthread_barrier_t step;
static const char *target, *inside;
static int failed;
static void *run(void *nothing)
{
    failed = unshare(CLONE_NEWNS) || mount("none", "/", 0, MS_REC | MS_PRIVATE, 0)
        || mount("none", target, "tmpfs", 0, 0);
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    open(inside, O_RDONLY);
    return nothing;
}
int main(int argc, char **argv)
{
    pthread_t thread;
    target = argv[1], inside = argv[2];
    pthread_barrier_init(&step, 0, 2);
    pthread_create(&thread, 0, run, 0);
    pthread_barrier_wait(&step);
    execl("/nowhere/program", "program", (char *)0);
    execl(target, "program", (char *)0);
    open("/etc/passwd", O_RDONLY);
    pthread_barrier_wait(&step);
    pthread_join(thread, 0);
    return failed ? 1 : 5;
}
"""


@pytest.mark.skipif(not is_privileged(), reason="CAP_SYS_ADMIN is missing, which only root has")
def test_an_exec_that_fails(tmp_path: Path) -> None:
    """It leaves the threads as they were: one that sees other files than the rest is not taken for one of the rest."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "inside").touch()
    program = compile_c(tmp_path, OWN_VIEW, "-pthread")
    result, events = observe(tmp_path, program, str(work), f"{work}/inside")
    assert result.returncode == 5
    (opened,) = [event for event in of_kind(events, "file-open") if event["path"] == f"{work}/inside"]
    assert "exists" not in opened

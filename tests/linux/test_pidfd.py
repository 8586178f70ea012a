"""Process descriptors: whose they are, what they say of the end, and descriptors taken through them."""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from children import compiled, exit_code, forked

from rprun.linux import pidfd

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
# A child that starts one of its own, says its number, and reaps it; that one ends with 7 when stdin does.
PARENT = "import subprocess as s; p = s.Popen(['sh', '-c', 'read x; exit 7']); print(p.pid, flush=True); p.wait()"


@contextmanager
def opened(pid: int, *, thread: bool = False) -> Iterator[int]:
    """A process descriptor, closed at the end."""
    descriptor = pidfd.open_process(pid, thread=thread)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def since(major: int, minor: int) -> None:
    """Skip on kernels that are older."""
    if (major, minor) > KERNEL:
        pytest.skip(f"needs Linux {major}.{minor}")


def test_info_is_about_the_process() -> None:
    """Its numbers while it lives, nothing once it has been reaped."""
    since(6, 13)
    hold, release = os.pipe()
    pid = forked(lambda: (os.close(release), os.read(hold, 1)))
    os.close(hold)
    with opened(pid) as descriptor:
        assert not os.get_inheritable(descriptor)
        assert pidfd.info(descriptor) == (pid, pid, os.getpid())
        os.close(release)
        assert exit_code(pid) == 0
        assert pidfd.info(descriptor) is None


@pytest.mark.parametrize("ending", ["exit 42", "kill -TERM $$"])
def test_the_status_of_a_child(ending: str) -> None:
    """It is the one that wait(2) gave, and is not there before."""
    since(6, 15)
    with subprocess.Popen(["sh", "-c", f"read x; {ending}"], stdin=subprocess.PIPE) as child, opened(child.pid) as held:
        assert pidfd.exit_status(held) is None
        assert child.stdin is not None
        child.stdin.close()
        assert select.select([held], [], [], PATIENCE)[0]
        assert pidfd.exit_status(held) is None  # a zombie, not reaped
        child.wait()
        status = pidfd.exit_status(held)
        assert status is not None
        assert os.waitstatus_to_exitcode(status) == child.returncode != 0


def test_the_status_of_a_process_that_is_no_child() -> None:
    """It can be had once POLLHUP says that its parent has reaped it."""
    since(6, 15)
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        with opened(int(parent.stdout.readline())) as held:
            information = pidfd.info(held)
            assert information is not None
            assert information.ppid == parent.pid
            parent.stdin.close()
            poller = select.poll()
            poller.register(held, 0)
            assert poller.poll(PATIENCE * 1000) == [(held, select.POLLHUP)]
            assert pidfd.exit_status(held) == 7 << 8


def test_a_thread_is_named_only_as_one() -> None:
    """A thread that does not lead its process has a descriptor only if that is asked for."""
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (ready.set(), done.wait()))
    thread.start()
    try:
        ready.wait()
        assert thread.native_id is not None
        with pytest.raises(OSError, match=r"No such file|Invalid argument"):
            pidfd.open_process(thread.native_id)
        since(6, 13)
        with opened(thread.native_id, thread=True) as descriptor:
            assert pidfd.info(descriptor) == (thread.native_id, os.getpid(), os.getppid())
    finally:
        done.set()
        thread.join()


def test_no_process() -> None:
    """A number that is nobody's any more is ESRCH."""
    pid = forked(lambda: None)
    exit_code(pid)
    with pytest.raises(ProcessLookupError):
        pidfd.open_process(pid)


def test_a_descriptor_of_another_process() -> None:
    """What the duplicate reads is what the child's own would have; a number that is not open is EBADF."""
    # The child has the only reading end, and says that it is alone with it.
    ready, told = os.pipe()
    hold, release = os.pipe()
    places: tuple[int, int] = os.pipe()

    def body() -> None:
        os.close(release)
        os.write(told, b"!")
        os.read(hold, 1)

    pid = forked(body)
    os.close(places[0])
    os.read(ready, 1)
    try:
        with opened(pid) as process:
            try:
                descriptor = pidfd.get_descriptor(process, places[0])
            except PermissionError:
                pytest.skip("needs pidfd_getfd(2), which a container's filter or Yama forbids")
            os.write(places[1], b"through")
            assert os.read(descriptor, 20) == b"through"
            assert not os.get_inheritable(descriptor)
            os.close(descriptor)
            with pytest.raises(OSError, match="Bad file descriptor"):
                pidfd.get_descriptor(process, 9999)
    finally:
        for number in (ready, told, hold, release, places[1]):
            os.close(number)
        assert exit_code(pid) == 0


def test_what_is_no_process_descriptor() -> None:
    """Another file can tell nothing; a number that is not open is an error."""
    with open(os.devnull) as null:
        assert pidfd.info(null.fileno()) is None
        assert pidfd.exit_status(null.fileno()) is None
        closed = os.dup(null.fileno())
    os.close(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pidfd.info(closed)


HEADER = r"""
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <linux/pidfd.h>
#ifndef PIDFD_GET_INFO
int main(void) { return 0; }
#else
int main(void)
{
    printf("%d %d %d ", (int)offsetof(struct pidfd_info, pid), (int)offsetof(struct pidfd_info, tgid),
        (int)offsetof(struct pidfd_info, ppid));
    printf("%d %d ", (int)offsetof(struct pidfd_info, exit_code), PIDFD_INFO_EXIT);
    printf("%d %d\n", (int)_IOC_NR(PIDFD_GET_INFO), (int)_IOC_TYPE(PIDFD_GET_INFO));
}
#endif
"""


def test_layout_is_the_headers(tmp_path: Path) -> None:
    """Offsets and bits are what a compiler makes of linux/pidfd.h (Linux 6.15); the size is its first version's."""
    assert pidfd.INFO.size == 64
    words = subprocess.check_output([compiled(tmp_path, HEADER)], text=True).split()
    # Older headers do not know it; there the tests above, in which the kernel fills it in, have to do.
    at = [struct.calcsize("=" + part) for part in ("QQ", "QQI", "QQII", "QQ11I")]
    ours = [*at, pidfd.INFO_EXIT, pidfd.GET_INFO & 0xFF, pidfd.GET_INFO >> 8 & 0xFF]
    assert not words or [int(word) for word in words] == ours


def test_it_tells_of_the_end() -> None:
    """Whether or not the process has been reaped."""
    hold, release = os.pipe()
    pid = forked(lambda: (os.close(release), os.read(hold, 1)))
    os.close(hold)
    with opened(pid) as descriptor:
        assert not pidfd.has_ended(descriptor)
        os.close(release)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert pidfd.has_ended(descriptor)
        assert exit_code(pid) == 0
        assert pidfd.has_ended(descriptor)

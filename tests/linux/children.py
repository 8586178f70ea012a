"""Children of the tests of `rprun.linux`: forked, so that they can do to themselves what cannot be undone."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE

from rprun.linux import seccomp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAP_SYS_PTRACE, CAP_SYS_ADMIN = 19, 21
NOBODY = 65534


def forked(body: Callable[[], object]) -> int:
    """Return the pid of a child that does `body`; its status is 0 if that raises nothing."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        body()
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may get out of a fork, and all of it is told
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def exit_code(pid: int) -> int:
    """Reap a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def status_field(name: str) -> str:
    """Return a field of this process's own /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(name + ":"))


def has_capability(number: int) -> bool:
    """Tell whether a capability is effective."""
    return bool(int(status_field("CapEff"), 16) >> number & 1)


class Call(tuple[int, ...]):
    """A notification: `seccomp.NOTIFICATION`'s fields."""

    __slots__ = ()
    id = property(lambda self: self[0])
    pid = property(lambda self: self[1])
    number = property(lambda self: self[3])
    arch = property(lambda self: self[4])
    arguments = property(lambda self: self[6:])


class Watched:
    """A child under a filter, seen from its supervisor."""

    def __init__(self, pid: int, listener: int, installed: seccomp.Installed) -> None:
        self.pid, self.listener, self.installed = pid, listener, installed

    def next(self) -> Call | None:
        """Receive a call; None if there is no process left to make one."""
        poller = select.poll()
        poller.register(self.listener, select.POLLIN)
        ready = poller.poll(PATIENCE * 1000)
        assert ready, "the child makes no call and does not end"
        if not ready[0][1] & select.POLLIN:
            return None
        buffer = bytearray(seccomp.NOTIF_SIZE)
        seccomp.receive(self.listener, buffer)
        return Call(seccomp.NOTIFICATION.unpack_from(buffer))

    def all(self) -> list[Call]:
        """Let every call go on, until the child ends."""
        calls = []
        while call := self.next():
            seccomp.respond_continue(self.listener, call.id)
            calls.append(call)
        return calls


@contextmanager
def watched(
    build: Callable[[int], bytes],
    body: Callable[[], object],
    *,
    before: Callable[[], object] = lambda: None,
    send: Callable[[int, int, bytes], object] | None = None,
) -> Iterator[Watched]:
    """Start a child, which installs a filter, sends its listener here and then does `body`.

    Args:
        build: given the descriptor that the listener is sent over, returns the filter.
        body: what the child does.
        before: what it does first.
        send: sends (over a descriptor, the listener, with a word); socket.send_fds if not given.
    """
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def child() -> None:
        here.close()
        before()
        listener, installed = seccomp.install_best(build(there.fileno()))
        word = struct.pack("??", *installed)
        if send is None:
            socket.send_fds(there, [word], [listener])
        else:
            send(there.fileno(), listener, word)
        os.close(listener)
        there.close()
        body()

    pid = forked(child)
    there.close()
    here.settimeout(PATIENCE)
    with here:
        word, descriptors, _, _ = socket.recv_fds(here, 2, 1)
    assert descriptors, f"the child could not install its filter: it ended with {exit_code(pid)}"
    try:
        yield Watched(pid, descriptors[0], seccomp.Installed(*struct.unpack("??", word)))
    finally:
        os.close(descriptors[0])
        with suppress(ChildProcessError):
            os.kill(pid, signal.SIGKILL) if not os.waitpid(pid, os.WNOHANG)[0] else None
            os.waitpid(pid, 0)


def compiled(directory: Path, source: str, *options: str) -> Path:
    """Return a program made of C source; skips the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: gcc")
    (directory / "program.c").write_text(source)
    command = [compiler, *options, "-o", str(directory / "program"), str(directory / "program.c")]
    subprocess.run(command, check=True)
    return directory / "program"

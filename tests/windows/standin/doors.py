"""What the stand-ins of Windows' own calls share: children and their exit codes, the tree, the standard handles."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import termios
import threading
from contextlib import suppress

from rprun.transport.windows.command_line import split

STILL_ACTIVE = 259
# What Windows gives a process that ^C or ^Break has ended.
CONTROL_C_EXIT = 0xC000013A
# ^Break is played by this signal, as both end a program that says nothing about them.
BREAK = signal.SIGTERM

REAL_HANDLES: tuple[int | None, ...] = (100, 101, 102)
CONSOLE_HANDLES: tuple[int | None, ...] = (200, 200, 200)
standard_handles = REAL_HANDLES

_children: dict[int, subprocess.Popen[bytes]] = {}
_codes: dict[int, int] = {}
_odd: set[int] = set()
_lock = threading.Lock()


def words_of(line: str) -> list[str]:
    """Take a command line apart, as CreateProcess and the C runtime do."""
    return [word for _, word in split(line)]


def take_terminal(held: int = -1) -> None:
    """In a child: lead a session whose terminal is stdin, and have `held` as descriptor 3."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if held >= 0:
        os.dup2(held, 3)


def adopt(child: subprocess.Popen[bytes], *, status_is_odd: bool = False) -> None:
    """Know a child from now on."""
    _children[child.pid] = child
    if status_is_odd:
        _odd.add(child.pid)


def can_be_opened(pid: int) -> bool:
    """Tell whether there is a process of that number. One of ours is there as long as pywinpty has its handle.

    The fault `gone` is that it has let go of it, as it does once a child has ended.
    """
    if pid in _children and os.environ.get("RPRUN_FAULTS", "").startswith("gone"):
        wait_for(pid)
        return False
    return pid in _children or os.path.exists(f"/proc/{pid}")


def wait_for(pid: int) -> int:
    """Wait for a process's end; its exit code as Windows has it."""
    child = _children.get(pid)
    if child is None:
        with suppress(OSError):
            descriptor = os.pidfd_open(pid)
            select.select([descriptor], [], [])
            os.close(descriptor)
        return 0
    # One waits, the others are told: waitpid(2) answers once.
    with _lock:
        waits = _waits.setdefault(pid, threading.Lock())
    with waits:
        code = child.wait()
    if pid in _codes:
        return _codes[pid]
    if code < 0:
        return CONTROL_C_EXIT if -code in (signal.SIGINT, BREAK) else 0xC0000000 - code
    return STILL_ACTIVE if code == 3 and pid in _odd else code


_waits: dict[int, threading.Lock] = {}


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def terminate(pid: int, code: int) -> None:
    """End a process with this exit code."""
    if is_alive(pid):
        _codes[pid] = code
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def tree() -> list[int]:
    """Return the living processes below this one, which is a subreaper."""
    found: list[int] = []
    ahead = [os.getpid()]
    while ahead:
        pid = ahead.pop()
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                    ahead += map(int, file.read().split())
        if pid != os.getpid() and is_alive(pid):
            found.append(pid)
    return found

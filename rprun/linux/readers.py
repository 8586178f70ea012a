"""Who is waiting in read(2) for a terminal: /proc says in which system call a process sleeps, and on what.

/proc/PID/stat (proc_pid_stat(5)) has the session, /proc/PID/syscall (proc_pid_syscall(5)) the call's number and its
arguments, for processes that this one may trace: its own user's, and under Yama's restriction its descendants.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os

# read(2): arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_READ = {"x86_64": b"0", "aarch64": b"63", "riscv64": b"63"}


def somebody_reads(session: int, terminal: str) -> bool:
    """Tell whether a process of the session sleeps in a read of its terminal.

    Args:
        session: the session's id.
        terminal: the terminal's name, as /dev/pts/3.
    """
    number = _READ.get(os.uname().machine)
    if number is None:
        return False
    return any(_reads(pid, number, terminal) for pid in _members(session))


def _members(session: int) -> list[str]:
    members = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            # The command name before it may hold anything, a closing parenthesis too.
            fields = _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            if len(fields) > 3 and int(fields[3]) == session:
                members.append(pid)
    return members


def _reads(pid: str, number: bytes, terminal: str) -> bool:
    call = _content(f"/proc/{pid}/syscall").split()
    if len(call) < 2 or call[0] != number:
        return False
    try:
        return os.readlink(f"/proc/{pid}/fd/{int(call[1], 16)}") in (terminal, "/dev/tty")
    except OSError:
        return False


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""

"""Who is waiting in read(2) for a terminal: /proc says in which system call a process sleeps, and on what.

It says so of processes that this one may trace: its own user's, and under Yama's restriction its descendants.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os

from rprun.linux import procfs

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
    names = (terminal.encode(), b"/dev/tty")
    return any(_reads(process, number, names) for process in procfs.processes() if procfs.session(process) == session)


def _reads(process: int, number: bytes, names: tuple[bytes, ...]) -> bool:
    call = procfs.system_call(process)
    if len(call) < 2 or call[0] != number:
        return False
    return procfs.link(process, f"fd/{int(call[1], 16)}") in names

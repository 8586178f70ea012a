"""The programs that follow the command's tree: forks, execs with all of their arguments, and ends of processes.

What is behind the header of each record (`layout.HEADER`):

    ROOT     nothing
    FORK     u32 parent, its number in rprun's own pid namespace | u32 0; the header is about the child
    ATTEMPT  i32 descriptor that the path is relative to, or AT_FDCWD | u32 0 | blobs: the path as it was given,
             argv[0], and the names (see `walk`) of what the descriptor is, or an empty blob
    ARGS     u32 offset | u32 length | bytes of the new program's argument area: its words, each with its NUL; all
             pieces come before their EXEC
    EXEC     u32 tid of the thread that asked for it | u32 bytes of the argument area | u32 interp_flags | u32 0 |
             blobs: struct linux_binprm's filename and interp, the names of the current directory
    EXIT     i32 wait status | u32 0
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
from functools import partial

from rprun.backends.ebpf.exec_programs import on_attempt, on_exec
from rprun.backends.ebpf.tree_programs import on_announcement, on_exit, on_fork
from rprun.linux import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps


def prepare(
    maps: Maps, kernel: Kernel, secret: int, namespace_inode: int, *, execs: bool = True
) -> Iterator[Callable[[], int]]:
    """Give for each program what loads and attaches it, for a thread of its own: its time is the kernel's.

    A program is assembled when it is asked for; those that the kernel takes longest for come first. What loads it
    returns the link, which holds it until it is closed, and raises OSError: EPERM without CAP_BPF and CAP_PERFMON;
    `bpf.VerifierError`; EMFILE. The last link is for the token only. It costs every call of the host something, and may
    be closed once the ROOT record has come.

    Args:
        maps: still open when the programs are loaded; they may be closed afterwards.
        kernel: of the running kernel.
        secret: of `rprun.linux.token`: who tells it becomes the root of the tree.
        namespace_inode: of rprun's own pid namespace: /proc/self/ns/pid.
        execs: False where nobody asks which programs are executed.
    """
    if execs:
        yield partial(_attach_attempt, maps, kernel, on_attempt(maps, kernel, at_entry=False).assemble())
        yield partial(_attach, "sched_process_exec", on_exec(maps, kernel).assemble())
    yield partial(_attach, "sched_process_fork", on_fork(maps, kernel, namespace_inode).assemble())
    yield partial(_attach, "sched_process_exit", on_exit(maps, kernel).assemble())
    yield partial(_attach, "sys_enter", on_announcement(maps, kernel, secret, namespace_inode).assemble())


def _attach(tracepoint: str, code: bytes) -> int:
    program = bpf.load_program(bpf.ProgramKind.RAW_TRACEPOINT, code, name=tracepoint[-15:])
    try:
        return bpf.open_raw_tracepoint(tracepoint, program)
    finally:
        os.close(program)


def _attach_attempt(maps: Maps, kernel: Kernel, code: bytes) -> int:
    try:
        return _attach("sched_prepare_exec", code)
    except FileNotFoundError:
        return _attach("sys_enter", on_attempt(maps, kernel, at_entry=True).assemble())

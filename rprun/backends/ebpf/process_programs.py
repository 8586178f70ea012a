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
from contextlib import ExitStack
from functools import partial

from rprun.backends.ebpf.exec_programs import on_attempt, on_exec
from rprun.backends.ebpf.tree_programs import on_announcement, on_exit, on_fork
from rprun.linux import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps
    from rprun.linux.bpf_assembler import Assembler


def prepare(
    maps: Maps, kernel: Kernel, secret: int, namespace_inode: int, *, execs: bool = True
) -> Callable[[], list[int]]:
    """Assemble the programs; return what loads and attaches them, for a thread of its own: its time is the kernel's.

    That returns the links, which hold the programs until they are closed, and raises OSError: EPERM without CAP_BPF and
    CAP_PERFMON; `bpf.VerifierError`; EMFILE. The last link is for the token only. It costs every call of the host
    something, and may be closed once the ROOT record has come.

    Args:
        maps: still open when the programs are loaded; they may be closed afterwards.
        kernel: of the running kernel.
        secret: of `rprun.linux.token`: who tells it becomes the root of the tree.
        namespace_inode: of rprun's own pid namespace: /proc/self/ns/pid.
        execs: False where nobody asks which programs are executed.
    """
    programs = [
        ("sched_process_fork", on_fork(maps, kernel, namespace_inode).assemble()),
        ("sched_process_exit", on_exit(maps, kernel).assemble()),
    ]
    if execs:
        programs += [
            ("sched_process_exec", on_exec(maps, kernel).assemble()),
            ("sched_prepare_exec", on_attempt(maps, kernel, at_entry=False).assemble()),
        ]
    programs.append(("sys_enter", on_announcement(maps, kernel, secret, namespace_inode).assemble()))
    return partial(_load, programs, partial(on_attempt, maps, kernel, at_entry=True))


def _load(programs: Iterable[tuple[str, bytes]], attempt_at_entry: Callable[[], Assembler]) -> list[int]:
    links: list[int] = []
    with ExitStack() as undo:

        def attach(tracepoint: str, code: bytes) -> None:
            program = bpf.load_program(bpf.ProgramKind.RAW_TRACEPOINT, code, name=tracepoint[-15:])
            try:
                links.append(bpf.open_raw_tracepoint(tracepoint, program))
            finally:
                os.close(program)
            undo.callback(os.close, links[-1])

        for tracepoint, code in programs:
            try:
                attach(tracepoint, code)
            except FileNotFoundError:
                if tracepoint != "sched_prepare_exec":
                    raise
                attach("sys_enter", attempt_at_entry().assemble())
        undo.pop_all()
    return links

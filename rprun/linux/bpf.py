"""bpf(2): making maps, loading programs into the kernel, and the links that attach them there.

Some facts about it (bpf(2), include/uapi/linux/bpf.h, Documentation/bpf/):

- All that is made is a descriptor, close-on-exec from the start, and lives as long as something holds it: a descriptor,
  a mapping, a program that uses the map, a link that uses the program. When this process dies, however it dies, its
  links are undone and all else follows. BPF_PROG_ATTACH is not used: what it attaches stays on the cgroup.
- Each command takes a structure of its own out of `union bpf_attr`, as long as the caller says. What the kernel does
  not know of it must be zero, so no more is given than is needed.
- A program is proved safe before it is taken. Why it is not comes as text, which costs time to write: it is asked for
  only when a program has been refused.
- Without CAP_BPF, or CAP_SYS_ADMIN, everything is EPERM (sysctl kernel.unprivileged_bpf_disabled lets little through
  even where it is 0). Before Linux 5.11 EPERM may also mean that RLIMIT_MEMLOCK is too low.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
import struct
from enum import IntEnum
from errno import EAGAIN, EMFILE, ENFILE, ENOMEM, ENOSPC, ENOSYS

from rprun.linux import libc, syscalls

# The call's number (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
_NUMBERS = {syscalls.X86_64: 321, syscalls.AARCH64: 280}

# enum bpf_cmd
_MAP_CREATE, _PROG_LOAD, _RAW_TRACEPOINT_OPEN = 0, 5, 17

# Members of union bpf_attr, in the order of the header. All its pointers are 64 bits wide.
MAP_CREATE = struct.Struct("=7I16s")
"""map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name."""
PROG_LOAD = struct.Struct("=2I2Q2IQ2I16s")
"""prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name."""
RAW_TRACEPOINT = struct.Struct("=QI")
"""name, prog_fd."""

MMAPABLE = 1 << 10
"""BPF_F_MMAPABLE (Linux 5.5): the values of an ARRAY can be mapped."""

INSTRUCTION_SIZE = 8  # sizeof(struct bpf_insn)
# Nearly every log has room in the first. Each further try costs a whole verification, of seconds at worst; where the
# last one is too small, kernels before 6.4 give the beginning of the log and later ones its end.
_LOG_SIZES = (1 << 16, 1 << 24)
_LOG_LINES = 12
_MOST_TRIES = 5
_NOT_THE_VERIFIERS = (EMFILE, ENFILE, ENOMEM)


class MapKind(IntEnum):
    """BPF_MAP_TYPE_* (enum bpf_map_type)."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3  # Of programs to go on with; emptied when the last descriptor of it is closed.
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    RINGBUF = 27  # Linux 5.8


class ProgramKind(IntEnum):
    """BPF_PROG_TYPE_* (enum bpf_prog_type)."""

    SOCKET_FILTER = 1
    RAW_TRACEPOINT = 17


class VerifierError(OSError):
    """The kernel refused a program; the text ends with the last lines of what its verifier says.

    Attributes:
        log: all that it says. It counts instructions as `Assembler.listing` does.
    """

    def __init__(self, number: int, name: str, log: str) -> None:
        lines = "\n".join(log.splitlines()[-_LOG_LINES:])
        super().__init__(number, f"the kernel refuses the BPF program {name!r}: {os.strerror(number)}\n{lines}")
        self.log = log


def create_map(kind: MapKind, key_size: int, value_size: int, entries: int, *, flags: int = 0, name: str = "") -> int:
    """Return the descriptor of a new map.

    Args:
        kind: what it is.
        key_size: bytes of a key: 4 for arrays, 0 for RINGBUF.
        value_size: bytes of a value: 0 for RINGBUF.
        entries: how many there is room for; bytes for RINGBUF.
        flags: BPF_F_*.
        name: shown by bpftool(8): at most 15 letters, digits, `_` and `.`.

    Raises:
        OSError: EPERM without privilege; EINVAL for sizes, flags or a name that the kernel does not take; E2BIG, ENOMEM
            for what is too large; ENOSYS where there is no bpf(2), or no table for this machine.
    """
    return command(_MAP_CREATE, MAP_CREATE.pack(kind, key_size, value_size, entries, flags, 0, 0, name.encode()))


def load_program(kind: ProgramKind, code: bytes, *, name: str = "") -> int:
    """Return the descriptor of a program that the verifier has let through. Its licence is the GPL, as helpers ask for.

    Args:
        kind: says what the program is given, and which helpers it may call.
        code: an array of struct bpf_insn, from `Assembler.assemble`.
        name: as in `create_map`.

    Raises:
        VerifierError: the verifier refused it.
        OSError: EPERM without privilege; EINVAL for a kind or a name that the kernel does not take; EMFILE, ENFILE,
            ENOMEM.
    """
    for tries_left in reversed(range(_MOST_TRIES)):
        try:
            return _load(kind, code, name, log=None)
        except OSError as error:
            # The verifier gives up for a signal that is pending, though there is nothing wrong.
            if error.errno != EAGAIN or not tries_left:
                refusal = error
                break
    # Also of what has no descriptor or memory left the verifier has something to say: that all was well.
    if refusal.errno in _NOT_THE_VERIFIERS:
        raise refusal
    text = b""
    for size in _LOG_SIZES:
        log = ctypes.create_string_buffer(size)
        try:
            return _load(kind, code, name, log=log)
        except OSError as error:
            text = log.value
            if error.errno != ENOSPC:
                break
    # Nothing is said of what fails before the verifier has seen it.
    if not text:
        raise refusal
    assert refusal.errno is not None
    raise VerifierError(refusal.errno, name, text.decode("utf-8", "replace")) from refusal


def _load(kind: ProgramKind, code: bytes, name: str, *, log: ctypes.Array[ctypes.c_char] | None) -> int:
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    where = (0, 0, 0) if log is None else (1, len(log), ctypes.addressof(log))
    count, begin, terms = len(code) // INSTRUCTION_SIZE, ctypes.addressof(instructions), ctypes.addressof(licence)
    return command(_PROG_LOAD, PROG_LOAD.pack(kind, count, begin, terms, *where, 0, 0, name.encode()))


def open_raw_tracepoint(name: str, program: int) -> int:
    """Return a link: a tracepoint of the kernel calls the program, for every process, until the descriptor closes.

    Args:
        name: as "sys_exit" or "sched_process_fork".
        program: from `load_program`.

    Raises:
        OSError: ENOENT for no such tracepoint; EPERM without CAP_PERFMON.
    """
    text = ctypes.create_string_buffer(name.encode())
    return command(_RAW_TRACEPOINT_OPEN, RAW_TRACEPOINT.pack(ctypes.addressof(text), program))


def command(number: int, attributes: bytes) -> int:
    """Make the call; return its result, a descriptor if it makes something.

    Args:
        number: of enum bpf_cmd.
        attributes: the beginning of union bpf_attr.

    Raises:
        OSError: as the command; ENOSYS where there is no bpf(2), or no table for this machine.
    """
    return command_in_place(number, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes))


def command_in_place(number: int, attributes: ctypes.Array[ctypes.c_char], size: int) -> int:
    """Do the same with a buffer, in which some commands put an answer.

    Args:
        number: of enum bpf_cmd.
        attributes: the beginning of union bpf_attr, and perhaps more.
        size: how much of it is given to the kernel.

    Raises:
        OSError: as `command`.
    """
    call = _NUMBERS.get(syscalls.native() or "")
    if call is None:
        raise OSError(ENOSYS, os.strerror(ENOSYS))
    return libc.syscall(call, number, ctypes.addressof(attributes), size)

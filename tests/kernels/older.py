"""A kernel that knows less: a filter has it answer as an older one would, for real, to a program and all it starts.

    python -I -S older.py ENOSYS:NUMBER,...;ERRNO:NUMBER:INDEX:VALUE,... PROGRAM ARGUMENT...

It is given the calls' numbers, and for some of them an argument by which alone it is unknown. Nothing of rprun is used.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
# Classic BPF over struct seccomp_data (include/uapi/linux/bpf_common.h, seccomp.h).
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ERRNO, ALLOW = 0x50000, 0x7FFF0000


def assemble(refused: list[tuple[int, ...]]) -> list[tuple[int, int, int, int]]:
    """Return the filter: errno, number and, maybe, index and value of an argument of each call."""
    program = [(LOAD, 0, 0, 0)]
    for errno, number, *argument in refused:
        if argument:
            index, value = argument
            program += [(EQUAL, 0, 4, number), (LOAD, 0, 0, 16 + 8 * index), (EQUAL, 0, 1, value)]
            program += [(RETURN, 0, 0, ERRNO | errno), (LOAD, 0, 0, 0)]
        else:
            program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | errno)]
    return [*program, (RETURN, 0, 0, ALLOW)]


def install(program: list[tuple[int, int, int, int]]) -> None:
    """Have the kernel hold this process and its descendants to the filter."""
    code = b"".join(struct.pack("=HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    # Root needs no no_new_privs, which would be another change.
    if os.geteuid():
        assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, 2, ctypes.c_void_p(ctypes.addressof(header))) == 0, ctypes.get_errno()


if __name__ == "__main__":
    install(assemble([tuple(map(int, each.split(":"))) for each in sys.argv[1].split(",")]))
    os.execv(sys.argv[2], sys.argv[2:])

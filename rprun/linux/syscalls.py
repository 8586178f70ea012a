"""Numbers of the system calls that say what a command does, for each ABI whose programs one kernel can run.

Some facts about system call numbers:

- A number means nothing without its ABI. A 64-bit x86 process may use three: its own, i386's by `int $0x80`, and x32's.
- seccomp tells them apart by the audit architecture (seccomp(2)), except that x32 shares that of x86_64 and sets bit 30
  of the number instead. Most x32 numbers are x86_64's with that bit; calls that pass pointers in memory have their own.
- From 403 on a number is the same everywhere; the generic table (aarch64) lacks the calls that newer ones replaced.
- i386 has calls twice where the first had 16-bit ids, 32-bit offsets or 32-bit times: chown32, truncate64, ..._time64.
  Its sockets can also be used through socketcall(2), whose arguments lie in memory.

Sources: arch/x86/entry/syscalls/syscall_{64,32}.tbl, include/uapi/asm-generic/unistd.h, include/uapi/linux/audit.h.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os

X86_64, I386, X32, AARCH64 = "x86_64", "i386", "x32", "aarch64"

AUDIT_ARCH: dict[str, int] = {X86_64: 0xC000003E, I386: 0x40000003, X32: 0xC000003E, AARCH64: 0xC00000B7}
"""The `arch` of seccomp_data (AUDIT_ARCH_*). Bit 31 is set for those whose arguments have 64 bits."""

X32_BIT = 0x40000000
"""__X32_SYSCALL_BIT (arch/x86/include/uapi/asm/unistd.h)."""

# Call: its numbers on x86_64, aarch64 and i386, by the name that the kernel gives it there.
_TABLE: dict[str, tuple[int | None, int | None, int | None]] = {
    "open": (2, None, 5),
    "openat": (257, 56, 295),
    "openat2": (437, 437, 437),
    "creat": (85, None, 8),
    "open_by_handle_at": (304, 265, 342),
    "name_to_handle_at": (303, 264, 341),
    "open_tree": (428, 428, 428),
    "memfd_create": (319, 279, 356),
    "truncate": (76, 45, 92),
    "truncate64": (None, None, 193),
    "ftruncate": (77, 46, 93),
    "ftruncate64": (None, None, 194),
    "fallocate": (285, 47, 324),
    "rename": (82, None, 38),
    "renameat": (264, 38, 302),
    "renameat2": (316, 276, 353),
    "unlink": (87, None, 10),
    "rmdir": (84, None, 40),
    "unlinkat": (263, 35, 301),
    "link": (86, None, 9),
    "symlink": (88, None, 83),
    "linkat": (265, 37, 303),
    "symlinkat": (266, 36, 304),
    "mkdir": (83, None, 39),
    "mkdirat": (258, 34, 296),
    "mknod": (133, None, 14),
    "mknodat": (259, 33, 297),
    "chmod": (90, None, 15),
    "fchmod": (91, 52, 94),
    "fchmodat": (268, 53, 306),
    "fchmodat2": (452, 452, 452),
    "chown": (92, None, 182),
    "chown32": (None, None, 212),
    "lchown": (94, None, 16),
    "lchown32": (None, None, 198),
    "fchown": (93, 55, 95),
    "fchown32": (None, None, 207),
    "fchownat": (260, 54, 298),
    "utime": (132, None, 30),
    "utimes": (235, None, 271),
    "futimesat": (261, None, 299),
    "utimensat": (280, 88, 320),
    "utimensat_time64": (None, None, 412),
    "setxattr": (188, 5, 226),
    "lsetxattr": (189, 6, 227),
    "fsetxattr": (190, 7, 228),
    "setxattrat": (463, 463, 463),
    "removexattr": (197, 14, 235),
    "lremovexattr": (198, 15, 236),
    "fremovexattr": (199, 16, 237),
    "removexattrat": (466, 466, 466),
    "stat": (4, None, 106),
    "stat64": (None, None, 195),
    "lstat": (6, None, 107),
    "lstat64": (None, None, 196),
    "newfstatat": (262, 79, None),
    "fstatat64": (None, None, 300),
    "statx": (332, 291, 383),
    "access": (21, None, 33),
    "faccessat": (269, 48, 307),
    "faccessat2": (439, 439, 439),
    "readlink": (89, None, 85),
    "readlinkat": (267, 78, 305),
    "getdents64": (217, 61, 220),
    "copy_file_range": (326, 285, 377),
    "read": (0, 63, 3),
    "readv": (19, 65, 145),
    "write": (1, 64, 4),
    "writev": (20, 66, 146),
    "pwrite64": (18, 68, 181),
    "pwritev": (296, 70, 334),
    "pwritev2": (328, 287, 379),
    "close": (3, 57, 6),
    "dup2": (33, None, 63),
    "dup3": (292, 24, 330),
    "sendfile": (40, 71, 187),
    "sendfile64": (None, None, 239),
    "splice": (275, 76, 313),
    "file_setattr": (469, 469, 469),
    "chdir": (80, 49, 12),
    "fchdir": (81, 50, 133),
    "chroot": (161, 51, 61),
    "pivot_root": (155, 41, 217),
    "mount": (165, 40, 21),
    "umount2": (166, 39, 52),
    "move_mount": (429, 429, 429),
    "execve": (59, 221, 11),
    "execveat": (322, 281, 358),
    "uselib": (134, None, 86),
    "fork": (57, None, 2),
    "vfork": (58, None, 190),
    "clone": (56, 220, 120),
    "clone3": (435, 435, 435),
    "exit": (60, 93, 1),
    "exit_group": (231, 94, 252),
    "unshare": (272, 97, 310),
    "setns": (308, 268, 346),
    "socket": (41, 198, 359),
    "socketpair": (53, 199, 360),
    "bind": (49, 200, 361),
    "connect": (42, 203, 362),
    "listen": (50, 201, 363),
    "accept": (43, 202, None),
    "accept4": (288, 242, 364),
    "sendto": (44, 206, 369),
    "sendmsg": (46, 211, 370),
    "sendmmsg": (307, 269, 345),
    "recvfrom": (45, 207, 371),
    "recvmsg": (47, 212, 372),
    "recvmmsg": (299, 243, 337),
    "recvmmsg_time64": (None, None, 417),
    "shutdown": (48, 210, 373),
    "socketcall": (None, None, 102),
    "io_uring_setup": (425, 425, 425),
    "io_uring_enter": (426, 426, 426),
    "io_uring_register": (427, 427, 427),
    "ptrace": (101, 117, 26),
    "seccomp": (317, 277, 354),
    "userfaultfd": (323, 282, 374),
}

# Calls of x32 that are not x86_64's: pointers in memory have another size there. None: there is no such call.
_X32: dict[str, int | None] = {
    "execve": 520,
    "execveat": 545,
    "ptrace": 521,
    "pwritev": 535,
    "pwritev2": 547,
    "readv": 515,
    "recvfrom": 517,
    "recvmmsg": 537,
    "recvmsg": 519,
    "sendmmsg": 538,
    "sendmsg": 518,
    "uselib": None,
    "writev": 516,
}


def _column(index: int) -> dict[str, int]:
    return {name: number for name, row in _TABLE.items() if (number := row[index]) is not None}


def _x32() -> dict[str, int]:
    numbers = {name: _X32.get(name, number) for name, number in _column(0).items()}
    return {name: number | X32_BIT for name, number in numbers.items() if number is not None}


NUMBERS: dict[str, dict[str, int]] = {X86_64: _column(0), I386: _column(2), X32: _x32(), AARCH64: _column(1)}
"""ABI -> name of the call -> number, as seccomp_data's `nr` has it."""

NAMES: dict[str, dict[int, str]] = {
    abi: {number: name for name, number in numbers.items()} for abi, numbers in NUMBERS.items()
}
"""ABI -> number -> name: the reverse of `NUMBERS`."""


def abi_of(arch: int, number: int) -> str | None:
    """Return the ABI of a call from seccomp_data's `arch` and `nr`; None for an architecture without a table."""
    if arch == AUDIT_ARCH[X86_64]:
        return X32 if number & X32_BIT else X86_64
    if arch == AUDIT_ARCH[AARCH64]:
        return AARCH64
    return I386 if arch == AUDIT_ARCH[I386] else None


def native() -> str | None:
    """Return the ABI of this process; None where there is no table for it."""
    machine, wide = os.uname().machine, sys.maxsize > 2**32
    if wide:
        return machine if machine in (X86_64, AARCH64) else None
    # A 32-bit interpreter; x86_64 is what it is told on a 64-bit kernel, unless it runs under setarch(8).
    return I386 if machine in (X86_64, "i386", "i486", "i586", "i686") else None


def abis() -> tuple[str, ...]:
    """Return the ABIs with a table whose programs can run here: this process's own first, empty if that is unknown."""
    own = native()
    if own is None:
        return ()
    # Also on a 32-bit x86: that its kernel is a 64-bit one can be hidden, and a trap that nobody meets costs nothing.
    return (own, *(abi for abi in (X86_64, I386, X32) if abi != own)) if own != AARCH64 else (own,)

"""The path of a directory or a file as a process sees it: a walk from its dentry up to the process's root directory.

Some facts about it (fs/d_path.c: prepend_path, which this follows):

- A place is a mount and a dentry. At the root of a mount the walk goes on where that is mounted, in the mount above.
- Names come leaf first, so they are appended in that order, each with its NUL, and turned round in userland
  (`join_components`). The process's root itself has none of them: the blob is empty.
- What has no path below the process's root becomes None: what lies outside of it, as after chroot(2), in a mount that
  is detached, or in none (a pipe, a memfd); and what has been removed, whose last name must not be claimed.
- Nothing is locked. Whoever renames a directory just now may make it half old and half new; the kernel looks at
  rename_lock and begins anew, which cannot be read here. Memory of a dentry that is let go meanwhile is still there or
  unreadable, never a fault.
- Before Linux 6.9 (see `loops`) the verifier goes through each of `MOST_STEPS` steps, and more than once, as within a
  loop it seldom compares: some 120 instructions, or 0.15 ms, for each step of each walk in a program.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf.common import append_word, copy_kernel, need_room, new_label, read_kernel, task
from rprun.backends.ebpf.loops import begin_loop
from rprun.backends.ebpf.maps import SCRATCH_SIZE
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R7, R8, R9, R10, Assembler, Helper, Register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel

MOST_STEPS = 64
"""Components and mounts, at most; what is deeper becomes None."""
PATH_MAX = 4096
AT_FDCWD = -100
_NAME_SIZE = 256  # NAME_MAX and a NUL.
_DENTRY_MOST = 64

NOTES = SCRATCH_SIZE - 64
"""The end of the scratch value, which no record with paths reaches, for numbers that the verifier had better not
follow: it would go through all that comes for each of them. The first is used here, the last by `loops`."""

# The lowest 128 bytes of the stack.
STACK_TOP = -384
"""Above this offset from R10 nothing of the stack is used here."""
_SAVED, _START, _ROOT, _PLACE, _MOUNT_ROOT, _POINTER = (STACK_TOP - at for at in (8, 16, 32, 48, 56, 64))
_DENTRY = STACK_TOP - 64 - _DENTRY_MOST


def join_components(names: bytes | None) -> bytes | None:
    """Return the path of a blob of names: absolute, "/" for none; None for None."""
    if names is None:
        return None
    return b"/" + b"/".join(names.split(b"\0")[-2::-1])


def load_file(code: Assembler, kernel: Kernel, number: Register, missing: str) -> None:
    """Set R0 to the struct file of a descriptor of the current task; go to a label if it has no such.

    Args:
        code: the program.
        kernel: offsets.
        number: R1 to R3; its lower 32 bits are the descriptor.
        missing: the label.
    """
    code.move32(number, number)
    code.store(R10, _POINTER, number)
    task(code)
    read_kernel(code, R1, R0, kernel.task_files)
    read_kernel(code, R1, R1, kernel.files_fdt)
    first = min(kernel.fdtable_max_fds, kernel.fdtable_fd)
    size = max(kernel.fdtable_max_fds, kernel.fdtable_fd) + 8 - first
    assert size <= _DENTRY_MOST
    copy_kernel(code, _DENTRY, size, R1, first)
    code.load(R2, R10, _DENTRY + kernel.fdtable_max_fds - first, size=4)
    code.load(R1, R10, _POINTER)
    code.jump_if_greater_or_equal(R1, R2, missing)
    code.load(R0, R10, _DENTRY + kernel.fdtable_fd - first)
    code.shift_left(R1, 3)
    code.add(R1, R0)
    read_kernel(code, R0, R1, 0)
    code.jump_if_equal(R0, 0, missing)


def forget_size(code: Assembler, label: str) -> None:
    """Have the verifier take R7 for any number that leaves room for a path; go to a label if it does not."""
    code.store(R8, NOTES, R7)
    code.load(R7, R8, NOTES)
    need_room(code, SCRATCH_SIZE - NOTES + PATH_MAX + 8, label)


def append_path(code: Assembler, kernel: Kernel, label: str) -> None:
    """Append the blob of the names of where a descriptor of the current task leads, or of its current directory.

    R1 is the descriptor, in its lower 32 bits, or AT_FDCWD. R9 is kept.

    Args:
        code: the program.
        kernel: offsets.
        label: where to go if there is no room even for None.
    """
    current, walk, unknown, done = (new_label(about) for about in ("current", "walk", "no path", "path"))
    code.store(R10, _SAVED, R9)
    code.move32(R9, R1)
    forget_size(code, label)
    code.store(R10, _START, R7)
    task(code)
    read_kernel(code, R1, R0, kernel.task_fs)
    code.store(R10, _POINTER, R1)
    copy_kernel(code, _ROOT, 16, R1, kernel.fs_root)

    code.move(R1, AT_FDCWD)
    code.move32(R1, R1)
    code.jump_if_equal(R9, R1, current)
    load_file(code, kernel, R9, unknown)
    copy_kernel(code, _PLACE, 16, R0, kernel.file_f_path)
    code.jump(walk)
    code.label(current)
    code.load(R1, R10, _POINTER)
    copy_kernel(code, _PLACE, 16, R1, kernel.fs_pwd)

    code.label(walk)
    code.add(R7, 4)
    _check_leaf(code, kernel, unknown)
    _walk(code, kernel, unknown)
    # Its length: what is longer than a path can be is none.
    code.load(R1, R10, _START)
    code.jump_if_greater(R1, SCRATCH_SIZE - 4, unknown)
    code.move(R2, R7)
    code.subtract(R2, R1)
    code.add(R2, -4)
    code.jump_if_greater(R2, PATH_MAX, unknown)
    code.add(R1, R8)
    code.store(R1, 0, R2, size=4)
    code.jump(done)

    code.label(unknown)
    code.load(R7, R10, _START)
    append_word(code, -1, 4, label)
    code.label(done)
    code.load(R9, R10, _SAVED)


def _check_leaf(code: Assembler, kernel: Kernel, unknown: str) -> None:
    """Go to a label if there is nothing at `_PLACE`, or what has been removed (d_unlinked, include/linux/dcache.h)."""
    hashed = new_label("hashed")
    code.load(R1, R10, _PLACE + kernel.path_dentry)
    code.jump_if_equal(R1, 0, unknown)
    read_kernel(code, R2, R1, kernel.dentry_d_hash_pprev)
    code.jump_if_not_equal(R2, 0, hashed)
    code.load(R1, R10, _PLACE + kernel.path_dentry)
    read_kernel(code, R2, R1, kernel.dentry_d_parent)
    code.load(R1, R10, _PLACE + kernel.path_dentry)
    code.jump_if_not_equal(R1, R2, unknown)
    code.label(hashed)
    code.load(R1, R10, _PLACE + kernel.path_mnt)
    copy_kernel(code, _MOUNT_ROOT, 8, R1, kernel.vfsmount_mnt_root)


def _walk(code: Assembler, kernel: Kernel, unknown: str) -> None:
    """Append the names from `_PLACE` up to `_ROOT`; go to a label if that is not above. R9 counts."""
    step, on, cross, arrived = (new_label(about) for about in ("step", "on", "cross", "arrived"))
    dentry, mount = _PLACE + kernel.path_dentry, _PLACE + kernel.path_mnt
    first = min(kernel.dentry_d_parent, kernel.dentry_d_name_name)
    size = max(kernel.dentry_d_parent, kernel.dentry_d_name_name) + 8 - first
    assert size <= _DENTRY_MOST
    begin_loop(code, R9, MOST_STEPS, step, unknown, changing=(R7,), places=(mount,))
    code.load(R3, R10, dentry)
    code.load(R1, R10, _ROOT + kernel.path_dentry)
    code.jump_if_not_equal(R3, R1, on)
    code.load(R1, R10, mount)
    code.load(R2, R10, _ROOT + kernel.path_mnt)
    code.jump_if_equal(R1, R2, arrived)
    code.label(on)
    code.load(R1, R10, _MOUNT_ROOT)
    code.jump_if_equal(R3, R1, cross)
    copy_kernel(code, _DENTRY, size, R3, first)
    code.load(R1, R10, _DENTRY + kernel.dentry_d_parent - first)
    code.load(R2, R10, dentry)
    code.jump_if_equal(R1, R2, unknown)
    code.store(R10, dentry, R1)
    need_room(code, _NAME_SIZE, unknown)
    code.load(R3, R10, _DENTRY + kernel.dentry_d_name_name - first)
    code.move(R1, R8)
    code.add(R1, R7)
    code.move(R2, _NAME_SIZE)
    code.call(Helper.probe_read_kernel_str)
    # As a number without sign an errno is greater, too.
    code.jump_if_greater(R0, _NAME_SIZE, unknown)
    code.add(R7, R0)
    code.add(R9, -1)
    code.jump_if_not_equal(R9, 0, step)
    code.jump(unknown)

    code.label(cross)
    code.load(R1, R10, mount)
    read_kernel(code, R2, R1, kernel.mount_mnt_parent - kernel.mount_mnt)
    code.add(R2, kernel.mount_mnt)
    code.load(R1, R10, mount)
    code.jump_if_equal(R1, R2, unknown)  # The top of everything, or a mount that is detached.
    code.store(R10, mount, R2)
    copy_kernel(code, dentry, 8, R1, kernel.mount_mnt_mountpoint - kernel.mount_mnt)
    code.load(R1, R10, mount)
    copy_kernel(code, _MOUNT_ROOT, 8, R1, kernel.vfsmount_mnt_root)
    code.add(R9, -1)
    code.jump_if_not_equal(R9, 0, step)
    code.jump(unknown)
    code.label(arrived)

"""Where in the running kernel's structures the programs find what they read, and where calls keep their registers.

Offsets are read from the kernel's own description of its types. What a call was given lies in struct pt_regs, which is
an ABI of each machine: in the first such structure that is made when the kernel is entered, registers keep what the
caller had in them, so they still tell the arguments when the call returns.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from functools import cache

from rprun.linux import btf, syscalls

UNKNOWN = -1
"""In place of the offset of a member that this kernel has as a bit field, or not in its core."""


class Registers:
    """What is different on each machine.

    Attributes:
        number: the offset of the call's number in struct pt_regs: 4 bytes with a sign matter.
        arguments: those of a native call's six arguments, 8 bytes each.
        compat_arguments: those of a 32-bit call's, of which the lower 4 bytes count.
        compat_at: the path in task_struct of the word, of 4 bytes, that tells a 32-bit call.
        compat_bit: the bit that is set there in one.
        compat: the ABI of 32-bit calls; None if their numbers are not known here.
    """

    __slots__ = ("arguments", "compat", "compat_arguments", "compat_at", "compat_bit", "number")

    def __init__(
        self,
        *,
        number: int,
        arguments: tuple[int, ...],
        compat_arguments: tuple[int, ...],
        compat_at: str,
        compat_bit: int,
        compat: str | None,
    ) -> None:
        self.number = number
        self.arguments = arguments
        self.compat_arguments = compat_arguments
        self.compat_at = compat_at
        self.compat_bit = compat_bit
        self.compat = compat


REGISTERS = {
    # arch/x86/include/asm/ptrace.h; di, si, dx, r10, r8, r9, and bx, cx, dx, si, di, bp (entry/calling.h). The kernel
    # sets TS_COMPAT (asm/thread_info.h) for the time of one call, and not for x32.
    syscalls.X86_64: Registers(
        number=120,
        arguments=(112, 104, 96, 56, 72, 64),
        compat_arguments=(40, 88, 96, 104, 112, 32),
        compat_at="thread_info.status",
        compat_bit=1 << 1,
        compat=syscalls.I386,
    ),
    # arch/arm64/include/asm/ptrace.h; orig_x0, as x0 becomes the result. TIF_32BIT (asm/thread_info.h).
    syscalls.AARCH64: Registers(
        number=280,
        arguments=(272, 8, 16, 24, 32, 40),
        compat_arguments=(272, 8, 16, 24, 32, 40),
        compat_at="thread_info.flags",
        compat_bit=1 << 22,
        compat=None,
    ),
}

# Attribute -> structure, and the paths of the member, of which the first that exists counts.
_OFFSETS: dict[str, tuple[str, ...]] = {
    "task_pid": ("task_struct", "pid"),
    "task_tgid": ("task_struct", "tgid"),
    "task_signal": ("task_struct", "signal"),
    "task_group_leader": ("task_struct", "group_leader"),
    "task_real_parent": ("task_struct", "real_parent"),
    "task_exit_code": ("task_struct", "exit_code"),
    "task_mm": ("task_struct", "mm"),
    "task_stack": ("task_struct", "stack"),
    "task_fs": ("task_struct", "fs"),
    "task_files": ("task_struct", "files"),
    "signal_live": ("signal_struct", "live"),
    "signal_flags": ("signal_struct", "flags"),
    "signal_group_exit_code": ("signal_struct", "group_exit_code"),
    "signal_pids": ("signal_struct", "pids"),
    "pid_level": ("pid", "level"),
    "pid_numbers": ("pid", "numbers"),
    "upid_nr": ("upid", "nr"),
    "upid_ns": ("upid", "ns"),
    "pid_namespace_inum": ("pid_namespace", "ns.inum"),
    "mm_arg_start": ("mm_struct", "arg_start"),
    "mm_arg_end": ("mm_struct", "arg_end"),
    "bprm_filename": ("linux_binprm", "filename"),
    "bprm_interp": ("linux_binprm", "interp"),
    "bprm_interp_flags": ("linux_binprm", "interp_flags"),
    "fs_root": ("fs_struct", "root"),
    "fs_pwd": ("fs_struct", "pwd"),
    "path_mnt": ("path", "mnt"),
    "path_dentry": ("path", "dentry"),
    "dentry_d_parent": ("dentry", "d_parent"),
    "dentry_d_name_name": ("dentry", "d_name.name", "__d_name.name"),
    "dentry_d_hash_pprev": ("dentry", "d_hash.pprev"),
    "vfsmount_mnt_root": ("vfsmount", "mnt_root"),
    "mount_mnt": ("mount", "mnt"),
    "mount_mnt_parent": ("mount", "mnt_parent"),
    "mount_mnt_mountpoint": ("mount", "mnt_mountpoint"),
    "files_fdt": ("files_struct", "fdt"),
    "fdtable_fd": ("fdtable", "fd"),
    "fdtable_max_fds": ("fdtable", "max_fds"),
    "file_f_path": ("file", "f_path", "__f_path"),
    "file_f_inode": ("file", "f_inode"),
    "file_private_data": ("file", "private_data"),
    "inode_i_mode": ("inode", "i_mode"),
    "inode_i_ino": ("inode", "i_ino"),
    "socket_sk": ("socket", "sk"),
    "sock_sk_protocol": ("sock", "sk_protocol"),
    "sock_sk_type": ("sock", "sk_type"),
    "sock_skc_family": ("sock_common", "skc_family"),
    "sock_skc_daddr": ("sock_common", "skc_daddr"),
    "sock_skc_rcv_saddr": ("sock_common", "skc_rcv_saddr"),
    "sock_skc_dport": ("sock_common", "skc_dport"),
    "sock_skc_num": ("sock_common", "skc_num"),
    "sock_skc_v6_daddr": ("sock_common", "skc_v6_daddr"),
    "sock_skc_v6_rcv_saddr": ("sock_common", "skc_v6_rcv_saddr"),
    "sock_skc_bound_dev_if": ("sock_common", "skc_bound_dev_if"),
    "unix_sock_peer": ("unix_sock", "peer"),
    "unix_sock_addr": ("unix_sock", "addr"),
    "unix_address_len": ("unix_address", "len"),
    "unix_address_name": ("unix_address", "name"),
}
# Bit fields before Linux 5.6; kernels without IPv6; Unix sockets as a module, which they could be before 6.4.
_MAY_LACK = {
    "sock_sk_protocol",
    "sock_sk_type",
    "sock_skc_v6_daddr",
    "sock_skc_v6_rcv_saddr",
    "unix_sock_peer",
    "unix_sock_addr",
    "unix_address_len",
    "unix_address_name",
}


class Kernel:
    """Offsets in bytes of `structure_member`; `UNKNOWN` for what may be lacking.

    Attributes:
        registers: those of this machine.
        task_compat: in task_struct, the word that tells a 32-bit call by `registers.compat_bit`.
        upid_size: of struct upid, an array of which `pid_numbers` is.
    """

    __slots__ = (*_OFFSETS, "registers", "task_compat", "upid_size")

    registers: Registers
    task_compat: int
    upid_size: int

    task_pid: int
    task_tgid: int
    task_signal: int
    task_group_leader: int
    task_real_parent: int
    task_exit_code: int
    task_mm: int
    task_stack: int
    task_fs: int
    task_files: int
    signal_live: int
    signal_flags: int
    signal_group_exit_code: int
    signal_pids: int
    pid_level: int
    pid_numbers: int
    upid_nr: int
    upid_ns: int
    pid_namespace_inum: int
    mm_arg_start: int
    mm_arg_end: int
    bprm_filename: int
    bprm_interp: int
    bprm_interp_flags: int
    fs_root: int
    fs_pwd: int
    path_mnt: int
    path_dentry: int
    dentry_d_parent: int
    dentry_d_name_name: int
    dentry_d_hash_pprev: int
    vfsmount_mnt_root: int
    mount_mnt: int
    mount_mnt_parent: int
    mount_mnt_mountpoint: int
    files_fdt: int
    fdtable_fd: int
    fdtable_max_fds: int
    file_f_path: int
    file_f_inode: int
    file_private_data: int
    inode_i_mode: int
    inode_i_ino: int
    socket_sk: int
    sock_sk_protocol: int
    sock_sk_type: int
    sock_skc_family: int
    sock_skc_daddr: int
    sock_skc_rcv_saddr: int
    sock_skc_dport: int
    sock_skc_num: int
    sock_skc_v6_daddr: int
    sock_skc_v6_rcv_saddr: int
    sock_skc_bound_dev_if: int
    unix_sock_peer: int
    unix_sock_addr: int
    unix_address_len: int
    unix_address_name: int

    def __init__(self, types: btf.Types, machine: str) -> None:
        """Read them.

        Args:
            types: the kernel's.
            machine: `syscalls.native()`.

        Raises:
            LookupError: the kernel, or this table, does not know something of it.
            ValueError: damaged BTF.
        """
        if machine not in REGISTERS:
            raise LookupError(f"the registers of system calls on {machine or 'this machine'} are not known")
        self.registers = REGISTERS[machine]
        types.look_for(dict.fromkeys(structure for structure, *_ in _OFFSETS.values()))
        self.task_compat = types.offset_of("task_struct", self.registers.compat_at)
        self.upid_size = types.size_of("upid")
        for name, (structure, *paths) in _OFFSETS.items():
            try:
                offset = types.offset_of(structure, *paths)
            except LookupError:
                if name not in _MAY_LACK:
                    raise
                offset = UNKNOWN
            setattr(self, name, offset)

    @staticmethod
    @cache
    def here() -> Kernel:
        """Return those of the running kernel, read once.

        Raises:
            OSError: it has no BTF, or that cannot be read.
            LookupError, ValueError: as the constructor.
        """
        with btf.open_vmlinux() as types:
            return Kernel(types, syscalls.native() or "")

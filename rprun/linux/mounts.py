"""The mounts of this process's namespace, and which of their files may keep who looks at them waiting.

Some facts about that:

- To look at a path on a network, or in a file system that a program serves (FUSE), is to wait for whoever serves it:
  for ever, if that is gone. To come to where autofs mounts something is to wait for the mount.
- The type says which file systems are such ones. Those that are not known to be local are taken for them. What an
  overlay is made of, or a block device, cannot be told from here: they count as local.
- /proc/self/mountinfo (proc_pid_mountinfo(5)) can be polled: each open file of it says once that something has changed.
- Which mount a descriptor is on is in /proc/self/fdinfo (Linux 3.15), which asks no file system. Its number is that
  mount's for as long as the descriptor is open.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import select

_CHUNK = 1 << 16
_LOCAL = frozenset(
    b"adfs affs apfs bcachefs befs binder binfmt_misc bpf btrfs cgroup cgroup2 configfs cpuset cramfs"
    b" debugfs devpts devtmpfs ecryptfs efivarfs efs erofs exfat ext2 ext3 ext4 f2fs functionfs fusectl hfs hfsplus"
    b" hpfs hugetlbfs iso9660 jffs2 jfs minix mqueue msdos nfsd nilfs2 nsfs ntfs ntfs3 overlay proc pstore qnx4 qnx6"
    b" ramfs reiserfs resctrl romfs rootfs rpc_pipefs securityfs selinuxfs smackfs squashfs sysfs tmpfs tracefs ubifs"
    b" udf ufs vfat xenfs xfs zfs zonefs".split()
)


class Mounts:
    """What is mounted, as of the last look.

    Attributes:
        may_wait: there is a mount of which not even the looking at it is known to end.
        points: where something is mounted.
        proc: the devices (st_dev) of what is mounted of procfs.
    """

    def __init__(self) -> None:
        """Look for the first time. Where that is not possible, nothing is known to be local."""
        self.may_wait = True
        self.points: frozenset[bytes] = frozenset()
        self.proc: frozenset[int] = frozenset()
        self._local: frozenset[int] = frozenset()
        self._opened: list[int] = []
        self._poller = select.poll()
        try:
            # Each has news of its own: what one has said, the other has yet to say.
            for _ in range(2):
                self._opened.append(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
            self._poller.register(self._opened[0], select.POLLPRI)
            self._read()
        except OSError:
            self.may_wait = True

    def fileno(self) -> int:
        """Return a descriptor of which an epoll says once (EPOLLPRI) that something has changed; else -1."""
        return self._opened[1] if len(self._opened) > 1 else -1

    def look_again(self) -> None:
        """Look anew if anything has been mounted or unmounted; else it takes one system call."""
        if self._poller.poll(0):
            try:
                self._read()
            except OSError:
                self.may_wait = True

    def is_local(self, descriptor: int) -> bool:
        """Tell whether a file of this process is one that nobody waits for, whatever has been mounted until now."""
        try:
            with open(f"/proc/self/fdinfo/{descriptor}", "rb", buffering=0) as file:
                text = file.read(_CHUNK) or b""
        except OSError:
            return False
        lines = (line.partition(b":") for line in text.splitlines())
        found = next((int(value) for name, _, value in lines if name == b"mnt_id"), None)
        # Only now: until the descriptor was open, its mount's number could have become that of another one.
        self.look_again()
        return found is not None and found in self._local

    def _read(self) -> None:
        os.lseek(self._opened[0], 0, os.SEEK_SET)
        text = b""
        while chunk := os.read(self._opened[0], _CHUNK):
            text += chunk
        points, proc, local, may_wait = set(), set(), set(), False
        for line in text.splitlines():
            # Number, parent, device, root, where, options, optional fields - type, source, options.
            before, _, after = line.partition(b" - ")
            number, _, device, _, where = before.split(b" ")[:5]
            kind = after.partition(b" ")[0]
            points.add(_unescaped(where))
            if kind in _LOCAL:
                local.add(int(number))
            else:
                may_wait = True
            if kind == b"proc":
                proc.add(os.makedev(*map(int, device.split(b":"))))
        self.points, self.proc, self._local = frozenset(points), frozenset(proc), frozenset(local)
        self.may_wait = may_wait

    def close(self) -> None:
        """Hear of nothing any more."""
        while self._opened:
            os.close(self._opened.pop())

    def __del__(self) -> None:
        self.close()


def _unescaped(text: bytes) -> bytes:
    """Return a path as it is: white space and a backslash are a backslash and three octal digits there."""
    first, *others = text.split(b"\\")
    return first + b"".join(bytes((int(each[:3], 8),)) + each[3:] for each in others)

"""Which calls are watched, what of them matters, and what kind of event each makes: the one table.

A call is known here by the kernel's name for it, whatever ABI it was made in; `find` leads there from what seccomp
gives. What is missing is missing on purpose: a trapped call can fail with EINTR before it has run, and programs do not
expect that of fork, clone, close and exit.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.linux import syscalls
from rprun.observe.categories import EventCategory
from rprun.observe.kinds import ObserverEventKind, category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# In place of the index of an argument.
CWD = -1  # The path is relative to the current directory.
DESCRIPTOR = -2  # There is no path: the call is about the descriptor itself.
TEXT = -3  # What is read is no path to be resolved: what a symbolic link is to hold.

_K = ObserverEventKind


class Call:
    """A watched call.

    Attributes:
        name: the kernel's name.
        kind: the event it makes.
        paths: for each path the indexes of the arguments with its directory's descriptor (or CWD, TEXT) and with
            its address (or DESCRIPTOR).
        flags: the index of the argument with flags (AT_EMPTY_PATH and others; of an open, O_RDWR and others), or None.
        vector: the index of the argument with argv; of a network call, with the address or the message; or None.
    """

    __slots__ = ("flags", "kind", "name", "paths", "vector")

    def __init__(
        self,
        name: str,
        kind: ObserverEventKind,
        *paths: tuple[int, int],
        flags: int | None = None,
        vector: int | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.paths = paths
        self.flags = flags
        self.vector = vector


_CALLS = (
    Call("open", _K.FILE_OPEN, (CWD, 0), flags=1),
    Call("openat", _K.FILE_OPEN, (0, 1), flags=2),
    Call("openat2", _K.FILE_OPEN, (0, 1)),
    Call("creat", _K.FILE_OPEN, (CWD, 0)),
    Call("truncate", _K.FILE_TRUNCATE, (CWD, 0)),
    Call("truncate64", _K.FILE_TRUNCATE, (CWD, 0)),
    Call("ftruncate", _K.FILE_TRUNCATE, (0, DESCRIPTOR)),
    Call("ftruncate64", _K.FILE_TRUNCATE, (0, DESCRIPTOR)),
    Call("rename", _K.FILE_RENAME, (CWD, 0), (CWD, 1)),
    Call("renameat", _K.FILE_RENAME, (0, 1), (2, 3)),
    Call("renameat2", _K.FILE_RENAME, (0, 1), (2, 3)),
    Call("unlink", _K.FILE_UNLINK, (CWD, 0)),
    Call("unlinkat", _K.FILE_UNLINK, (0, 1), flags=2),
    Call("rmdir", _K.FILE_RMDIR, (CWD, 0)),
    Call("link", _K.FILE_LINK, (CWD, 0), (CWD, 1)),
    Call("linkat", _K.FILE_LINK, (0, 1), (2, 3), flags=4),
    Call("symlink", _K.FILE_SYMLINK, (TEXT, 0), (CWD, 1)),
    Call("symlinkat", _K.FILE_SYMLINK, (TEXT, 0), (1, 2)),
    Call("mkdir", _K.FILE_MKDIR, (CWD, 0)),
    Call("mkdirat", _K.FILE_MKDIR, (0, 1)),
    Call("chmod", _K.FILE_CHMOD, (CWD, 0)),
    Call("fchmod", _K.FILE_CHMOD, (0, DESCRIPTOR)),
    Call("fchmodat", _K.FILE_CHMOD, (0, 1)),
    Call("fchmodat2", _K.FILE_CHMOD, (0, 1), flags=3),
    Call("chown", _K.FILE_CHOWN, (CWD, 0)),
    Call("chown32", _K.FILE_CHOWN, (CWD, 0)),
    Call("lchown", _K.FILE_CHOWN, (CWD, 0)),
    Call("lchown32", _K.FILE_CHOWN, (CWD, 0)),
    Call("fchown", _K.FILE_CHOWN, (0, DESCRIPTOR)),
    Call("fchown32", _K.FILE_CHOWN, (0, DESCRIPTOR)),
    Call("fchownat", _K.FILE_CHOWN, (0, 1), flags=4),
    Call("execve", _K.EXEC, (CWD, 0), vector=1),
    Call("execveat", _K.EXEC, (0, 1), flags=4, vector=2),
    Call("connect", _K.NET_CONNECT, vector=1),
    Call("bind", _K.NET_BIND, vector=1),
    Call("listen", _K.NET_LISTEN),
    Call("accept", _K.NET_ACCEPT),
    Call("accept4", _K.NET_ACCEPT),
    Call("sendto", _K.NET_SEND, vector=4),
    Call("sendmsg", _K.NET_SEND, vector=1),
    Call("sendmmsg", _K.NET_SEND, vector=1),
    Call("io_uring_setup", _K.UNOBSERVED),
)
CALLS = {call.name: call for call in _CALLS}

# These change which files a process sees, and make no event. Who makes them knows that they can fail. The first two may
# change it for other processes too: those that share the root, or are in the same mount namespace.
VIEWS = ("chroot", "pivot_root", "setns", "unshare")
VIEWS_OF_OTHERS = ("chroot", "pivot_root")

# These put a file system in place, which may be one that a process of the tree serves. They make no event either.
MOUNTS = ("mount", "move_mount")

# With this a process can provide pages itself, its own or its children's, once somebody reads them. No event either.
FAULTS = "userfaultfd"

# i386 has had one call for all of sockets, with the true call in its first register and that one's arguments in memory
# (include/uapi/linux/net.h); newer programs use calls of their own.
SOCKETCALL = "socketcall"
SUBCALLS = {
    2: CALLS["bind"],
    3: CALLS["connect"],
    4: CALLS["listen"],
    5: CALLS["accept"],
    11: CALLS["sendto"],
    16: CALLS["sendmsg"],
    18: CALLS["accept4"],
    20: CALLS["sendmmsg"],
}

# io_uring opens, connects and sends without any call that a filter sees.
BYPASSED = (EventCategory.FILE, EventCategory.NETWORK)
# AUDIT_ARCH and number -> the call; None for socketcall.
BY_NUMBER: dict[tuple[int, int], Call | None] = {
    (syscalls.AUDIT_ARCH[abi], number): CALLS.get(name)
    for abi, numbers in syscalls.NUMBERS.items()
    for name, number in numbers.items()
    if name in CALLS or name == SOCKETCALL
}
# AUDIT_ARCH and number of each of VIEWS -> whether it is one of VIEWS_OF_OTHERS.
VIEW_NUMBERS = {
    (syscalls.AUDIT_ARCH[abi], numbers[name]): name in VIEWS_OF_OTHERS
    for abi, numbers in syscalls.NUMBERS.items()
    for name in VIEWS
}
# AUDIT_ARCH and number of each of MOUNTS.
MOUNT_NUMBERS = {
    (syscalls.AUDIT_ARCH[abi], numbers[name]) for abi, numbers in syscalls.NUMBERS.items() for name in MOUNTS
}
# AUDIT_ARCH and number of FAULTS.
FAULT_NUMBERS = {(syscalls.AUDIT_ARCH[abi], numbers[FAULTS]) for abi, numbers in syscalls.NUMBERS.items()}


def find(arch: int, number: int, first: int) -> Call | None:
    """Return the call of this architecture (AUDIT_ARCH), number and first argument; None when it is none of ours."""
    return BY_NUMBER.get((arch, number)) or (SUBCALLS.get(first) if is_socketcall(arch, number) else None)


def is_socketcall(arch: int, number: int) -> bool:
    """Tell whether it is i386's socketcall, of which `find` gives the true call."""
    return BY_NUMBER.get((arch, number), 0) is None


def has_short_pointers(arch: int, number: int) -> bool:
    """Tell whether pointers in the process's memory have 4 bytes in this call: those of i386 and of x32."""
    return arch == syscalls.AUDIT_ARCH[syscalls.I386] or bool(number & syscalls.X32_BIT)


def traps(categories: Iterable[EventCategory | str]) -> dict[int, set[int]]:
    """Return AUDIT_ARCH -> numbers of the calls to trap for these categories, for every ABI that can be used here."""
    names = _names(categories)
    found: dict[int, set[int]] = {}
    for abi in syscalls.abis() if names else ():
        numbers = syscalls.NUMBERS[abi]
        found.setdefault(syscalls.AUDIT_ARCH[abi], set()).update(numbers[name] for name in names if name in numbers)
    return found


def nonzero(categories: Iterable[EventCategory | str]) -> dict[tuple[int, int], int]:
    """Return (AUDIT_ARCH, number) -> the argument without which the call is not to be trapped.

    That is sendto without an address, which is what send(2) is: its peer is known from connect and accept.
    """
    return {
        (syscalls.AUDIT_ARCH[abi], syscalls.NUMBERS[abi]["sendto"]): 4
        for abi in (syscalls.abis() if EventCategory.NETWORK in map(EventCategory, categories) else ())
        if "sendto" in syscalls.NUMBERS[abi]
    }


def _names(categories: Iterable[EventCategory | str]) -> set[str]:
    asked = set(map(EventCategory, categories))
    names = {call.name for call in _CALLS if category_of(call.kind) in asked}
    if EventCategory.NETWORK in asked:
        names.add(SOCKETCALL)
    if asked.intersection(BYPASSED):
        names.add("io_uring_setup")
    return names.union(VIEWS, MOUNTS, (FAULTS,)) if names else names

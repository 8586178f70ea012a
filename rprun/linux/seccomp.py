"""seccomp user notification: a filter that shows chosen system calls to a supervisor, which lets them go on.

Some facts about it (seccomp(2), seccomp_unotify(2), include/uapi/linux/seccomp.h):

- A filter is a classic BPF program over struct seccomp_data: `nr`, `arch`, the instruction pointer and six arguments.
  For a call that it allows after looking at no more than `nr` and `arch` the kernel (5.11+) never runs it: it notes so
  in a bitmap when the filter is installed. So arguments are loaded only after the number has matched.
- RECV wants its buffer zeroed. A call that a signal interrupts before it is received returns EINTR or comes a second
  time; one that is gone makes SEND fail with ENOENT, and has not run.
- One listener per process, inherited by what it starts: a second one is refused with EBUSY.
- Without CAP_SYS_ADMIN a filter needs no_new_privs, which takes from sudo(8) and its like what they are for. With the
  capability it is therefore not set.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import os
import select
import struct
from errno import EACCES, EINVAL, ENOENT, ENOSYS
from fcntl import ioctl

from rprun.linux import libc, process, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Self

SET_MODE_FILTER, GET_NOTIF_SIZES = 1, 3

# Flags of SET_MODE_FILTER.
SPEC_ALLOW = 1 << 2
NEW_LISTENER = 1 << 3
WAIT_KILLABLE_RECV = 1 << 5  # Linux 5.19: once received, only a fatal signal interrupts a call.

RET_USER_NOTIF, RET_ALLOW = 0x7FC00000, 0x7FFF0000
FLAG_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5

# ioctls of the listener: SECCOMP_IOCTL_NOTIF_*.
RECV, SEND, ID_VALID, SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
FD_SYNC_WAKE_UP = 1 << 0  # Linux 6.6

NOTIFICATION = struct.Struct("=QIIiIQ6Q")
"""struct seccomp_notif: id, pid (a thread's), flags, and seccomp_data: nr, arch, instruction_pointer, args[6]."""
RESPONSE = struct.Struct("=QqiI")
"""struct seccomp_notif_resp: id, val, error, flags."""
# struct sock_fprog { unsigned short len; struct sock_filter *filter; }; (include/uapi/linux/filter.h)
_FPROG = struct.Struct("@HP")

# Offsets in struct seccomp_data.
_NR, _ARCH, _ARGS = 0, 4, 16
# struct sock_filter { __u16 code; __u8 jt; __u8 jf; __u32 k; }; and the codes in use (include/uapi/linux/bpf_common.h).
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_NOT_BELOW, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x06
_FARTHEST = 255
_MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS

Block = list[tuple[int, int, int, int]]


def _notification_sizes() -> tuple[int, int]:
    """Return how large the kernel's structures are, which may have grown, but no less than those above."""
    sizes = ctypes.create_string_buffer(6)  # struct seccomp_notif_sizes: three __u16
    try:
        _seccomp(GET_NOTIF_SIZES, 0, ctypes.addressof(sizes))
    except OSError:
        return NOTIFICATION.size, RESPONSE.size
    request, response, _ = struct.unpack("=3H", sizes)
    return max(request, NOTIFICATION.size), max(response, RESPONSE.size)


def _seccomp(operation: int, flags: int, address: int) -> int:
    abi = syscalls.native()
    if abi is None:
        raise OSError(ENOSYS, os.strerror(ENOSYS))
    return libc.syscall(syscalls.NUMBERS[abi]["seccomp"], operation, flags, address)


NOTIF_SIZE, RESP_SIZE = _notification_sizes()
"""Bytes of a buffer for `receive`, and of an answer: at least 80 and 24."""

_ZEROS = bytes(NOTIF_SIZE)
_SPARE = bytes(RESP_SIZE - RESPONSE.size)


def build_filter(
    traps: Mapping[int, Collection[int]],
    *,
    exempt: tuple[int, int, int] | None = None,
    nonzero: Mapping[tuple[int, int], int] | None = None,
) -> bytes:
    """Assemble a filter that notifies of chosen calls and allows all others.

    Args:
        traps: AUDIT_ARCH_* -> numbers of the calls to notify of. The first architecture is the fastest; calls of one
            that is not there are allowed.
        exempt: number, first and second argument of one call of this process's own ABI that is allowed nevertheless:
            the one that sends the listener away, which would else wait for who is to receive it. All 64 bits are
            compared.
        nonzero: (AUDIT_ARCH_*, number) -> index of an argument; if that is 0, the call is allowed.

    Returns:
        An array of struct sock_filter.

    Raises:
        ValueError: the program would be longer than the kernel takes (4,096 instructions).
    """
    nonzero = nonzero or {}
    own = syscalls.AUDIT_ARCH.get(syscalls.native() or "")
    program: Block = [(_LOAD, 0, 0, _ARCH)]
    for arch, numbers in traps.items():

        def verdict(number: int, arch: int = arch) -> Block:
            block: Block = []
            wide = bool(arch & 0x80000000)
            if exempt is not None and arch == own and number == exempt[0]:
                block += _allow_if([(0, exempt[1]), (1, exempt[2])], wide=wide)
            if (arch, number) in nonzero:
                block += _allow_if([(nonzero[arch, number], 0)], wide=wide)
            return [*block, (_RETURN, 0, 0, RET_USER_NOTIF)]

        section = [(_LOAD, 0, 0, _NR), *_search(_steps(numbers, verdict))]
        program += [(_JUMP_EQUAL, 1, 0, arch), (_JUMP, 0, 0, len(section)), *section]
    program.append((_RETURN, 0, 0, RET_ALLOW))
    if len(program) > _MOST_INSTRUCTIONS:
        raise ValueError(f"a filter of {len(program)} instructions; the kernel takes {_MOST_INSTRUCTIONS}")
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _allow_if(arguments: Iterable[tuple[int, int]], *, wide: bool) -> Block:
    """Return code that allows the call if every (index, value) holds, and else goes on behind itself.

    Args:
        arguments: indices and the values to compare with.
        wide: whether all 64 bits count. The registers of a 32-bit call from a 64-bit process have an upper half that
            the call does not see.
    """
    halves = []
    for index, value in arguments:
        low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
        where = _ARGS + 8 * index
        first, second = (
            ((where, low), (where + 4, high)) if sys.byteorder == "little" else ((where + 4, low), (where, high))
        )
        halves += [first, second] if wide else [first]
    block: Block = [(_RETURN, 0, 0, RET_ALLOW)]
    for offset, half in reversed(halves):
        # An unequal half jumps over all that is left, the return included.
        block = [(_LOAD, 0, 0, offset), (_JUMP_EQUAL, 0, len(block), half), *block]
    return block


def _steps(numbers: Collection[int], verdict: Callable[[int], Block]) -> list[tuple[int, Block]]:
    """Return where, going up from 0, the verdict changes, and to what: neighbours with the same one make one step."""
    allow: Block = [(_RETURN, 0, 0, RET_ALLOW)]
    chosen = set(numbers)
    steps = [(0, allow)]
    for start in sorted(chosen | {number + 1 for number in chosen}):
        block = verdict(start) if start in chosen else allow
        if block != steps[-1][1]:
            steps.append((start, block))
    return steps if len(steps) == 1 or steps[1][0] else steps[1:]


def _search(steps: list[tuple[int, Block]]) -> Block:
    """Return a binary search for the step that the loaded number is on."""
    if len(steps) == 1:
        return steps[0][1]
    middle = len(steps) // 2
    below, rest = _search(steps[:middle]), _search(steps[middle:])
    start = steps[middle][0]
    if len(below) <= _FARTHEST:
        return [(_JUMP_NOT_BELOW, len(below), 0, start), *below, *rest]
    return [(_JUMP_NOT_BELOW, 0, 1, start), (_JUMP, 0, 0, len(below)), *below, *rest]


class Installed(tuple[bool, bool]):
    """What it took to install a filter. Not of the module typing, which a start would have to wait for."""

    __slots__ = ()

    def __new__(cls, no_new_privs: bool, wait_killable: bool) -> Self:  # noqa: FBT001 - one for each, in its order
        """Put them together."""
        return super().__new__(cls, (no_new_privs, wait_killable))

    @property
    def no_new_privs(self) -> bool:
        """Say whether it was set for the filter, so that set-user-ID programs get no rights; not if it held before."""
        return self[0]

    @property
    def wait_killable(self) -> bool:
        """Say whether a signal cannot interrupt a call that has been received (WAIT_KILLABLE_RECV)."""
        return self[1]


def install(program: bytes, flags: int) -> int:
    """Put this thread, and all that it starts, under a filter for good.

    Args:
        program: from `build_filter`.
        flags: SECCOMP_FILTER_FLAG_*; NEW_LISTENER is added.

    Returns:
        The listener, close-on-exec.

    Raises:
        OSError: EACCES without CAP_SYS_ADMIN and no_new_privs; EBUSY if there is a listener already; EINVAL for a flag
            that this kernel, or what poses as one, does not know; ENOSYS without a table for this machine.
    """
    code = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(
        _FPROG.pack(len(program) // _INSTRUCTION.size, ctypes.addressof(code)), _FPROG.size
    )
    return _seccomp(SET_MODE_FILTER, flags | NEW_LISTENER, ctypes.addressof(fprog))


def install_best(program: bytes) -> tuple[int, Installed]:
    """Install a filter with the least loss of privilege and the best flags that this host allows.

    SPEC_ALLOW is always given: it spares the command the slow-down that kernels before 5.16 add to the sandboxed.

    Returns:
        The listener, and what holds for it.

    Raises:
        OSError: as `install` does, except for what could be helped.
    """
    no_new_privs, killable = False, WAIT_KILLABLE_RECV
    while True:
        try:
            return install(program, SPEC_ALLOW | killable), Installed(no_new_privs, bool(killable))
        except OSError as error:
            # The kernel looks at the flags first, so what is refused with EACCES may yet get another EINVAL.
            if error.errno == EACCES and not no_new_privs:
                process.set_no_new_privs()
                no_new_privs = True
            elif error.errno == EINVAL and killable:
                killable = 0
            else:
                raise


def set_sync_wake_up(listener: int, *, on: bool = True) -> bool:
    """Have both sides be woken on the processor of the one that wakes them, which is ten times faster; or not any more.

    Returns:
        False where the kernel cannot do that (before 6.6).
    """
    try:
        ioctl(listener, SET_FLAGS, FD_SYNC_WAKE_UP if on else 0)
    except OSError:
        return False
    return True


def receive(listener: int, buffer: bytearray | memoryview) -> None:
    """Wait for the next call and put its `NOTIFICATION` at the start of `buffer`.

    Args:
        listener: from `install`.
        buffer: at least NOTIF_SIZE bytes. Above 1,024 the kernel writes there directly, where fcntl.ioctl would else
            copy from a buffer of its own; in memory that is shared, it is there even if this process is killed next.

    Raises:
        OSError: ENOENT if the call was given up, or (6.11+) if no process uses the filter any more; EINTR.
    """
    buffer[:NOTIF_SIZE] = _ZEROS
    ioctl(listener, RECV, buffer)


def respond_continue(listener: int, notification_id: int) -> None:
    """Let the call go on, as if there were no filter.

    Raises:
        OSError: ENOENT if the call was given up, and so has not run; EINPROGRESS if it was answered before.
    """
    ioctl(listener, SEND, RESPONSE.pack(notification_id, 0, 0, FLAG_CONTINUE) + _SPARE)


def still_waits(listener: int, notification_id: int) -> bool:
    """Tell whether a call that was received has been neither answered nor given up: what was read then is its own."""
    try:
        ioctl(listener, ID_VALID, notification_id.to_bytes(8, sys.byteorder))
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return False
    return True


def is_deserted(listener: int) -> bool:
    """Tell whether no process is under the filter any more (Linux 5.9; zombies do not count, as they make no calls)."""
    poller = select.poll()
    poller.register(listener, 0)
    return any(events & select.POLLHUP for _, events in poller.poll(0))

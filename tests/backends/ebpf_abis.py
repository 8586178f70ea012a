"""Calls that move bytes, with the structures of each ABI: x86_64's own, i386's by `int $0x80`, and x32's."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Any

import pytest
from ebpf_calls import Compat, does_calls_of_i386

from rprun.linux import libc
from rprun.linux.syscalls import I386, NUMBERS, X32, X86_64, native


def needs_abi(abi: str) -> None:
    """Skip where the kernel does no calls of it."""
    if abi == I386 and not does_calls_of_i386():
        pytest.skip("needs a kernel that does calls of i386")


def _call(number: int, *arguments: int) -> int:
    try:
        return libc.syscall(number, *arguments)
    except OSError as error:
        return -(error.errno or 0)


# Few kernels do calls of x32, and none that tests are run on must.
_HAS_X32 = native() == X86_64 and _call(NUMBERS[X32]["write"], -1, 0, 0) == -errno.EBADF
ABIS = (X86_64, I386, *((X32,) if _HAS_X32 else ()))


class Machine:
    """Calls of one ABI, and what they point to."""

    def __init__(self, abi: str) -> None:
        self.abi = abi
        # x32's structures have short pointers too, so that they have to lead to memory below 4 GiB.
        self._low = None if abi == X86_64 else Compat()
        self._kept: list[Any] = []

    def put(self, data: bytes) -> int:
        """Return the address of these bytes."""
        if self._low is not None:
            return self._low.put(data)
        self._kept.append(ctypes.create_string_buffer(data, len(data) + 1))
        return ctypes.addressof(self._kept[-1])

    def call(self, name: str, *arguments: int) -> int:
        """Make a call; return its result, or -errno."""
        if self.abi == I386:
            assert self._low is not None
            return self._low.call(name, *arguments)
        return _call(NUMBERS[self.abi][name], *arguments)

    def socketcall(self, number: int, *arguments: int) -> int:
        """Make the call that i386 has under this number of include/uapi/linux/net.h."""
        words = [argument & 0xFFFFFFFF for argument in arguments]
        return self.call("socketcall", number, self.put(struct.pack(f"={len(words)}I", *words)))

    def vector(self, *sizes: int) -> tuple[int, int]:
        """Return the address of an array of struct iovec with memory of these sizes, and its length."""
        pairs = [word for size in sizes for word in (self.put(b"x" * size), size)]
        return self.put(struct.pack(f"={len(pairs)}{'I' if self._low else 'Q'}", *pairs)), len(sizes)

    def _header(self, sizes: tuple[int, ...], name: bytes) -> bytes:
        """Return a struct msghdr."""
        named = self.put(name) if name else 0
        return struct.pack("=7I" if self._low else "=QI4xQQQQi4x", named, len(name), *self.vector(*sizes), 0, 0, 0)

    def message(self, *sizes: int) -> int:
        """Return the address of a struct msghdr with memory of these sizes."""
        return self.put(self._header(sizes, b""))

    def messages(self, *sizes: int, name: bytes = b"") -> tuple[int, int]:
        """Return the address of an array of struct mmsghdr with one piece of memory each, and its length."""
        behind = bytes(4 if self._low else 8)
        return self.put(b"".join(self._header((size,), name) + behind for size in sizes)), len(sizes)

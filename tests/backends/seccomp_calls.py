"""Calls of this very process, as the supervisor would see them: registers that point to memory made with ctypes."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

from rprun.backends.seccomp import decode, record
from rprun.backends.seccomp.capture import Capture
from rprun.linux.syscalls import AUDIT_ARCH, NUMBERS, X86_64

AT_FDCWD = 0xFFFFFF9C
AT_EMPTY_PATH = 0x1000
NOW = 1_700_000_000_123_456_789


class Memory:
    """Memory of this process that keeps what was put into it."""

    def __init__(self) -> None:
        self._kept: list[object] = []

    def put(self, data: bytes) -> int:
        """Return the address of these bytes and a NUL."""
        self._kept.append(buffer := ctypes.create_string_buffer(data))
        return ctypes.addressof(buffer)

    def vector(self, *texts: bytes) -> int:
        """Return the address of a list of strings with 8-byte pointers."""
        return self.put(struct.pack(f"={len(texts) + 1}Q", *map(self.put, texts), 0))


def event_of(name: str, *arguments: int, abi: str = X86_64, capture: Capture | None = None) -> Any:
    """Return kind and fields of the one event of a call of this process; None if it makes none."""
    events = events_of(name, *arguments, abi=abi, capture=capture)
    assert len(events) < 2
    return events[0] if events else None


def events_of(name: str, *arguments: int, abi: str = X86_64, capture: Capture | None = None) -> list[Any]:
    """Return kinds and fields of the events of a call of this process."""
    data = record_of(name, *arguments, abi=abi, capture=capture)
    found = []
    for kind, pid, timestamp, shared in decode.decode(data):
        # Several events may share their fields.
        fields = dict(shared)
        assert (pid, timestamp) == (os.getpid(), NOW)
        if kind.startswith(("file-", "net-", "exec")):
            assert fields.pop("attempt") is True
        found.append((kind.value, fields))
    return found


def record_of(name: str, *arguments: int, abi: str = X86_64, capture: Capture | None = None) -> bytes:
    """Return the record of a call of this process."""
    registers = [argument & (1 << 64) - 1 for argument in arguments] + [0] * (6 - len(arguments))
    place, me = (AUDIT_ARCH[abi], NUMBERS[abi][name]), os.getpid()
    captured = (capture or Capture()).capture(*place, registers, me, me)
    assert captured is not None
    return record.pack(*place, me, me, NOW, registers, captured)

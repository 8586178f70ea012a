"""What the kernel's verifier has to do for the programs, which is most of the time that a run takes to start."""

from __future__ import annotations

import ctypes
import os
import re
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_calls import FILE, NETWORK, need_privilege

from rprun.backends.ebpf.loops import has_may_goto
from rprun.backends.ebpf.session import Session
from rprun.linux import bpf
from rprun.observe.categories import EventCategory

_STATISTICS = 4  # BPF_LOG_STATS, include/linux/bpf_verifier.h
_MOST_TIMES = 2.5


def test_few_instructions_are_gone_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a program with loops the verifier takes each instruction some twice, on whichever ways one can come to it."""
    need_privilege()
    if not has_may_goto():
        pytest.skip("needs Linux 6.9: before, the turns of loops are gone through one by one")
    gone_through: dict[str, float] = {}
    load = bpf.load_program

    def load_and_look(kind: bpf.ProgramKind, code: bytes, *, name: str = "") -> int:
        gone_through[name] = _processed(kind, code) * bpf.INSTRUCTION_SIZE / len(code)
        return load(kind, code, name=name)

    monkeypatch.setattr(bpf, "load_program", load_and_look)
    Session((FILE, NETWORK, EventCategory.PROCESS)).close()
    assert len(gone_through) >= 9
    assert not {name: times for name, times in gone_through.items() if times > _MOST_TIMES}


def _processed(kind: bpf.ProgramKind, code: bytes) -> int:
    """Load a program and let it go; return how many instructions the verifier has processed."""
    held, licence, log = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL"), bytearray(1 << 12)
    text = (ctypes.c_char * len(log)).from_buffer(log)
    attributes = bpf.PROG_LOAD.pack(
        kind,
        len(code) // bpf.INSTRUCTION_SIZE,
        ctypes.addressof(held),
        ctypes.addressof(licence),
        *(_STATISTICS, len(log), ctypes.addressof(text)),
        *(0, 0, b""),
    )
    os.close(bpf.command(5, attributes))  # BPF_PROG_LOAD
    found = re.search(rb"processed (\d+) insns", text.value)
    assert found is not None
    return int(found[1])

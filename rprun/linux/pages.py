"""Which of a process's memory can be read at once, and which only after a program has provided it (userfaultfd(2)).

Some facts about that:

- A page that is in the page table (proc_pid_pagemap(5), bit 63) is read without a fault. One that is not is provided by
  the kernel, or, where the range is registered with a userfaultfd, by whoever holds that: then the reader waits for it.
- Which ranges are registered is in VmFlags of /proc/PID/smaps (proc_pid_smaps(5)).
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PRESENT = 1 << 63
# VM_UFFD_MISSING, VM_UFFD_WP and VM_UFFD_MINOR (fs/proc/task_mmu.c: show_smap_vma_flags)
_SERVED = {b"um", b"uw", b"ui"}


def readable(process: int, address: int, size: int) -> int:
    """Return how many bytes of a process or thread can be read from an address on without waiting for a program.

    What is no memory counts as readable: to read it fails at once. 0 where nothing can be found out.

    Args:
        process: or a thread of it.
        address: of the first byte.
        size: in bytes, more than 0.
    """
    first, last = address // _PAGE, (address + size - 1) // _PAGE
    try:
        descriptor = os.open(f"/proc/{process}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        try:
            entries = memoryview(os.pread(descriptor, 8 * (last - first + 1), 8 * first)).cast("Q")
        finally:
            os.close(descriptor)
        if all(entry & _PRESENT for entry in entries):
            return size
        served = _served(process)
    except (OSError, OverflowError, TypeError):
        return 0
    for number, entry in enumerate(entries, first):
        if not entry & _PRESENT and any(start <= number * _PAGE < end for start, end in served):
            return max(0, number * _PAGE - address)
    return size


def _served(process: int) -> list[tuple[int, int]]:
    """Return the ranges of addresses that are registered with a userfaultfd.

    Raises:
        OSError: they cannot be read.
    """
    found, start, end = [], 0, 0
    with open(f"/proc/{process}/smaps", "rb") as file:
        for line in file:
            # Each range has a line that begins with it, and then others that begin with a name and a colon.
            first, dash, last = line.partition(b" ")[0].partition(b"-")
            if dash:
                start, end = int(first, 16), int(last, 16)
            elif first == b"VmFlags:" and not _SERVED.isdisjoint(line.split()):
                found.append((start, end))
    return found

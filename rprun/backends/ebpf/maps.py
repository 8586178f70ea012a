"""The maps that the programs of one run share with one another and with this process."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct
from contextlib import ExitStack

from rprun.backends.ebpf.layout import KEY, VALUE, Lost
from rprun.linux.bpf import MMAPABLE, MapKind
from rprun.linux.bpf_map import Map
from rprun.linux.bpf_ring import RingBuffer

SCRATCH_SIZE = 32768
"""The most that a per-CPU allocation can have (PCPU_MIN_UNIT_SIZE, include/linux/percpu.h)."""
RING_SIZE = 16 << 20
TREE_SIZE = 65536  # Processes that live at once.
DESCRIPTORS_SIZE = 32768  # Descriptors of theirs that have been seen opened or written to, and are open.
UNKEPT_SIZE = 1024  # Of those beyond, which are remembered not to be counted as lost again.
_COUNTERS = struct.Struct(f"={len(Lost)}Q")


class Maps:
    """The maps, to be closed once the programs have been loaded and the ring is no longer read.

    Attributes:
        tree: HASH: the tgid (in the initial pid namespace) of each process of the command's tree -> its number in
            rprun's own pid namespace, which goes into the header of each of its records.
        descriptors: HASH: u32 tgid, u32 descriptor -> `layout.VALUE`.
        unkept: LRU_HASH: the same keys -> u64 `layout.FILE_AT`, of descriptors for which there was no room there.
        scratch: PERCPU_ARRAY of one value of SCRATCH_SIZE bytes, where a record is put together.
        frame: ARRAY of one value: u64, where on a task's kernel stack the struct pt_regs of its call is.
        lost: ARRAY of one value: u64 for each of `Lost`, what has found no room in the ring or in the tree.
        ring: the records.
    """

    def __init__(self, ring_size: int = RING_SIZE, tree_size: int = TREE_SIZE) -> None:
        """Make them.

        Args:
            ring_size: bytes, a power of two and a multiple of the page size.
            tree_size: how many processes there is room for.

        Raises:
            OSError: as `rprun.linux.bpf.create_map`; EMFILE.
        """
        with ExitStack() as undo:
            self.tree = Map(MapKind.HASH, 4, 4, tree_size, name="rprun_tree")
            undo.callback(self.tree.close)
            self.descriptors = Map(MapKind.HASH, KEY.size, VALUE.size, DESCRIPTORS_SIZE, name="rprun_files")
            undo.callback(self.descriptors.close)
            self.unkept = Map(MapKind.LRU_HASH, KEY.size, 8, UNKEPT_SIZE, name="rprun_unkept")
            undo.callback(self.unkept.close)
            self.scratch = Map(MapKind.PERCPU_ARRAY, 4, SCRATCH_SIZE, 1, name="rprun_scratch")
            undo.callback(self.scratch.close)
            self.frame = Map(MapKind.ARRAY, 4, 8, 1, name="rprun_frame")
            undo.callback(self.frame.close)
            self.lost = Map(MapKind.ARRAY, 4, _COUNTERS.size, 1, flags=MMAPABLE, name="rprun_lost")
            undo.callback(self.lost.close)
            self.ring = RingBuffer(ring_size, longest=SCRATCH_SIZE, name="rprun_ring")
            undo.callback(self.ring.close)
            self._counters = self.lost.mapped()
            undo.pop_all()

    def read_lost(self) -> tuple[int, ...]:
        """Return the counters, in the order of `Lost`, since the start; it takes no system call."""
        return _COUNTERS.unpack_from(self._counters)

    def close(self) -> None:
        """Let go of them here; programs keep those that they use. A second call does nothing."""
        self._counters.close()
        self.ring.close()
        for each in (self.lost, self.frame, self.scratch, self.unkept, self.descriptors, self.tree):
            each.close()

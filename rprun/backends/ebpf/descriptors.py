"""What the programs keep of each descriptor of the tree: which file it is, and how much has gone through it.

Some facts about it:

- An element of `maps.descriptors` is of one process and one descriptor. What a child inherits, or what dup(2) makes,
  has an element of its own once something is written to it, so that bytes are counted for who has written them.
- There is no place in the kernel where a descriptor's end can be seen by a tracepoint, but close(2) and dup2(2) over it
  are calls. What close_range(2), an exec or the end of a process closes is told when the process ends, or as soon as
  the number is another file's: so the element says which file it is.
- The address of a struct file is that of another one right after a close: the number of its inode has to be the same
  too. Those of pipes, sockets and memory are all different (get_next_ino, fs/inode.c), and of a file with a path the
  path stays what it was.
- Two threads may see at the same moment that an element is over, one that closes and one that opens. One of them tells
  of it: see `elements`. It stays where it is, about nothing, for the next file with this number: were it deleted, the
  other one might delete what has just come in its place. Who reads the records deletes the elements of a process that
  has ended.
- That its file is gone from the descriptor is found out before the counters are read: so what came before the close is
  counted.
- Where the ring has no room, the record by which a descriptor has become known may be missing while that of its close
  is not. Therefore an element, and the record of its close, say since when it is about this file: what is known of the
  number from before is about another one.
- At the end of close(2) another thread may have got the same number for something new. If the descriptor is the file
  that the element is about, that is not the one that has been closed.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from errno import EEXIST

from rprun.backends.ebpf import layout
from rprun.backends.ebpf.call_frame import CATEGORY, CLOSED, ELEMENT, FD, FILE, KEY, SINCE, VALUE
from rprun.backends.ebpf.common import count_lost, new_label, read_kernel
from rprun.backends.ebpf.elements import COUNTERS, claim_free, copy_counters, exchange_since, join, occupy
from rprun.backends.ebpf.layout import CLAIMED, Kind, Lost
from rprun.backends.ebpf.walk import load_file
from rprun.linux.bpf_assembler import R0, R1, R2, R3, R4, R8, R10, Assembler, Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps

_RECORD_SIZE = layout.HEADER_SIZE + layout.CLOSED.size
_NOEXIST = 1  # BPF_NOEXIST, include/uapi/linux/bpf.h


def identify(code: Assembler, kernel: Kernel) -> None:
    """Put what tells the struct file at R0 from all others at `FILE`, and into R0."""
    code.store(R10, FILE, R0)
    read_kernel(code, R1, R0, kernel.file_f_inode)
    identify_by_inode(code, kernel)


def identify_by_inode(code: Assembler, kernel: Kernel) -> None:
    """Do so where the struct file is at `FILE` already, and R1 is its inode."""
    read_kernel(code, R0, R1, kernel.inode_i_ino)
    code.load(R1, R10, FILE)
    identify_by_number(code)


def identify_by_number(code: Assembler) -> None:
    """Do so where R1 is the struct file, and R0 the number of its inode."""
    code.shift_left(R0, 32)
    code.add(R0, R1)
    code.store(R10, FILE, R0)


def find(code: Assembler, maps: Maps, missing: str) -> None:
    """Put the key of the descriptor at `FD` at `KEY`, and its element's address at `ELEMENT`; go to a label without."""
    code.load(R1, R8, layout.TGID_AT, size=4)
    code.store(R10, KEY, R1, size=4)
    code.load(R1, R10, FD)
    code.store(R10, KEY + 4, R1, size=4)
    _point_to_key(code, maps.descriptors.fd)
    code.call(Helper.map_lookup_elem)
    code.jump_if_equal(R0, 0, missing)
    code.store(R10, ELEMENT, R0)


def put(code: Assembler, maps: Maps, category: Lost, full: str, known: str) -> None:
    """Make the descriptor of `KEY` an element about the file at `FILE`, with the counters at `VALUE`.

    Args:
        code: the program.
        maps: where it is.
        category: of the call.
        full: where to go if there is no room.
        known: where to go if another thread has made it one meanwhile: the counters have been added to its own.
    """
    there, done = map(new_label, ("there", "put"))
    code.load(R1, R10, FILE)
    code.store(R10, VALUE + layout.FILE_AT, R1)
    code.move(R1, int(category))
    code.store(R10, VALUE + layout.CATEGORY_AT, R1)
    code.load(R1, R8, layout.TIME_AT)
    code.store(R10, VALUE + layout.SINCE_AT, R1)
    _point_to_key(code, maps.descriptors.fd)
    code.call(Helper.map_lookup_elem)
    code.jump_if_not_equal(R0, 0, there)
    _point_to_key(code, maps.descriptors.fd)
    code.move(R3, R10)
    code.add(R3, VALUE)
    code.move(R4, _NOEXIST)
    code.call(Helper.map_update_elem)
    code.jump_if_equal(R0, 0, done)
    # Before Linux 6.4 the result of the helper has 32 bits.
    code.move32(R0, R0)
    code.move32(R1, -EEXIST)
    code.jump_if_not_equal(R0, R1, full)
    _point_to_key(code, maps.descriptors.fd)
    code.call(Helper.map_lookup_elem)
    code.jump_if_equal(R0, 0, full)
    code.label(there)
    code.store(R10, ELEMENT, R0)
    join(code, category, full, known)
    code.label(done)


def keep(code: Assembler, maps: Maps, category: Lost, *, is_new: bool) -> None:
    """Have an element about the descriptor at `FD`, which is the file at `FILE`; one about another file is told of.

    Args:
        code: the program.
        maps: where it is.
        category: of the call.
        is_new: the descriptor has just been opened: whatever the element is about, it is over.
    """
    missing, free, mine, full, done = map(new_label, ("missing", "free", "mine", "full", "kept"))
    # Another thread can only be at it if it came upon the same file, or if it closes what this one is opening.
    claimed = full if is_new else done
    find(code, maps, missing)
    code.load(R1, R0, layout.SINCE_AT)
    code.store(R10, SINCE, R1)
    code.jump_if_equal(R1, 0, free)
    code.jump_if_equal(R1, CLAIMED, claimed)
    if not is_new:
        code.load(R1, R0, layout.FILE_AT)
        code.load(R2, R10, FILE)
        code.jump_if_equal(R1, R2, done)
    copy_counters(code)
    exchange_since(code, CLAIMED)
    code.load(R1, R10, SINCE)
    code.jump_if_equal(R0, R1, mine)
    # Another one has told of it just now.
    code.store_immediate(R10, SINCE, 0)
    code.label(free)
    claim_free(code, claimed)
    code.label(mine)
    occupy(code, category, are_counted=False)
    code.load(R1, R10, SINCE)
    code.jump_if_equal(R1, 0, done)
    _emit_closed(code, maps)
    code.jump(done)
    code.label(missing)
    for at in COUNTERS:
        code.move(R1, 0)
        code.store(R10, VALUE + at, R1)
    put(code, maps, category, full, done)
    code.jump(done)
    code.label(full)
    count_unkept(code, maps, category, is_new=is_new)
    code.label(done)


def count_unkept(code: Assembler, maps: Maps, category: Lost, *, is_new: bool) -> None:
    """Count the descriptor of `KEY`, which is the file at `FILE` and has no element, as lost; not with each call again.

    Args:
        code: the program.
        maps: where that is remembered, of the last ones.
        category: of the call.
        is_new: it has just been opened, so it is not the one that is remembered.
    """
    unknown, done = new_label("not remembered"), new_label("counted")
    if not is_new:
        _point_to_key(code, maps.unkept.fd)
        code.call(Helper.map_lookup_elem)
        code.jump_if_equal(R0, 0, unknown)
        code.load(R1, R0, 0)
        code.load(R2, R10, FILE)
        code.jump_if_equal(R1, R2, done)
        code.label(unknown)
    _point_to_key(code, maps.unkept.fd)
    code.move(R3, R10)
    code.add(R3, FILE)
    code.move(R4, 0)
    code.call(Helper.map_update_elem)
    count_lost(code, maps, category)
    code.label(done)


def close(code: Assembler, maps: Maps, kernel: Kernel, out: str) -> None:
    """Tell of the descriptor at `FD` that a call has closed; go to a label where nothing is known of it."""
    gone = new_label("gone")
    find(code, maps, out)
    # First since when, then about what: who changes that does it in between.
    code.load(R1, R0, layout.SINCE_AT)
    code.jump_if_less_or_equal(R1, CLAIMED, out)
    code.store(R10, SINCE, R1)
    code.load(R1, R10, FD)
    load_file(code, kernel, R1, gone)
    identify(code, kernel)
    code.load(R1, R10, ELEMENT)
    code.load(R1, R1, layout.FILE_AT)
    code.jump_if_equal(R0, R1, out)
    code.label(gone)
    tell_end(code, maps, out)
    code.jump(out)


def tell_end(code: Assembler, maps: Maps, otherwise: str) -> None:
    """Tell that the file which the element at `ELEMENT` is about since the time at `SINCE` is not there any more.

    The element is about nothing then. Go to a label if it is not about that file any more.
    """
    copy_counters(code)
    exchange_since(code, 0)
    code.load(R1, R10, SINCE)
    code.jump_if_not_equal(R0, R1, otherwise)
    _emit_closed(code, maps)


def _emit_closed(code: Assembler, maps: Maps) -> None:
    """Give the ring the CLOSED record; counters, category and since when are in it already."""
    told, network = new_label("told"), new_label("network")
    code.move(R1, int(Kind.CLOSED))
    code.store(R10, CLOSED, R1, size=4)
    for at, size in ((layout.TID_AT, 4), (layout.TGID_AT, 4), (layout.PID_AT, 4), (layout.TIME_AT, 8)):
        code.load(R1, R8, at, size=size)
        code.store(R10, CLOSED + at, R1, size=size)
    code.load(R1, R10, FD)
    code.move32(R1, R1)
    code.store(R10, CLOSED + layout.HEADER_SIZE, R1)
    code.map_address(R1, maps.ring.fileno())
    code.move(R2, R10)
    code.add(R2, CLOSED)
    code.move(R3, _RECORD_SIZE)
    code.move(R4, 0)
    code.call(Helper.ringbuf_output)
    code.jump_if_equal(R0, 0, told)
    code.load(R3, R10, CATEGORY)
    code.move(R2, 1)
    code.jump_if_equal(R3, int(Lost.NETWORK), network)
    code.map_value(R1, maps.lost.fd, 8 * Lost.FILE)
    code.atomic_add(R1, 0, R2)
    code.jump(told)
    code.label(network)
    code.map_value(R1, maps.lost.fd, 8 * Lost.NETWORK)
    code.atomic_add(R1, 0, R2)
    code.label(told)


def _point_to_key(code: Assembler, table: int) -> None:
    code.map_address(R1, table)
    code.move(R2, R10)
    code.add(R2, KEY)

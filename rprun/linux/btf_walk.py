"""The walk over a kernel's types by machine code: `btf.c`.

Where it cannot be loaded (see `machine_code`), its caller walks by itself.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import mmap

from rprun.linux import machine_code
from rprun.linux.libc import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

OBJECT = machine_code.path_of("btf")
"""Where the machine code for this machine is, if there is any."""

_SHORTEST = 3  # Words of a type.


def walk(words: memoryview, names: Sequence[int]) -> tuple[memoryview, list[int]]:
    """Go through types from the first on, up to where each wanted name has been found as that of a structure.

    Args:
        words: the types, in words of 32 bits.
        names: the names, as offsets into the strings.

    Returns:
        By id at which word the info of a type is, as far as it has come: type 0 has none, and the last may be behind
        the end. And of each name the id of the first structure that has it, 0 if there is none.

    Raises:
        OSError: there is no machine code for this machine, or it cannot be loaded here.
        ValueError: there is a type of a kind that is not known.
    """
    # Nothing in it waits, so nobody need be let in meanwhile.
    function = machine_code.load(OBJECT, waits=False).walk
    # long walk(const unsigned *, word, unsigned *, word, const unsigned *, unsigned *, word);
    function.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t),
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
    )
    function.restype = ctypes.c_long
    room = len(words) // _SHORTEST + 2
    # No memory is taken for what is not walked over.
    infos = memoryview(mmap.mmap(-1, 4 * room)).cast("I")
    infos[1] = 1
    wanted, ids = (ctypes.c_uint * len(names))(*names), (ctypes.c_uint * len(names))()
    made = function(address_of(words), len(words), address_of(infos), room, wanted, ids, len(names))
    if made < 0:
        raise ValueError("BTF with a type of a kind that is not known here")
    return infos[:made], list(ids)

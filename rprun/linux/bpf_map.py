"""Maps: what programs in the kernel and this process share, looked up by key and changed from either side.

Some facts about it (bpf(2)):

- The kernel copies keys and values by the sizes of the map, and is not told how large the buffers here are. So a `Map`
  knows its sizes.
- It lives as long as a descriptor, a mapping, or a program that uses it.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import mmap
import os
import struct
from errno import ENOENT

from rprun.linux import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOOKUP, _UPDATE, _DELETE, _GET_NEXT_KEY = range(1, 5)  # BPF_MAP_* of enum bpf_cmd
_DELETE_BATCH = 27

ELEMENT = struct.Struct("=I4xQQQ")
"""Of union bpf_attr: map_fd, key, value (or next_key), flags."""
BATCH = struct.Struct("=16xQ8x2I16x")
"""keys, count, map_fd; nothing else of it matters where elements are deleted."""
_COUNT = struct.Struct("=32xI")
_POSSIBLE_CPUS = "/sys/devices/system/cpu/possible"


class Map:
    """A map with its descriptor and its sizes.

    Keys and values are bytes in the machine's own order. A value of PERCPU_ARRAY is that of every possible CPU, one
    after the other, each filled up to a multiple of 8 bytes.

    Attributes:
        fd: -1 once it is closed. Programs that use the map keep it.
    """

    def __init__(
        self, kind: bpf.MapKind, key_size: int, value_size: int, entries: int, *, flags: int = 0, name: str = ""
    ) -> None:
        """Make a map; see `bpf.create_map`."""
        self.fd = -1
        self._key_size, self._entries = key_size, entries
        per_cpu = kind == bpf.MapKind.PERCPU_ARRAY
        self._value_size = _rounded(value_size) * possible_cpus() if per_cpu else value_size
        self._stride = _rounded(value_size)
        self.fd = bpf.create_map(kind, key_size, value_size, entries, flags=flags, name=name)

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value; None if there is none.

        Raises:
            ValueError: a key of another size.
        """
        value = ctypes.create_string_buffer(self._value_size)
        try:
            self._do(_LOOKUP, key, ctypes.addressof(value))
        except OSError as error:
            if error.errno != ENOENT:
                raise
            return None
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Put a value where there may be one. In a PROG_ARRAY a value is the descriptor of a program.

        Raises:
            OSError: E2BIG: a hash has no room, or an array no such index.
            ValueError: a key or value of another size.
        """
        if len(value) != self._value_size:
            raise ValueError(f"a value of {len(value)} bytes for a map whose values have {self._value_size}")
        held = ctypes.create_string_buffer(value, len(value))
        self._do(_UPDATE, key, ctypes.addressof(held))

    def delete(self, key: bytes) -> bool:
        """Take an element out of a hash; False if there was none.

        Raises:
            OSError: EINVAL: the elements of an ARRAY cannot be deleted.
            ValueError: a key of another size.
        """
        try:
            self._do(_DELETE, key, 0)
        except OSError as error:
            if error.errno != ENOENT:
                raise
            return False
        return True

    def delete_all(self, keys: Sequence[bytes]) -> None:
        """Take elements out of a hash, in one system call where all of them are there (Linux 5.6).

        Raises:
            ValueError: a key of another size.
        """
        done = 0
        while done < len(keys):
            held = ctypes.create_string_buffer(b"".join(keys[done:]))
            if len(held) != (len(keys) - done) * self._key_size + 1:
                raise ValueError(f"keys that have not {self._key_size} bytes each")
            attributes = ctypes.create_string_buffer(BATCH.pack(ctypes.addressof(held), len(keys) - done, self.fd))
            try:
                bpf.command_in_place(_DELETE_BATCH, attributes, BATCH.size)
            except OSError as error:
                if error.errno != ENOENT:
                    raise
                # The next one is not there.
                done += _COUNT.unpack_from(attributes)[0] + 1
                continue
            return

    def keys(self) -> Iterator[bytes]:
        """Go through the keys as they are meanwhile.

        If the last one has been deleted when the next is asked for, the kernel starts again at the first.
        """
        following = ctypes.create_string_buffer(self._key_size)
        key: bytes | None = None
        while True:
            try:
                self._do(_GET_NEXT_KEY, key, ctypes.addressof(following))
            except OSError as error:
                if error.errno != ENOENT:
                    raise
                return
            key = following.raw
            yield key

    def mapped(self) -> mmap.mmap:
        """Return the values of an ARRAY made with MMAPABLE, for reading and writing without a system call.

        Each begins at a multiple of 8 bytes. `memoryview.cast` reads and writes a number in one piece.
        """
        return mmap.mmap(self.fd, self._stride * self._entries)

    def close(self) -> None:
        """Let go of it here."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _do(self, command: int, key: bytes | None, value: int) -> None:
        if key is not None and len(key) != self._key_size:
            raise ValueError(f"a key of {len(key)} bytes for a map whose keys have {self._key_size}")
        held = ctypes.create_string_buffer(key or b"", self._key_size)
        bpf.command(command, ELEMENT.pack(self.fd, 0 if key is None else ctypes.addressof(held), value, 0))


def possible_cpus() -> int:
    """Return how many values a per-CPU map has: the CPUs that could ever be there.

    Raises:
        OSError: /sys is not mounted.
    """
    # As bytes: a codec would have to be imported.
    with open(_POSSIBLE_CPUS, "rb") as file:
        ranges = [part.partition(b"-") for part in file.read().strip().split(b",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def _rounded(size: int) -> int:
    return size + 7 & -8

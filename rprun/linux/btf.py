"""BTF, the kernel's description of its own types: where the members of its structures are on this very host.

Some facts about it (Documentation/bpf/btf.rst, include/uapi/linux/btf.h):

- A header, a section of types and one of strings. A type is 12 bytes and what its kind adds to them, so its id, by
  which others refer to it, does not say where it is: that takes a walk over all types before it.
- Names are offsets into the strings. What writes the kernel's BTF (pahole, resolve_btfids) keeps each string once.
- /sys/kernel/btf/vmlinux is there since Linux 5.4 if CONFIG_DEBUG_INFO_BTF is set, and everybody may read it. Since
  6.16 it can be mapped, privately; before, it comes in pieces of a page.

It has over 100,000 types, and an observer needs some thirty of them at the start of a run. So no type is decoded before
it is asked for. The walk costs one lookup a type, by the word that holds its kind and length, takes note of nothing but
places and the offsets of structures' names, and ends as soon as it has come to what is wanted, which for the kernel's
core is in the first quarter. Names are found by bytes.find among the strings. All this takes some milliseconds, fewer
where machine code walks (`look_for`), so no file is needed to keep the result in, which root would have to trust.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct
from mmap import MAP_PRIVATE, PROT_READ, mmap

from rprun.linux.btf_walk import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self, TypeAlias

    # A member of a structure: the id of its type, its offset in bits, and whether it is a bit field.
    _Member: TypeAlias = tuple[int, int, bool]

VMLINUX = "/sys/kernel/btf/vmlinux"

MAGIC, MAGIC_SWAPPED, VERSION = 0xEB9F, 0x9FEB, 1
# struct btf_header: magic, version, flags, hdr_len; type_off, type_len, str_off, str_len, from the end of the header.
HEADER = struct.Struct("=HBBIIIII")

# BTF_KIND_*
VOID, INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = range(14)
VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(14, 20)

# struct btf_type is three 32-bit words: name_off; info, which is kind, flag and count; size, or the id of a type.
_TYPE = 3
# What follows, in words: the same for all of a kind, or for each that info counts.
_MORE = {INT: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}
_EACH = {STRUCT: 3, UNION: 3, ENUM: 2, FUNC_PROTO: 2, DATASEC: 3, ENUM64: 3}
_KIND_FLAG = 1 << 31

_STRUCTURES, _ENUMS = (STRUCT, UNION), (ENUM, ENUM64)
_SOUGHT = (INT, *_STRUCTURES, *_ENUMS)
_ALIASES = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
_SIZED = (INT, STRUCT, UNION, ENUM, FLOAT, ENUM64)
_MOST_STEPS = 32  # From a type to the one it stands for, as in the kernel (MAX_RESOLVE_DEPTH): more is a circle.
_STRIDE = 1024


class _Type:
    """A type.

    Attributes:
        kind: BTF_KIND_*.
        kind_flag: of a structure: the upper 8 bits of a member's offset are the width of a bit field. Of an enum: it is
            signed.
        size: in bytes, or the id of a type.
        rest: the words that follow. No view of them: while there is one, a mapping cannot be closed.
    """

    __slots__ = ("kind", "kind_flag", "rest", "size")

    def __init__(self, kind: int, *, kind_flag: bool, size: int, rest: tuple[int, ...]) -> None:
        self.kind = kind
        self.kind_flag = kind_flag
        self.size = size
        self.rest = rest


class _Lengths(dict[int, int]):
    """How many words a type takes, by its info; below 0 for a type that can be asked for by name."""

    def __missing__(self, info: int) -> int:
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        if not INT <= kind <= ENUM64:
            raise ValueError(f"BTF with a type of kind {kind}, which is not known here")
        length = _TYPE + _MORE.get(kind, 0) + _EACH.get(kind, 0) * count
        self[info] = -length if kind in _SOUGHT else length
        return self[info]


class Types:
    """The types of a kernel; to be closed, or used in a `with` block.

    A structure is a struct or a union, called by what comes after this word. If there are several of a name, the first
    is meant, as in the kernel's own lookup. The members of an anonymous structure count as those of the structure it
    is in, as in C. A path is the name of a member, or names with dots between them, through structures that contain
    one another: "d_name.len".

    Args:
        data: what the kernel's file holds. A mapping becomes this object's own, and is closed with it.

    Raises:
        ValueError: `data` is no BTF, or not of this machine's byte order. Every method raises it too, where it comes
            upon damaged data.
    """

    def __init__(self, data: bytes | mmap) -> None:
        if len(data) < HEADER.size:
            raise ValueError("no BTF: shorter than its header")
        magic, version, _, length, types, types_length, strings, strings_length = HEADER.unpack(data[: HEADER.size])
        if magic == MAGIC_SWAPPED:
            raise ValueError("BTF of a machine with the other byte order")
        if magic != MAGIC or version != VERSION:
            raise ValueError("no BTF: it does not start with the magic number and version 1")
        self._data = data
        types_end = length + types + types_length
        self._strings, self._strings_end = length + strings, length + strings + strings_length
        if length < HEADER.size or max(types_end, self._strings_end) > len(data) or types_length % 4:
            raise ValueError("damaged BTF: the header and the length do not agree")
        self._words = memoryview(data)[length + types : types_end].cast("I")
        self._lengths = _Lengths()
        # By id: at which word the info of a type is. Type 0 is void and has none; the last may be behind the end.
        self._infos = [-1, 1]
        # By kind and offset of the name: the first such type that has been walked over.
        self._ids: dict[int, dict[int, int]] = {kind: {} for kind in _SOUGHT}
        # By id the same as in `_infos`, of those that machine code has walked over.
        self._walked = memoryview(b"").cast("I")
        self._found: dict[tuple[str, tuple[int, ...]], int] = {}
        self._members: dict[int, dict[bytes, _Member]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the mapping back, if it is one; nothing can be asked any more."""
        self._words.release()
        if isinstance(self._data, mmap):
            self._data.close()

    def look_for(self, structures: Iterable[str]) -> None:
        """Find structures by their names, all at once, so that it takes less time to be asked for them.

        Where there is no machine code nothing is done. What does not exist is no error here.
        """
        offsets = {name: self._offset_of_name(name) for name in structures}
        names = [name for name, offset in offsets.items() if offset]
        try:
            self._walked, ids = walk(self._words, [offsets[name] for name in names])
        except (OSError, ValueError):
            return
        self._found.update(((name, _STRUCTURES), type_id) for name, type_id in zip(names, ids, strict=True) if type_id)

    def offset_of(self, structure: str, *paths: str) -> int:
        """Return how many bytes from its start a structure has a member.

        Args:
            structure: its name.
            paths: of the member; more than one if kernels differ in what they call it. The first that exists counts.

        Raises:
            LookupError: there is no such structure or member, or the member is a bit field.
        """
        return self._find_member(structure, paths)[1] // 8

    def member_size(self, structure: str, *paths: str) -> int:
        """Return how many bytes a member takes. Arguments and errors are those of `offset_of`."""
        return self._size(self._find_member(structure, paths)[0])

    def has_member(self, structure: str, *paths: str) -> bool:
        """Tell whether `offset_of` would find a member."""
        try:
            self._find_member(structure, paths)
        except LookupError:
            return False
        return True

    def size_of(self, structure: str) -> int:
        """Return how many bytes a structure takes.

        Raises:
            LookupError: there is no such structure.
        """
        return self._type(self._find(structure, _STRUCTURES)).size

    def constant(self, enum: str, name: str) -> int:
        """Return what an enum says a name stands for; below 0 only if the BTF is of Linux 6.0 or later.

        Raises:
            LookupError: there is no such enum, or no such name in it.
        """
        found = self._type(self._find(enum, _ENUMS))
        each, rest = _EACH[found.kind], found.rest
        wanted = name.encode()
        for at in range(0, len(rest), each):
            if self._string(rest[at]) == wanted:
                bits = 32 * (each - 1)
                value = rest[at + 1] | (rest[at + 2] << 32 if bits == 64 else 0)
                return value - (1 << bits) if found.kind_flag and value >> bits - 1 else value
        raise LookupError(f"enum {enum} has no {name} in the BTF of this kernel")

    def _find_member(self, structure: str, paths: tuple[str, ...]) -> _Member:
        start = self._find(structure, _STRUCTURES)
        for path in paths:
            found: _Member | None = start, 0, False
            for name in path.split("."):
                if found is not None:
                    inner = self._members_of(found[0]).get(name.encode())
                    found = inner and (inner[0], found[1] + inner[1], inner[2])
            if found is not None:
                if found[2]:
                    raise LookupError(f"{structure}.{path} is a bit field in the BTF of this kernel")
                return found
        raise LookupError(f"{structure} has no member {' or '.join(paths)} in the BTF of this kernel")

    def _members_of(self, type_id: int) -> dict[bytes, _Member]:
        """Return the members of a structure, also those in anonymous ones; nothing for a type that has none."""
        if type_id in self._members:
            return self._members[type_id]
        members: dict[bytes, _Member] = {}
        # In sound data no anonymous structure is twice in the same one: their members would have the same names.
        pending, seen = [(type_id, 0)], set()
        while pending:
            outer, start = pending.pop()
            real, found = self._resolve(outer)
            if found.kind not in _STRUCTURES or real in seen:
                continue
            seen.add(real)
            rest, mask, string = found.rest, 0xFFFFFF if found.kind_flag else 0xFFFFFFFF, self._string
            for name, inner, offset in zip(rest[0::3], rest[1::3], rest[2::3], strict=True):
                bits = start + (offset & mask)
                if name:
                    members.setdefault(string(name), (inner, bits, offset > mask or bits % 8 != 0))
                else:
                    pending.append((inner, bits))
        self._members[type_id] = members
        return members

    def _size(self, type_id: int) -> int:
        count = 1
        for _ in range(_MOST_STEPS):
            _, found = self._resolve(type_id)
            if found.kind == PTR:
                # As libbpf does it: a 32-bit program can run on a 64-bit kernel. The second name is clang's.
                long = self._search("long unsigned int", (INT,)) or self._find("unsigned long", (INT,))
                return count * self._type(long).size
            if found.kind in _SIZED:
                return count * found.size
            if found.kind != ARRAY:
                raise LookupError("a member whose type has no size in the BTF of this kernel")
            type_id, _, length = found.rest
            count *= length
        raise ValueError("damaged BTF: an array of arrays has no end")

    def _resolve(self, type_id: int) -> tuple[int, _Type]:
        """Return what a typedef, const and so on stands for, with its id."""
        for _ in range(_MOST_STEPS):
            found = self._type(type_id)
            if found.kind not in _ALIASES:
                return type_id, found
            type_id = found.size
        raise ValueError("damaged BTF: a type stands for itself")

    def _find(self, name: str, kinds: tuple[int, ...]) -> int:
        type_id = self._found.get((name, kinds)) or self._search(name, kinds)
        if not type_id:
            what = "enum" if kinds == _ENUMS else "struct or union"
            raise LookupError(f"there is no {what} {name} in the BTF of this kernel")
        self._found[name, kinds] = type_id
        return type_id

    def _search(self, name: str, kinds: tuple[int, ...]) -> int:
        """Return the id of the first type of this name and one of these kinds; 0 if there is none."""
        name_off = self._offset_of_name(name)
        while name_off:
            found = [self._ids[kind][name_off] for kind in kinds if name_off in self._ids[kind]]
            if found:
                return min(found)
            if not self._walk_on():
                break
        return 0

    def _offset_of_name(self, name: str) -> int:
        """Return where among the strings a name is; 0 if it is not there."""
        at = self._data.find(b"\0" + name.encode() + b"\0", self._strings, self._strings_end)
        return 0 if at < 0 else at + 1 - self._strings

    def _type(self, type_id: int) -> _Type:
        if type_id == 0:
            return _Type(VOID, kind_flag=False, size=0, rest=())
        infos: list[int] | memoryview = self._walked
        if type_id >= len(infos):
            infos = self._infos
            while type_id >= len(infos) and self._walk_on():
                pass
        if type_id >= len(infos) or infos[type_id] >= len(self._words):
            raise ValueError(f"damaged BTF: there is no type {type_id}")
        at = infos[type_id]
        info = self._words[at]
        end = at - 1 + abs(self._lengths[info])
        if end > len(self._words):
            raise ValueError(f"damaged BTF: it ends within type {type_id}")
        rest = tuple(self._words[at + 2 : end])
        return _Type(info >> 24 & 0x1F, kind_flag=bool(info & _KIND_FLAG), size=self._words[at + 1], rest=rest)

    def _walk_on(self) -> bool:
        """Find out where the next types are; tell if there are any."""
        infos, ids, words, lengths = self._infos, self._ids, self._words, self._lengths
        before, at = len(infos), infos[-1]
        try:
            for type_id in range(before - 1, before - 1 + _STRIDE):
                length = lengths[words[at]]
                if length < 0:
                    ids[words[at] >> 24 & 0x1F].setdefault(words[at - 1], type_id)
                    length = -length
                at += length
                infos.append(at)
        except IndexError:
            pass
        return len(infos) > before

    def _string(self, offset: int) -> bytes:
        end = self._data.find(b"\0", self._strings + offset, self._strings_end)
        if end < 0:
            raise ValueError("damaged BTF: a name is outside of the strings")
        return self._data[self._strings + offset : end]


def open_vmlinux(path: str = VMLINUX) -> Types:
    """Return the types of the running kernel, modules left out.

    Raises:
        OSError: there are none: ENOENT if the kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted.
        ValueError: the file is something else.
    """
    with open(path, "rb", buffering=0) as file:
        data: bytes | mmap
        try:
            data = mmap(file.fileno(), 0, MAP_PRIVATE, PROT_READ)
        except (OSError, ValueError):
            data = file.readall()
    return Types(data)

"""BTF: the running kernel's types are what bpftool says, and any data gives an answer or a clear error."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from machine_code import assert_depends_on_nothing

from rprun.linux import btf, btf_walk
from rprun.linux.syscalls import X86_64, native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

BPFTOOL = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin")
POINTER = struct.calcsize("P")


# The running kernel.


@pytest.fixture(scope="module")
def kernel() -> Iterator[btf.Types]:
    """The types of the running kernel."""
    if not os.path.exists(btf.VMLINUX):
        pytest.skip("CONFIG_DEBUG_INFO_BTF: this kernel is built without")
    with btf.open_vmlinux() as types:
        yield types


class Structure(NamedTuple):
    """What bpftool says of a struct or a union; members are (name, type, offset in bits, width of a bit field)."""

    name: str
    size: int
    members: list[tuple[str, int, int, int]]


class Dump(NamedTuple):
    """What bpftool says of a kernel, by id; enums by name, of those the first."""

    structures: dict[int, Structure]
    aliases: dict[int, int]
    enums: dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def dump(kernel: btf.Types) -> Dump:
    """The types of the running kernel, as bpftool(8) prints them."""
    if BPFTOOL is None:
        pytest.skip("bpftool is not installed")
    command = [BPFTOOL, "btf", "dump", "file", btf.VMLINUX, "format", "raw"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = Dump({}, {}, {})
    for block in re.split(r"\n(?=\[)", text):
        header, *lines = block.rstrip().split("\n")
        match = re.match(r"\[(\d+)\] (\w+) '(.*?)' ?(.*)", header)
        assert match is not None, header
        number, kind, name, rest = int(match[1]), match[2], match[3].replace("(anon)", ""), match[4]
        if kind in {"STRUCT", "UNION"}:
            size = re.match(r"size=(\d+)", rest)
            assert size is not None, header
            found.structures[number] = Structure(name, int(size[1]), [_member(line) for line in lines])
        elif kind in {"TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"}:
            found.aliases[number] = int(rest.removeprefix("type_id="))
        elif kind in {"ENUM", "ENUM64"}:
            values = (re.findall(r"'(.*)' val=(-?\d+)", line)[0] for line in lines)
            found.enums.setdefault(name, {name: int(value) for name, value in values})
    return found


def _member(line: str) -> tuple[str, int, int, int]:
    match = re.match(r"\t'(.*)' type_id=(\d+) bits_offset=(\d+)(?: bitfield_size=(\d+))?", line)
    assert match is not None, line
    return match[1].replace("(anon)", ""), int(match[2]), int(match[3]), int(match[4] or 0)


def _flattened(dump: Dump, structure: Structure, start: int = 0) -> Iterator[tuple[str, int, bool]]:
    """Every member with its offset in bits and whether it is a bit field, those of anonymous structures included."""
    for name, number, offset, width in structure.members:
        inner = number
        while inner in dump.aliases:
            inner = dump.aliases[inner]
        if name:
            yield name, start + offset, bool(width)
        elif inner in dump.structures:
            yield from _flattened(dump, dump.structures[inner], start + offset)


def test_every_structure_of_this_kernel_is_as_bpftool_says(kernel: btf.Types, dump: Dump) -> None:
    """Sizes and offsets, of all members that have an offset in bytes; of several of a name the first is meant."""
    wrong, seen, compared = [], {""}, 0
    for _, structure in sorted(dump.structures.items()):
        if structure.name in seen:
            continue
        seen.add(structure.name)
        if kernel.size_of(structure.name) != structure.size:
            wrong.append((structure.name, kernel.size_of(structure.name)))
        for name, bits, is_bit_field in _flattened(dump, structure):
            compared += 1
            if is_bit_field:
                ours = None if not kernel.has_member(structure.name, name) else "an offset of a bit field"
                expected = None
            else:
                ours, expected = kernel.offset_of(structure.name, name), bits // 8
            if ours != expected:
                wrong.append((structure.name, name, ours, expected))
    assert not wrong
    assert compared > 5000


def test_every_enum_of_this_kernel_is_as_bpftool_says(kernel: btf.Types, dump: Dump) -> None:
    """All values of all enums that have a name."""
    wrong = [
        (enum, name, value)
        for enum, values in dump.enums.items()
        if enum
        for name, value in values.items()
        if kernel.constant(enum, name) != value
    ]
    assert not wrong
    assert len(dump.enums) > 100


def test_what_holds_for_every_kernel(kernel: btf.Types) -> None:
    """The structures that programs are compiled against are as the headers say."""
    assert kernel.size_of("in6_addr") == 16
    assert (kernel.offset_of("sockaddr_un", "sun_path"), kernel.member_size("sockaddr_un", "sun_path")) == (2, 108)
    assert (kernel.offset_of("list_head", "prev"), kernel.member_size("list_head", "prev")) == (POINTER, POINTER)
    assert [kernel.offset_of("bpf_insn", name) for name in ("code", "off", "imm")] == [0, 2, 4]
    assert kernel.constant("bpf_map_type", "BPF_MAP_TYPE_RINGBUF") == 27
    assert kernel.member_size("task_struct", "comm") == 16
    assert kernel.member_size("task_struct", "tgid") == 4
    assert kernel.offset_of("task_struct", "tgid") == kernel.offset_of("task_struct", "pid") + 4
    assert kernel.offset_of("sock", "__sk_common.skc_family") == kernel.offset_of("sock_common", "skc_family")
    assert kernel.member_size("dentry", "d_name.len", "__d_name.len") == 4


def test_what_this_kernel_does_not_have(kernel: btf.Types) -> None:
    """An error says what was asked for, and in which of all its names."""
    with pytest.raises(LookupError, match="no struct or union no_such_struct"):
        kernel.size_of("no_such_struct")
    with pytest.raises(LookupError, match="task_struct has no member nothing or fs.nobody"):
        kernel.offset_of("task_struct", "nothing", "fs.nobody")
    with pytest.raises(LookupError, match="bpf_insn.dst_reg is a bit field"):
        kernel.offset_of("bpf_insn", "dst_reg")
    with pytest.raises(LookupError, match="enum bpf_map_type has no NOTHING"):
        kernel.constant("bpf_map_type", "NOTHING")
    assert not kernel.has_member("no_such_struct", "x")


# Data of the tests' own.


class Image:
    """Writes BTF, as Documentation/bpf/btf.rst has it."""

    def __init__(self) -> None:
        self.strings, self.types, self.last = b"\0", b"", 0

    def name(self, text: str) -> int:
        """Add a string, or find it again."""
        if not text:
            return 0
        at = self.strings.find(b"\0" + text.encode() + b"\0")
        if at < 0:
            at = len(self.strings) - 1
            self.strings += text.encode() + b"\0"
        return at + 1

    def add(self, kind: int, name: str, size: int, rest: Sequence[int] = (), *, count: int = 0, flag: int = 0) -> int:
        """Add a type and return its id."""
        words = [self.name(name), flag << 31 | kind << 24 | count, size, *rest]
        self.types += struct.pack(f"={len(words)}I", *words)
        self.last += 1
        return self.last

    def struct(self, name: str, size: int, *members: tuple[str, int, int], kind: int = 4, flag: int = 0) -> int:
        """Add a structure of members: name, type, offset as it is written."""
        rest = [word for text, number, offset in members for word in (self.name(text), number, offset)]
        return self.add(kind, name, size, rest, count=len(members), flag=flag)

    def data(self, order: str = "=") -> bytes:
        """Everything, with a header in this byte order."""
        lengths = (0, len(self.types), len(self.types), len(self.strings))
        header = struct.pack(f"{order}HBBIIIII", 0xEB9F, 1, 0, 24, *lengths)
        return header + self.types + self.strings


def sample() -> Image:
    """An image with all kinds of types."""
    image = Image()
    int_ = image.add(1, "int", 4, [1 << 24 | 32])
    long = image.add(1, "long unsigned int", 8, [64])
    pointer = image.add(2, "", 4)  # to a struct that comes later
    image.struct("outer", 48, ("first", int_, 0), ("", 5, 64), ("embedded", 7, 128), ("array", 10, 256), flag=1)
    image.struct("", 8, ("number", long, 0), ("", 6, 0), kind=5)
    image.struct("", 8, ("low", int_, 0), ("high", int_, 32))
    typedef = image.add(8, "inner_t", 8)
    const = image.add(10, "", 9)
    assert (typedef, const) == (7, 8)
    fields = ("flags", int_, 3 << 24 | 64), ("byte", int_, 8 << 24 | 72)
    image.struct("inner", 16, ("pointer", pointer, 0), *fields, flag=1)
    image.add(3, "", 0, [11, int_, 3])
    image.add(3, "", 0, [int_, int_, 2])
    image.add(6, "signed_values", 4, [image.name("MINUS"), 0xFFFFFFFE, image.name("PLUS"), 7], count=2, flag=1)
    image.add(6, "values", 4, [image.name("BIG"), 0xFFFFFFFE], count=1)
    image.add(19, "wide", 8, [image.name("WIDE"), 1, 2], count=1)
    image.add(19, "signed_wide", 8, [image.name("LESS"), 0xFFFFFFFF, 0xFFFFFFFF], count=1, flag=1)
    image.add(7, "later", 0)
    image.add(13, "", int_, [image.name("argument"), int_], count=1)
    image.add(12, "function", 17)
    image.add(14, "later", int_, [1])
    image.add(15, ".data", 4, [19, 0, 4], count=1)
    image.add(16, "double", 8)
    image.add(17, "tag", int_, [0xFFFFFFFF])
    image.add(18, "user", int_)
    image.struct("later", 16, ("odd", int_, 4), ("hidden", 16, 64), ("void", 0, 64), ("tagged", 23, 96))
    image.struct("later", 99)
    return image


@pytest.fixture
def types() -> btf.Types:
    """Those of the sample."""
    return btf.Types(sample().data())


def test_members_of_members(types: btf.Types) -> None:
    """Anonymous structures are looked through, named ones with a dotted path, also behind a typedef and a const."""
    names = ("first", "number", "low", "high", "embedded", "embedded.pointer", "array")
    assert [types.offset_of("outer", name) for name in names] == [0, 8, 8, 12, 16, 16, 32]
    assert [types.member_size("outer", name) for name in names] == [4, 8, 4, 4, 16, 8, 24]
    assert types.size_of("outer") == 48


def test_pointers_are_not_followed(types: btf.Types) -> None:
    """A path goes through what a structure contains."""
    assert not types.has_member("outer", "embedded.pointer.first")
    assert not types.has_member("outer", "first.first")


def test_alternatives(types: btf.Types) -> None:
    """The first that exists counts."""
    assert types.offset_of("outer", "old", "high", "first") == 12
    assert types.has_member("outer", "old.pointer", "embedded.pointer")
    assert not types.has_member("outer", "old", "older")


def test_bit_fields_have_no_offset_in_bytes(types: btf.Types) -> None:
    """Neither those with a width, even of whole bytes, nor, as older compilers have it, those amid a byte."""
    for structure, name in (("inner", "flags"), ("inner", "byte"), ("later", "odd")):
        assert not types.has_member(structure, name)
        with pytest.raises(LookupError, match="bit field"):
            types.offset_of(structure, name)


def test_one_name_for_several_types(types: btf.Types) -> None:
    """A declaration and a variable are no structure, and the first structure is meant."""
    assert types.size_of("later") == 16
    assert types.offset_of("later", "tagged") == 12
    assert types.member_size("later", "tagged") == 4


def test_what_has_no_size(types: btf.Types) -> None:
    """A type that is only declared, and void."""
    for name in ("hidden", "void"):
        assert types.has_member("later", name)
        with pytest.raises(LookupError, match="no size"):
            types.member_size("later", name)


def test_enums(types: btf.Types) -> None:
    """Signed ones and others, of 32 and of 64 bits."""
    assert types.constant("signed_values", "MINUS") == -2
    assert types.constant("signed_values", "PLUS") == 7
    assert types.constant("values", "BIG") == 0xFFFFFFFE
    assert types.constant("wide", "WIDE") == 0x200000001
    assert types.constant("signed_wide", "LESS") == -1
    with pytest.raises(LookupError, match="no enum outer"):
        types.constant("outer", "first")
    with pytest.raises(LookupError, match="no struct or union values"):
        types.size_of("values")


def test_a_32_bit_kernel() -> None:
    """A pointer is as long as the kernel's long, not as this program's."""
    image = Image()
    image.add(1, "unsigned long", 4, [32])
    image.struct("list", 4, ("next", image.add(2, "", 3), 0))
    assert btf.Types(image.data()).member_size("list", "next") == 4


def test_nothing_behind_what_is_asked_for_is_looked_at() -> None:
    """The start of a run does not wait for 100,000 types."""
    image = sample()
    for _ in range(5000):
        image.add(2, "", 1)
    types = btf.Types(image.data())
    assert types.offset_of("outer", "embedded.pointer") == 16
    assert len(types._infos) < 2500
    with pytest.raises(LookupError):
        types.size_of("function")
    assert len(types._infos) > 5000


def with_machine_code(data: bytes, *names: str) -> btf.Types:
    """Types that have been looked for by machine code."""
    if native() != X86_64:
        pytest.skip("needs x86_64, for which there is machine code")
    types = btf.Types(data)
    types.look_for(names)
    return types


def test_machine_code_depends_on_nothing() -> None:
    """It has one function, which calls nothing."""
    assert_depends_on_nothing("btf", {"walk"})


def test_machine_code_finds_the_same() -> None:
    """The first structure of each name, what comes before the last of them, and all that is asked for besides."""
    types = with_machine_code(sample().data(), "outer", "values", "later", "nobody")
    found = {name: number for (name, _), number in types._found.items()}
    assert found.keys() == {"outer", "later"}
    assert len(types._infos) == 2
    assert types.offset_of("outer", "embedded.pointer") == 16
    assert types.offset_of("later", "tagged") == 12
    assert types.constant("values", "BIG") == 0xFFFFFFFE
    plain = btf.Types(sample().data())
    assert {name: plain._find(name, btf._STRUCTURES) for name in found} == found
    assert types._walked.tolist()[1:] == plain._infos[1 : len(types._walked)]


def test_machine_code_ends_with_what_is_wanted() -> None:
    """It does not go through what lies behind."""
    image = sample()
    for _ in range(5000):
        image.add(2, "", 1)
    assert len(with_machine_code(image.data(), "outer")._walked) < 50
    assert len(with_machine_code(image.data(), "outer", "function")._walked) > 5000


def test_without_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only slower."""
    monkeypatch.setattr(btf_walk, "OBJECT", "/nowhere")
    types = with_machine_code(sample().data(), "outer")
    assert not types._found
    assert types.offset_of("outer", "embedded.pointer") == 16


def test_circles_end() -> None:
    """An alias of itself, an anonymous structure and an array in themselves."""
    image = Image()
    image.add(8, "self", 1)
    image.struct("", 4, ("", 2, 32), ("inside", 1, 0))
    image.add(3, "", 0, [3, 1, 2])
    image.struct("circles", 4, ("", 2, 0), ("alias", 1, 0), ("array", 3, 0))
    types = btf.Types(image.data())
    assert types.offset_of("circles", "inside") == 0
    for name in ("alias", "array"):
        with pytest.raises(ValueError, match="damaged BTF"):
            types.member_size("circles", name)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter than its header"),
        (b"\x7fELF" + bytes(60), "does not start with"),
        (sample().data(">" if sys.byteorder == "little" else "<"), "other byte order"),
        (sample().data()[:-1], "do not agree"),
        (struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 2, 2, 0) + bytes(2), "do not agree"),
    ],
)
def test_a_file_that_is_none(data: bytes, reason: str, tmp_path: Path) -> None:
    """It is refused, with the reason."""
    path = tmp_path / "vmlinux"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        btf.open_vmlinux(str(path))


def test_a_kernel_without() -> None:
    """It has no such file."""
    with pytest.raises(FileNotFoundError):
        btf.open_vmlinux("/sys/kernel/btf/no-such-module")


def test_a_file_that_cannot_be_mapped() -> None:
    """It is read, as before Linux 6.16: a pipe is such a file."""
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "wb") as file:
        file.write(sample().data())
        file.close()
        with btf.open_vmlinux(f"/proc/self/fd/{reader}") as types:
            assert types.size_of("outer") == 48


def test_closed_after_an_error(tmp_path: Path) -> None:
    """An error does not keep the mapping open, and closing twice is nothing."""
    path = tmp_path / "vmlinux"
    path.write_bytes(sample().data())
    with pytest.raises(LookupError, match="no member nothing"), btf.open_vmlinux(str(path)) as types:
        types.offset_of("outer", "nothing")
    types.close()
    with pytest.raises(ValueError, match="closed|released"):
        types.size_of("later")


SAMPLE = sample().data()
SAMPLE_WORDS = len(SAMPLE) // 4
INFOS = [kind << 24 | count for kind in range(22) for count in (0, 1, 3, 65535)]
WORDS = st.integers(0, 40) | st.integers(0, 2**32 - 1) | st.sampled_from(INFOS)
CHANGES = st.lists(st.tuples(st.integers(4, SAMPLE_WORDS - 1), WORDS), max_size=6)


@given(CHANGES, st.none() | st.integers(0, SAMPLE_WORDS))
def test_damaged_data(changes: list[tuple[int, int]], words_of_types: int | None) -> None:
    """It gives an answer, a LookupError or a ValueError, whatever is in it and wherever it ends; by either walk."""
    data = bytearray(SAMPLE)
    for at, word in changes:
        struct.pack_into("=I", data, 4 * at, word)
    if words_of_types is not None:
        struct.pack_into("=I", data, 12, 4 * words_of_types)
    try:
        plain, looked_for = btf.Types(bytes(data)), btf.Types(bytes(data))
    except ValueError:
        return
    looked_for.look_for(("later", "outer", "nothing", "inner"))
    # They may come upon damage behind what is asked for, but not at the same time: one walks in larger steps.
    for ours, theirs in zip(_answers(looked_for), _answers(plain), strict=True):
        assert ours == theirs or ValueError in {ours, theirs}


def _answers(types: btf.Types) -> list[object]:
    """What is said of everything that is asked for."""
    answers: list[object] = []
    for structure, path in (
        ("outer", "embedded.pointer"),
        ("outer", "array"),
        ("outer", "high"),
        ("inner", "flags"),
        ("later", "hidden"),
        ("later", "tagged"),
        ("nothing", "first"),
    ):
        answers += [
            _ask(question, structure, path) for question in (types.offset_of, types.member_size, types.has_member)
        ]
        answers.append(_ask(types.size_of, structure))
    answers += [
        _ask(types.constant, *each) for each in (("values", "BIG"), ("signed_wide", "LESS"), ("wide", "NOTHING"))
    ]
    return answers


def _ask(question: Callable[..., int], *arguments: str) -> object:
    """The answer, or the error if it is one of the two, and no subclass: an IndexError is a LookupError as well."""
    try:
        return question(*arguments)
    except (LookupError, ValueError) as error:
        if type(error) not in {LookupError, ValueError}:
            raise
        return type(error)

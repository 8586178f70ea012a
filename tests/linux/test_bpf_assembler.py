"""The assembler: what the kernel computes is what was written, and what cannot be encoded is refused by name."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from bpf_running import CAP_PERFMON, descriptor, needs_bpf, run_program
from children import compiled

from rprun.linux import bpf
from rprun.linux.bpf import MapKind, ProgramKind
from rprun.linux.bpf_assembler import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R10,
    Assembler,
    Helper,
    Operand,
    Register,
)
from rprun.linux.bpf_map import Map

REGISTERS = (R2, R3, R4, R5, R6)
WIDE = (1 << 64) - 1


def signed(value: int, bits: int = 64) -> int:
    """Return the number with a sign that has the same lower bits."""
    return (value & (1 << bits) - 1 ^ 1 << bits - 1) - (1 << bits - 1)


ARITHMETIC = {
    "move": lambda a, b, bits: b,
    "add": lambda a, b, bits: a + b,
    "subtract": lambda a, b, bits: a - b,
    "multiply": lambda a, b, bits: a * b,
    "bit_or": lambda a, b, bits: a | b,
    "bit_and": lambda a, b, bits: a & b,
    "bit_xor": lambda a, b, bits: a ^ b,
    "shift_left": lambda a, b, bits: a << b % bits,
    "shift_right": lambda a, b, bits: a >> b % bits,
    "shift_right_signed": lambda a, b, bits: signed(a, bits) >> b % bits,
}
COMPARISONS = {
    "jump_if_equal": lambda a, b: a == b,
    "jump_if_not_equal": lambda a, b: a != b,
    "jump_if_any_bit": lambda a, b: a & b != 0,
    "jump_if_greater": lambda a, b: a > b,
    "jump_if_greater_or_equal": lambda a, b: a >= b,
    "jump_if_less": lambda a, b: a < b,
    "jump_if_less_or_equal": lambda a, b: a <= b,
    "jump_if_greater_signed": lambda a, b: signed(a) > signed(b),
    "jump_if_greater_or_equal_signed": lambda a, b: signed(a) >= signed(b),
    "jump_if_less_signed": lambda a, b: signed(a) < signed(b),
    "jump_if_less_or_equal_signed": lambda a, b: signed(a) <= signed(b),
}

INTERESTING = st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 63) - 1, WIDE, WIDE - 1])
NUMBER = INTERESTING | st.integers(0, WIDE)
IMMEDIATE = st.sampled_from([0, 1, -1, (1 << 31) - 1, -(1 << 31)]) | st.integers(-(1 << 31), (1 << 31) - 1)
REGISTER = st.sampled_from(REGISTERS)
ORDINARY = [name for name in ARITHMETIC if not name.startswith("shift")]
SHIFTS = [name for name in ARITHMETIC if name.startswith("shift")]
STEP = st.one_of(
    st.tuples(st.sampled_from(ORDINARY), st.sampled_from([32, 64]), REGISTER, REGISTER | IMMEDIATE),
    st.tuples(st.sampled_from(SHIFTS), st.sampled_from([32, 64]), REGISTER, REGISTER | st.integers(0, 31)),
    st.tuples(st.just("negate"), st.sampled_from([32, 64]), REGISTER, st.none()),
    st.tuples(st.just("to_big_endian"), st.sampled_from([16, 32, 64]), REGISTER, st.none()),
    st.tuples(st.sampled_from(list(COMPARISONS)), st.just(64), REGISTER, REGISTER | IMMEDIATE),
)
Step = tuple[str, int, Register, Operand | None]


def append(code: Assembler, step: Step, index: int) -> None:
    """Append a step; a comparison that holds jumps over an instruction that would be noticed."""
    name, bits, register, operand = step
    if name in COMPARISONS:
        getattr(code, name)(register, operand, f"over {index}")
        code.bit_xor(REGISTERS[0], 1)
        code.label(f"over {index}")
    elif name == "to_big_endian":
        code.to_big_endian(register, bits)
    else:
        method = getattr(code, name + ("32" if bits == 32 else ""))
        method(*([register] if operand is None else [register, operand]))


def model(values: dict[Register, int], step: Step) -> None:
    """Do the same in Python."""
    name, bits, register, operand = step
    mask = (1 << bits) - 1
    left = values[register]
    right = values[operand] if isinstance(operand, Register) else (operand or 0) & WIDE
    if name in COMPARISONS:
        if not COMPARISONS[name](left, right):
            values[REGISTERS[0]] ^= 1
    elif name == "negate":
        values[register] = -left & mask
    elif name == "to_big_endian":
        values[register] = int.from_bytes((left & mask).to_bytes(bits // 8, sys.byteorder), "big")
    else:
        values[register] = ARITHMETIC[name](left & mask, right & mask, bits) & mask


@given(st.lists(NUMBER, min_size=5, max_size=5), st.lists(STEP, max_size=30))
def test_the_kernel_computes_what_python_does(numbers: list[int], steps: list[Step]) -> None:
    """All arithmetic and all jumps, over numbers that the verifier cannot know."""
    needs_bpf()
    code = Assembler()
    with closing(Map(MapKind.ARRAY, 4, 40, 1)) as held:
        held.update(bytes(4), struct.pack("=5Q", *numbers))
        code.map_value(R7, held.fd)
        for index, register in enumerate(REGISTERS):
            code.load(register, R7, 8 * index)
        values = dict(zip(REGISTERS, numbers, strict=True))
        for index, step in enumerate(steps):
            append(code, step, index)
            model(values, step)
        for index, register in enumerate(REGISTERS):
            code.store(R7, 8 * index, register)
        code.move(R0, 0)
        code.exit()
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, code.assemble())) as program:
            run_program(program)
        assert struct.unpack("=5Q", held.lookup(bytes(4)) or b"") == tuple(values.values())


@given(NUMBER, st.integers(-(1 << 63), WIDE), IMMEDIATE, st.sampled_from([1, 2, 4, 8]))
def test_loads_and_stores(number: int, constant: int, immediate: int, size: int) -> None:
    """Of each size, at the stack and in a map; constants of 64 bits; additions in memory."""
    needs_bpf()
    immediate &= (1 << 8 * size) - 1 if size < 4 else -1
    with closing(Map(MapKind.ARRAY, 4, 40, 1)) as held:
        held.update(bytes(4), struct.pack("=Q", number) * 5)
        code = Assembler()
        code.map_value(R7, held.fd, 8)
        code.load(R1, R7, -8, size=size)
        code.store(R7, 0, R1)
        code.store(R10, -16, R1)
        code.load(R2, R10, -16)
        code.store(R7, 8, R2, size=size)
        code.store_immediate(R7, 16, immediate, size=size)
        code.load_constant(R3, constant)
        code.atomic_add(R7, 24, R3, size=4 if size == 4 else 8)
        code.load(R0, R7, 24, size=4)
        code.exit()
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, code.assemble())) as program:
            result = run_program(program)
        found = held.lookup(bytes(4)) or b""
    mask = (1 << 8 * size) - 1
    low = number & mask
    upper = number & ~mask
    added = number & ~0xFFFFFFFF | (number + constant) & 0xFFFFFFFF if size == 4 else (number + constant) & WIDE
    assert struct.unpack("=5Q", found) == (number, low, upper | low, upper | immediate & mask, added)
    assert result == added & 0xFFFFFFFF


@given(NUMBER, NUMBER, NUMBER, st.booleans())
def test_exchanges(before: int, new: int, other: int, same: bool) -> None:
    """What was there comes out, and what goes in does so always, or only if what was there is as expected."""
    needs_bpf()
    expected = before if same else other
    with closing(Map(MapKind.ARRAY, 4, 32, 1)) as held:
        held.update(bytes(4), struct.pack("=4Q", before, 0, before, 0))
        code = Assembler()
        code.map_value(R7, held.fd)
        code.load_constant(R1, new)
        code.exchange(R7, 0, R1)
        code.store(R7, 8, R1)
        code.load_constant(R0, expected)
        code.load_constant(R1, new)
        code.compare_exchange(R7, 16, R1)
        code.store(R7, 24, R0)
        code.move(R0, 0)
        code.exit()
        with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, code.assemble())) as program:
            run_program(program)
        found = struct.unpack("=4Q", held.lookup(bytes(4)) or b"")
    assert found == (new, before, new if before == expected else before, before)


def test_a_loop() -> None:
    """A jump back to a label that is there already, and one over a wide instruction."""
    needs_bpf(CAP_PERFMON)
    code = Assembler()
    code.move(R0, 0)
    code.move(R1, 10)
    code.label("again")
    code.add(R0, R1)
    code.subtract(R1, 1)
    code.jump_if_not_equal(R1, 0, "again")
    code.jump_if_equal(R0, 55, "out")
    code.load_constant(R0, 1 << 40)
    code.label("out")
    code.exit()
    with descriptor(bpf.load_program(ProgramKind.SOCKET_FILTER, code.assemble())) as program:
        assert run_program(program) == 55


def test_a_loop_whose_end_the_verifier_does_not_see() -> None:
    """The kernel promises that it ends, so it may depend on a number that only the program's caller knows."""
    needs_bpf(CAP_PERFMON)
    with closing(Map(MapKind.ARRAY, 4, 8, 1)) as held:
        held.update(bytes(4), struct.pack("=Q", 1000))
        code = Assembler()
        code.map_value(R1, held.fd)
        code.load(R2, R1, 0)
        code.move(R0, 0)
        code.label("again")
        code.may_goto("out")
        code.add(R0, 3)
        code.add(R2, -1)
        code.jump_if_not_equal(R2, 0, "again")
        code.label("out")
        code.exit()
        try:
            loaded = bpf.load_program(ProgramKind.SOCKET_FILTER, code.assemble())
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            pytest.skip("needs Linux 6.9")
        with descriptor(loaded) as program:
            assert run_program(program) == 3000


def test_numbers_are_those_of_the_header(tmp_path: Path) -> None:
    """Of helpers, and some opcodes, as a C compiler sees them."""
    lines = [f'printf("{helper.name} %d\\n", (int)BPF_FUNC_{helper.name});' for helper in Helper]
    source = "#include <linux/bpf.h>\n#include <stdio.h>\nint main(void) {" + "\n".join(lines) + "return 0; }"
    found = subprocess.check_output([compiled(tmp_path, source)], text=True).splitlines()
    assert found == [f"{helper.name} {helper.value}" for helper in Helper]


def test_encoding() -> None:
    """Each part of an instruction is where struct bpf_insn has it; a wide one has two slots."""
    code = Assembler()
    code.load(R3, R6, -2, size=2)
    code.load_constant(R1, 0x1122334455667788)
    code.jump_if_less_signed(R2, -1, "out")
    code.map_address(R1, 7)
    code.map_value(R1, 7, 16)
    code.call(Helper.ringbuf_reserve)
    code.label("out")
    code.exit()
    assert code.assemble().hex(" ", 8).split() == [
        "6963feff00000000",
        "1801000088776655",
        "0000000044332211",
        "c5020500ffffffff",
        "1811000007000000",
        "0000000000000000",
        "1821000007000000",
        "0000000010000000",
        "8500000083000000",
        "9500000000000000",
    ]


def test_a_listing() -> None:
    """It reads as the program does, with the numbers of the verifier's log."""
    code = Assembler()
    code.load_constant(R1, 1 << 40)
    code.jump_if_equal(R1, R2, "out")
    code.call(Helper.ktime_get_ns)
    code.label("out")
    code.exit()
    assert code.listing() == [
        "    0: load_constant R1, 1099511627776",
        "    2: jump_if_equal R1, R2, out",
        "    3: call ktime_get_ns",
        "out:",
        "    4: exit",
    ]


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        (lambda code: code.move(R1, 0xFFFFFFFF), "move R1, 4294967295: the immediate"),
        (lambda code: code.add32(R1, 1 << 32), "add32 R1, 4294967296: the immediate"),
        (lambda code: code.move(R1, -(1 << 31) - 1), "move R1, -2147483649: the immediate"),
        (lambda code: code.jump_if_less(R1, 1 << 31, "there"), "jump_if_less R1, 2147483648, there: the immediate"),
        (lambda code: code.store_immediate(R10, -1, 256, size=1), "store_immediate R10, -1, 256, 1: the immediate"),
        (lambda code: code.store_immediate(R10, -8, 1 << 31), "store_immediate R10, -8, 2147483648, 8: the immediate"),
        (lambda code: code.load(R1, R2, 0x8000), "load R1, R2, 32768, 8: the offset 32768"),
        (lambda code: code.store(R1, -0x8001, R2), "store R1, -32769, R2, 8: the offset -32769"),
        (lambda code: code.load(R1, R2, 0, size=3), "load R1, R2, 0, 3: the size is"),
        (lambda code: code.atomic_add(R1, 0, R2, size=2), "atomic_add R1, 0, R2, 2: the size is"),
        (lambda code: code.to_big_endian(R1, 8), "to_big_endian R1, 8: there are"),
        (lambda code: code.load_constant(R1, 1 << 64), "load_constant R1, 18446744073709551616: .* 64 bits"),
        (lambda code: code.label("here"), "label here: there is one"),
    ],
)
def test_what_does_not_fit(instruction: object, text: str) -> None:
    """It is refused where it is written, by number and name; nothing is appended."""
    code = Assembler()
    code.move(R0, 0)
    code.label("here")
    code.exit()
    assert callable(instruction)
    with pytest.raises(ValueError, match=f"^instruction 2, {text}"):
        instruction(code)
    assert len(code.assemble()) == 16


def test_what_fits() -> None:
    """Where no sign is extended, all bits of the immediate can be said either way."""
    one, other = Assembler(), Assembler()
    one.move32(R1, 0xFFFFFFFF)
    one.store_immediate(R10, -4, 0x80000000, size=4)
    one.store_immediate(R10, -2, 0xFFFF, size=2)
    other.move32(R1, -1)
    other.store_immediate(R10, -4, -0x80000000, size=4)
    other.store_immediate(R10, -2, 0xFFFF, size=2)
    assert one.assemble() == other.assemble()


@pytest.mark.parametrize(("between", "fits"), [(0x7FFF, True), (0x8000, False)])
def test_a_jump_too_far(between: int, fits: bool) -> None:
    """16 bits with a sign hold it or not, forth as well as back."""
    forth, back = Assembler(), Assembler()
    forth.jump("there")
    back.label("there")
    for _ in range(between):
        forth.exit()
    # To its own place a jump goes back by one.
    for _ in range(between):
        back.exit()
    forth.label("there")
    back.jump("there")
    for code, place in ((forth, 0), (back, between)):
        if fits:
            assert len(code.assemble()) == 8 * (between + 1)
        else:
            with pytest.raises(
                ValueError, match=f"^instruction {place}, jump there: it is -?3276[89] instructions away"
            ):
                code.assemble()


def test_no_such_label() -> None:
    """The jump is named that goes there."""
    code = Assembler()
    code.move(R0, 0)
    code.jump_if_equal(R0, R3, "nowhere")
    with pytest.raises(ValueError, match="^instruction 1, jump_if_equal R0, R3, nowhere: there is no such label"):
        code.assemble()


def test_a_number_is_no_register() -> None:
    """Registers do not compute, so that R1 + 1 is not taken for an immediate."""
    assert not isinstance(R4, int)
    assert [str(register) for register in (R0, R10)] == ["R0", "R10"]

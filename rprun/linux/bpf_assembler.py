"""An assembler for eBPF: programs are written in Python, an instruction a line, and need no compiler.

Some facts about the machine (Documentation/bpf/standardization/instruction-set.rst, include/uapi/linux/bpf.h):

- Ten registers of 64 bits: R0 is what a call or the program returns, R1 to R5 are the arguments of a call and are lost
  by it, R6 to R9 are kept. At the start R1 is the program's context. R10 can only be read: it points behind the stack,
  which has 512 bytes, at R10 - 8, R10 - 16 ...
- An immediate has 32 bits, and a 64-bit instruction extends its sign: -1 is all ones, and 0xFFFFFFFF cannot be said.
  A 32-bit instruction clears the upper half of its register.
- Loads fill up with zeros. Jumps compare all 64 bits, and reach 32,767 instructions. Back is allowed if the verifier
  can see that the loop ends (Linux 5.3), and never without CAP_PERFMON, as it then also follows the branches that a CPU
  might speculate on. `Helper.loop` wants type information (BTF) that is not made here.
- A 64-bit constant and the address of a map take two slots; jumps and the verifier's log count slots.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import struct
from enum import Enum, IntEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# struct bpf_insn { __u8 code; __u8 dst_reg:4, src_reg:4; __s16 off; __s32 imm; }; on a little-endian machine.
_INSTRUCTION = struct.Struct("<BBhi")

# Classes (BPF_CLASS), modes and sizes (BPF_MODE, BPF_SIZE), and where the second operand is (BPF_SRC).
_LOAD, _STORE_IMMEDIATE, _STORE, _ALU32, _JUMP, _ALU64 = 0x01, 0x02, 0x03, 0x04, 0x05, 0x07
_MEMORY, _ATOMIC = 0x60, 0xC0
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_EXCHANGE, _COMPARE_EXCHANGE = 0xE1, 0xF1  # BPF_XCHG, BPF_CMPXCHG; the immediate says which one it is.
_REGISTER_OPERAND = 0x08
_WIDE = 0x18  # BPF_LD | BPF_IMM | BPF_DW
_CALL, _EXIT, _TO_BIG_ENDIAN = 0x85, 0x95, 0xDC
_MAY_GOTO = 0xE5  # BPF_JMP | BPF_JCOND, with BPF_MAY_GOTO, which is 0, as source.
# In place of a source register: what the 64 bits stand for (BPF_PSEUDO_*).
_MAP_FD, _MAP_VALUE = 1, 2


class Register(Enum):
    """A register, which is no number: a number is an immediate."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10

    def __str__(self) -> str:
        return self.name


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register
Operand = Register | int


class Helper(IntEnum):
    """BPF_FUNC_*: functions of the kernel; their arguments are described in include/uapi/linux/bpf.h."""

    map_lookup_elem = 1
    map_update_elem = 2
    map_delete_elem = 3
    ktime_get_ns = 5
    tail_call = 12
    get_current_pid_tgid = 14
    get_current_task = 35
    probe_read_user = 112
    probe_read_kernel = 113
    probe_read_user_str = 114
    probe_read_kernel_str = 115
    ringbuf_output = 130
    ringbuf_reserve = 131
    ringbuf_submit = 132
    ringbuf_discard = 133
    loop = 181


def _arithmetic(name: str, operation: int, *, bits: int = 64) -> Callable[[Assembler, Register, Operand], None]:
    """Return the method for an instruction `destination = destination <operation> operand`."""
    opcode = operation | (_ALU64 if bits == 64 else _ALU32)

    def method(self: Assembler, destination: Register, operand: Operand) -> None:
        said = (name, destination, operand)
        if isinstance(operand, Register):
            self._put(said, opcode | _REGISTER_OPERAND, destination, operand._value_)
        else:
            self._put(said, opcode, destination, immediate=self._fitting(said, operand, bits))

    return method


def _comparison(name: str, operation: int) -> Callable[[Assembler, Register, Operand, str], None]:
    """Return the method for an instruction that jumps to a label if `left <operation> right` holds."""
    opcode = operation | _JUMP

    def method(self: Assembler, left: Register, right: Operand, label: str) -> None:
        said = (name, left, right, label)
        if isinstance(right, Register):
            self._put(said, opcode | _REGISTER_OPERAND, left, right._value_, label)
        else:
            self._put(said, opcode, left, 0, label, self._fitting(said, right, 64))

    return method


class Assembler:
    """A program in the making. Each method that is named for an instruction appends it.

    All raise ValueError, which names the instruction, for a number that does not fit where it belongs.
    """

    def __init__(self) -> None:
        # What was said, for listings and errors, with opcode, registers, offset or label, and immediate; None is the
        # second slot of the one before.
        self._code: list[tuple[tuple[object, ...] | None, int, int, int | str, int]] = []
        self._labels: dict[str, int] = {}

    move = _arithmetic("move", 0xB0)
    add = _arithmetic("add", 0x00)
    subtract = _arithmetic("subtract", 0x10)
    multiply = _arithmetic("multiply", 0x20)
    bit_or = _arithmetic("bit_or", 0x40)
    bit_and = _arithmetic("bit_and", 0x50)
    bit_xor = _arithmetic("bit_xor", 0xA0)
    shift_left = _arithmetic("shift_left", 0x60)
    shift_right = _arithmetic("shift_right", 0x70)
    shift_right_signed = _arithmetic("shift_right_signed", 0xC0)

    move32 = _arithmetic("move32", 0xB0, bits=32)
    add32 = _arithmetic("add32", 0x00, bits=32)
    subtract32 = _arithmetic("subtract32", 0x10, bits=32)
    multiply32 = _arithmetic("multiply32", 0x20, bits=32)
    bit_or32 = _arithmetic("bit_or32", 0x40, bits=32)
    bit_and32 = _arithmetic("bit_and32", 0x50, bits=32)
    bit_xor32 = _arithmetic("bit_xor32", 0xA0, bits=32)
    shift_left32 = _arithmetic("shift_left32", 0x60, bits=32)
    shift_right32 = _arithmetic("shift_right32", 0x70, bits=32)
    shift_right_signed32 = _arithmetic("shift_right_signed32", 0xC0, bits=32)

    jump_if_equal = _comparison("jump_if_equal", 0x10)
    jump_if_not_equal = _comparison("jump_if_not_equal", 0x50)
    jump_if_any_bit = _comparison("jump_if_any_bit", 0x40)
    """If `left & right` is not 0."""
    jump_if_greater = _comparison("jump_if_greater", 0x20)
    jump_if_greater_or_equal = _comparison("jump_if_greater_or_equal", 0x30)
    jump_if_less = _comparison("jump_if_less", 0xA0)
    jump_if_less_or_equal = _comparison("jump_if_less_or_equal", 0xB0)
    jump_if_greater_signed = _comparison("jump_if_greater_signed", 0x60)
    jump_if_greater_or_equal_signed = _comparison("jump_if_greater_or_equal_signed", 0x70)
    jump_if_less_signed = _comparison("jump_if_less_signed", 0xC0)
    jump_if_less_or_equal_signed = _comparison("jump_if_less_or_equal_signed", 0xD0)

    def negate(self, register: Register) -> None:
        """Set a register to 0 less itself."""
        self._put(("negate", register), 0x80 | _ALU64, register)

    def negate32(self, register: Register) -> None:
        """Do so with its lower half, and clear the upper one."""
        self._put(("negate32", register), 0x80 | _ALU32, register)

    def to_big_endian(self, register: Register, bits: int) -> None:
        """Turn the lower 16, 32 or 64 bits from the machine's order to the network's, or back; clear the others."""
        said = ("to_big_endian", register, bits)
        if bits not in (16, 32, 64):
            raise self._error(said, "there are 16, 32 and 64 bits")
        self._put(said, _TO_BIG_ENDIAN, register, immediate=bits)

    def load(self, destination: Register, base: Register, offset: int, *, size: int = 8) -> None:
        """Set a register to the `size` bytes at `base` + `offset`; 1, 2, 4 or 8."""
        said = ("load", destination, base, offset, size)
        self._put(said, _LOAD | _MEMORY | self._sized(said, size), destination, base._value_, offset)

    def store(self, base: Register, offset: int, source: Register, *, size: int = 8) -> None:
        """Put the lower `size` bytes of a register at `base` + `offset`."""
        said = ("store", base, offset, source, size)
        self._put(said, _STORE | _MEMORY | self._sized(said, size), base, source._value_, offset)

    def store_immediate(self, base: Register, offset: int, value: int, *, size: int = 8) -> None:
        """Put a number at `base` + `offset`; one of 8 bytes must fit in 32 bits with a sign."""
        said = ("store_immediate", base, offset, value, size)
        opcode = _STORE_IMMEDIATE | _MEMORY | self._sized(said, size)
        self._put(said, opcode, base, 0, offset, self._fitting(said, value, 8 * size))

    def atomic_add(self, base: Register, offset: int, source: Register, *, size: int = 8) -> None:
        """Add a register to the 4 or 8 bytes at `base` + `offset`, as one step for all CPUs."""
        said = ("atomic_add", base, offset, source, size)
        if size not in (4, 8):
            raise self._error(said, "the size is 4 or 8")
        self._put(said, _STORE | _ATOMIC | _SIZES[size], base, source._value_, offset)

    def exchange(self, base: Register, offset: int, register: Register) -> None:
        """Put a register at `base` + `offset` and what was there into the register, as one step (Linux 5.12)."""
        said = ("exchange", base, offset, register)
        self._put(said, _STORE | _ATOMIC | _SIZES[8], base, register._value_, offset, _EXCHANGE)

    def compare_exchange(self, base: Register, offset: int, register: Register) -> None:
        """Put a register at `base` + `offset` if R0 is there, and what was there into R0, as one step (Linux 5.12)."""
        said = ("compare_exchange", base, offset, register)
        self._put(said, _STORE | _ATOMIC | _SIZES[8], base, register._value_, offset, _COMPARE_EXCHANGE)

    def load_constant(self, destination: Register, value: int) -> None:
        """Set a register to any number of 64 bits, with a sign or without."""
        said = ("load_constant", destination, value)
        if not -(1 << 63) <= value < 1 << 64:
            raise self._error(said, f"{value} does not fit in 64 bits")
        self._put_wide(said, destination, 0, value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF)

    def map_address(self, destination: Register, fd: int) -> None:
        """Set a register to a map, as helpers take it. The descriptor is needed until the program has been loaded."""
        self._put_wide(("map_address", destination, fd), destination, _MAP_FD, fd, 0)

    def map_value(self, destination: Register, fd: int, offset: int = 0) -> None:
        """Set a register to the address of an ARRAY's only value, or of a byte in it, without a lookup (Linux 5.2)."""
        self._put_wide(("map_value", destination, fd, offset), destination, _MAP_VALUE, fd, offset)

    def call(self, helper: Helper) -> None:
        """Call a function of the kernel: arguments in R1 to R5, which are lost, and its result in R0."""
        self._put(("call", helper.name), _CALL, immediate=helper)

    def exit(self) -> None:
        """End the program with R0."""
        self._put(("exit",), _EXIT)

    def jump(self, label: str) -> None:
        """Go to a label."""
        self._put(("jump", label), _JUMP, offset=label)

    def may_goto(self, label: str) -> None:
        """Go to a label if this has been passed too often, after millions of times; forwards only (Linux 6.9).

        The verifier takes a loop with this in it for one that ends.
        """
        self._put(("may_goto", label), _MAY_GOTO, offset=label)

    def label(self, name: str) -> None:
        """Name the place of the next instruction, for jumps from before or behind it."""
        if name in self._labels:
            raise self._error(("label", name), "there is one of this name")
        self._labels[name] = len(self._code)

    def assemble(self) -> bytes:
        """Return the program as an array of struct bpf_insn.

        Raises:
            ValueError: a jump to no label, or too far.
        """
        code = bytearray()
        for index, (said, opcode, registers, offset, immediate) in enumerate(self._code):
            distance = offset
            if isinstance(distance, str):
                if distance not in self._labels:
                    raise self._error(said, "there is no such label", index)
                distance = self._labels[distance] - index - 1
                if not -0x8000 <= distance <= 0x7FFF:
                    raise self._error(
                        said, f"it is {distance} instructions away, and 16 bits hold no more than 32767", index
                    )
            code += _INSTRUCTION.pack(opcode, registers, distance, immediate)
        return bytes(code)

    def listing(self) -> list[str]:
        """Return the program as text, numbered as in the verifier's log."""
        lines = []
        for index, (said, *_) in enumerate(self._code):
            lines += [f"{name}:" for name, place in self._labels.items() if place == index]
            if said is not None:
                lines.append(f"{index:5}: {_text(said)}")
        return lines

    def _put(
        self,
        said: tuple[object, ...],
        opcode: int,
        destination: Register = R0,
        source: int = 0,
        offset: int | str = 0,
        immediate: int = 0,
    ) -> None:
        if not isinstance(offset, str) and not -0x8000 <= offset <= 0x7FFF:
            raise self._error(said, f"the offset {offset} does not fit in 16 bits")
        self._code.append((said, opcode, destination._value_ | source << 4, offset, immediate))

    def _put_wide(self, said: tuple[object, ...], destination: Register, source: int, low: int, high: int) -> None:
        self._put(said, _WIDE, destination, source, immediate=_signed(low))
        self._code.append((None, 0, 0, 0, _signed(high)))

    def _sized(self, said: tuple[object, ...], size: int) -> int:
        if size not in _SIZES:
            raise self._error(said, "the size is 1, 2, 4 or 8")
        return _SIZES[size]

    def _fitting(self, said: tuple[object, ...], value: int, bits: int) -> int:
        """Return an immediate for an operation on so many bits: only below 64 is there nothing to extend."""
        least, most = (-(1 << 31), (1 << 31) - 1) if bits == 64 else (-(1 << bits - 1), (1 << bits) - 1)
        if not least <= value <= most:
            raise self._error(said, f"the immediate {value} is not between {least} and {most}")
        return _signed(value)

    def _error(self, said: tuple[object, ...] | None, problem: str, index: int | None = None) -> ValueError:
        return ValueError(f"instruction {len(self._code) if index is None else index}, {_text(said or ())}: {problem}")


def _signed(value: int) -> int:
    """Return the number of 32 bits with a sign that has the same bits."""
    return value - (1 << 32) if value > 0x7FFFFFFF else value


def _text(said: tuple[object, ...]) -> str:
    return f"{said[0]} {', '.join(map(str, said[1:]))}".rstrip()

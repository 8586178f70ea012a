"""The paths that a call is about, each as text and the directory that it is relative to."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.call_frame import TEXT, load_argument
from rprun.backends.ebpf.common import append_none, append_string, append_word, new_label, read_user
from rprun.backends.ebpf.walk import AT_FDCWD, NOTES, PATH_MAX, append_path, forget_size
from rprun.linux.bpf_assembler import R1, R2, R3, R4, R7, R8, R9, R10, Assembler, Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel

_AT_EMPTY_PATH = 0x1000  # include/uapi/linux/fcntl.h
_RESOLVE_IN_ROOT = 0x10  # include/uapi/linux/openat2.h
_HOW_SIZE = 24  # struct open_how
_SLASH = 0x2F


def read_how(code: Assembler) -> None:
    """Read the struct open_how of openat2."""
    done = new_label("how")
    code.load(R1, R9, plans.HOW_AT, size=1)
    code.jump_if_equal(R1, plans.NONE, done)
    load_argument(code, R4, R1)
    code.store(R10, TEXT, R4)
    read_user(code, R1, R4, 0, 8, done)
    code.store(R8, plans.HOW_FLAGS_AT, R1)
    code.load(R4, R10, TEXT)
    read_user(code, R1, R4, _HOW_SIZE - 8, 8, done)
    code.store(R8, plans.HOW_RESOLVE_AT, R1)
    code.store_immediate(R8, plans.MARKS_AT, plans.HOW_READ, size=4)
    code.label(done)


def append_place(code: Assembler, kernel: Kernel, slot: int) -> None:
    """Append the text of a path and the directory that it is relative to, if the call has such a path."""
    text, empty, relative, unknown, over = map(new_label, ("text", "empty", "relative", "unknown", "slot"))
    directory, no_directory = map(new_label, ("directory", "no directory"))
    place = plans.PLACES_AT + 2 * slot
    code.load(R1, R9, place + 1, size=1)
    code.jump_if_equal(R1, plans.NONE, "captured")
    code.jump_if_not_equal(R1, plans.DESCRIPTOR, text)
    append_word(code, 0, 4, "out")
    code.jump(relative)

    code.label(text)
    load_argument(code, R3, R1)
    _append_text(code, empty=empty, unknown=unknown)
    code.jump_if_not_equal(R1, _SLASH, relative)
    code.load(R1, R8, plans.HOW_RESOLVE_AT)
    code.jump_if_any_bit(R1, _RESOLVE_IN_ROOT, relative)
    code.jump(no_directory)

    # An empty path leads nowhere, but where the flags say that it is the descriptor's own file.
    code.label(empty)
    code.load(R1, R9, plans.FLAGS_AT, size=1)
    code.jump_if_equal(R1, plans.NONE, unknown)
    if slot == 0:
        load_argument(code, R1, R1)
        code.jump_if_any_bit(R1, _AT_EMPTY_PATH, relative)
    code.jump(unknown)

    code.label(relative)
    code.load(R2, R9, place, size=1)
    code.move(R1, AT_FDCWD)
    code.jump_if_equal(R2, plans.NONE, directory)
    code.jump_if_equal(R2, plans.TEXT, no_directory)
    load_argument(code, R1, R2)
    code.label(directory)
    append_path(code, kernel, "out")
    code.jump(over)

    code.label(unknown)
    append_none(code, "out")
    code.jump(over)
    code.label(no_directory)
    append_word(code, 0, 4, "out")
    code.label(over)
    if slot == 0:
        forget_size(code, "out")


def _append_text(code: Assembler, *, empty: str, unknown: str) -> None:
    """Append the text at address R3 of the process, and set R1 to its first byte; go to labels if it has none."""
    there = new_label("there")
    code.jump_if_not_equal(R3, 0, there)
    # No text where the flags allow an empty one is the same; elsewhere it is as good as unreadable.
    append_word(code, 0, 4, "out")
    code.jump(empty)
    code.label(there)
    code.store(R10, TEXT, R7)
    append_string(code, Helper.probe_read_user_str, R3, PATH_MAX + 1, "out")
    code.load(R2, R10, TEXT)
    code.jump_if_greater(R2, NOTES, "out")  # Never; the verifier must know.
    code.add(R2, R8)
    code.load(R1, R2, 0, size=4)
    code.jump_if_equal(R1, 0, empty)
    code.move(R3, -1)
    code.move32(R3, R3)
    code.jump_if_equal(R1, R3, unknown)
    code.load(R1, R2, 4, size=1)

"""The tables of system calls, held against the kernel's own headers.

Debian has those of other machines in linux-libc-dev-arm64-cross; linux-libc-dev has all three of x86.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from rprun.linux import syscalls

_ARM64 = Path("/usr/aarch64-linux-gnu/include")
# Name of a header, and what makes the preprocessor find this machine's and not another one's.
HEADERS = {
    syscalls.X86_64: ("asm/unistd_64.h", ()),
    syscalls.I386: ("asm/unistd_32.h", ()),
    syscalls.X32: ("asm/unistd_x32.h", ()),
    syscalls.AARCH64: ("asm/unistd.h", ("-nostdinc", f"-I{_ARM64}")),
}
# Calls that are younger than the headers of distributions in use (Linux 6.6, 6.13, 6.17).
YOUNG = {"fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "file_setattr": 469}
_X32_SUM = re.compile(r"__X32_SYSCALL_BIT \+ (\d+)")


def defined_numbers(abi: str) -> dict[str, int]:
    """Return what a header says once the preprocessor is done with it."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, as a preprocessor")
    header, options = HEADERS[abi]
    if abi == syscalls.AARCH64 and os.uname().machine == abi:
        options = ()
    elif abi == syscalls.AARCH64 and not _ARM64.is_dir():
        pytest.skip("needs the package linux-libc-dev-arm64-cross")
    elif abi != syscalls.AARCH64 and os.uname().machine != syscalls.X86_64:
        pytest.skip("needs the headers of an x86_64 machine: linux-libc-dev")
    command = ["gcc", "-E", "-dM", *options, "-include", header, "-x", "c", os.devnull]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    macros = dict(re.findall(r"#define (__NR\w*) (.+)", output))

    def number(text: str) -> int | None:
        text = text.strip("() ")
        if x32 := _X32_SUM.fullmatch(text):
            return int(x32[1]) | syscalls.X32_BIT
        return int(text) if text.isdigit() else number(macros[text]) if text in macros else None

    values = {name.removeprefix("__NR_"): number(text) for name, text in macros.items()}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("abi", HEADERS)
def test_numbers_are_the_headers(abi: str) -> None:
    """Every number is the kernel's, and what is not in a table is not in the header."""
    real, ours = defined_numbers(abi), syscalls.NUMBERS[abi]
    assert len(real) > 250
    bit = syscalls.X32_BIT if abi == syscalls.X32 else 0
    expected = {name: number | bit for name, number in YOUNG.items()} | real
    assert {name: number for name, number in ours.items() if expected.get(name) != number} == {}
    every_name = set().union(*syscalls.NUMBERS.values())
    assert every_name & real.keys() <= ours.keys()


def test_young_numbers_are_the_same_everywhere() -> None:
    """From 403 on no ABI has a number of its own, but for x32's bit."""
    for name, number in YOUNG.items():
        assert {numbers[name] & ~syscalls.X32_BIT for numbers in syscalls.NUMBERS.values()} == {number}


def test_names_are_the_reverse() -> None:
    """No two calls of an ABI share a number."""
    for abi, numbers in syscalls.NUMBERS.items():
        assert {name: number for number, name in syscalls.NAMES[abi].items()} == numbers


def test_abi_of_a_call() -> None:
    """The architecture names the ABI, except for x32, which is known by its bit."""
    for abi, numbers in syscalls.NUMBERS.items():
        assert {syscalls.abi_of(syscalls.AUDIT_ARCH[abi], number) for number in numbers.values()} == {abi}
    assert syscalls.abi_of(0x40000028, 5) is None  # 32-bit ARM


def test_native_comes_first() -> None:
    """What this interpreter is made of is the first of what runs here."""
    native = syscalls.native()
    if native is None:
        assert syscalls.abis() == ()
        pytest.skip(f"needs a table for {os.uname().machine}")
    assert syscalls.abis()[0] == native
    assert len(set(syscalls.abis())) == len(syscalls.abis())
    # A file of the kernel's that says which call reads it: read(2), by its number in the native table.
    with Path("/proc/self/syscall").open() as file:
        number = int(file.read().split()[0])
    assert number == {"x86_64": 0, "aarch64": 63, "i386": 3}[native]

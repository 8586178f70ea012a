"""Makes two DLLs that Wine lacks and pywinpty's native module asks for, out of functions that Wine has.

Each has no code, only names that stand for another DLL's functions ("forwarders", PE format specification, 6.3).

    python forwarders.py DIRECTORY
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

DLLS = {
    # Rust's source of random numbers; RtlGenRandom has the same parameters.
    "bcryptprimitives.dll": {"ProcessPrng": "ADVAPI32.SystemFunction036"},
    # pywinpty's own brings a console host that Wine cannot run; Wine has a pseudo console of its own.
    "conpty.dll": {
        "ConptyClosePseudoConsole": "KERNEL32.ClosePseudoConsole",
        "ConptyCreatePseudoConsole": "KERNEL32.CreatePseudoConsole",
        "ConptyResizePseudoConsole": "KERNEL32.ResizePseudoConsole",
        # Shows a window, and there is none: a function that gives 0, which is S_OK.
        "ConptyShowHidePseudoConsole": "KERNEL32.IsDebuggerPresent",
    },
}

BASE = 0x1000
ALIGNMENT = 0x200


def exports(name: str, forwarders: dict[str, str]) -> bytes:
    """Return the export directory with its tables and texts, as it is loaded at BASE."""
    names = sorted(forwarders)
    tables = BASE + 40
    texts_at = tables + len(names) * (4 + 4 + 2)
    texts = b""

    def text(value: str) -> int:
        nonlocal texts
        at = texts_at + len(texts)
        texts += value.encode() + b"\0"
        return at

    own = text(name)
    functions = b"".join(struct.pack("<I", text(forwarders[each])) for each in names)
    pointers = b"".join(struct.pack("<I", text(each)) for each in names)
    ordinals = b"".join(struct.pack("<H", number) for number in range(len(names)))
    count = len(names)
    directory = struct.pack(
        "<IIHHIIIIIII", 0, 0, 0, 0, own, 1, count, count, tables, tables + 4 * count, tables + 8 * count
    )
    return directory + functions + pointers + ordinals + texts


def dll(name: str, forwarders: dict[str, str]) -> bytes:
    """Return a 64-bit DLL that has these names and nothing else."""
    section = exports(name, forwarders)
    raw = len(section) + -len(section) % ALIGNMENT
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    # IMAGE_FILE_HEADER: x86-64, one section, an executable image that is a DLL and knows large addresses.
    header = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x2022)
    # IMAGE_OPTIONAL_HEADER64, without an entry point; NX compatible, for the console.
    optional = struct.pack("<HBBIIIII", 0x20B, 14, 0, 0, raw, 0, 0, 0)
    optional += struct.pack("<QII", 0x180000000, 0x1000, ALIGNMENT)
    optional += struct.pack("<HHHHHHIIIIHH", 6, 0, 0, 0, 6, 0, 0, 0x2000, ALIGNMENT, 0, 3, 0x100)
    optional += struct.pack("<QQQQII", 0x100000, 0x1000, 0x100000, 0x1000, 0, 16)
    optional += struct.pack("<II", BASE, len(section)) + bytes(15 * 8)
    table = struct.pack("<8sIIIIIIHHI", b".edata", len(section), BASE, raw, ALIGNMENT, 0, 0, 0, 0, 0x40000040)
    head = dos + header + optional + table
    return head.ljust(ALIGNMENT, b"\0") + section.ljust(raw, b"\0")


if __name__ == "__main__":
    for dll_name, names in DLLS.items():
        (Path(sys.argv[1]) / dll_name).write_bytes(dll(dll_name, names))

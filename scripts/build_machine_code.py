"""The machine code beside the sources in C of `rprun/linux`: is it what they give, and how it is made anew.

    python scripts/build_machine_code.py --check | --write

The same compiler gives the same bytes, so `--check` compares them. Another version of it gives others, which prove
nothing; then it is only compiled. The version is in the object itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

LINUX = Path(__file__).resolve().parents[1] / "rprun" / "linux"
SOURCES = (LINUX / "answering.c", LINUX / "btf.c", LINUX / "seen.c", LINUX / "usual.c")
COMMAND = "python scripts/build_machine_code.py"
# By machine, as uname -m says it.
COMPILERS = {"x86_64": "gcc"}

# Nothing but our own code may be in it: no start-up code, no libc, nothing that a compiler would call by itself.
_FREESTANDING = (
    *("-ffreestanding", "-nostdlib", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    *("-fno-tree-loop-distribute-patterns", "-mgeneral-regs-only", "-fcf-protection=none", "-fvisibility=hidden"),
)
# One small file, the same wherever it is made.
_LINKING = "-Wl,--build-id=none,--hash-style=gnu,-z,noseparate-code,-z,max-page-size=4096,-z,noexecstack,-s"
_OPTIONS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", *_FREESTANDING, _LINKING)
_COMPILER = re.compile(rb"GCC: \([^\0]+")


def objects() -> list[tuple[Path, Path, str]]:
    """Return each source with an object of it and the compiler of that."""
    return [
        (source, source.with_name(f"{source.stem}_{machine}.so"), compiler)
        for source in SOURCES
        for machine, compiler in COMPILERS.items()
    ]


def build(source: Path, compiler: str) -> bytes:
    """Compile a source.

    Raises:
        subprocess.CalledProcessError: it does not compile.
        FileNotFoundError: there is no such compiler.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "object.so"
        # By its name only, which is in the object.
        subprocess.run([compiler, *_OPTIONS, "-o", str(made), source.name], check=True, cwd=LINUX)
        return made.read_bytes()


def compiler_of(data: bytes) -> str:
    """Return the compiler that made an object, as it has noted it there; empty where it has not."""
    found = _COMPILER.search(data)
    return found[0].decode() if found else ""


def check(source: Path, path: Path, compiler: str) -> str | None:
    """Return what is wrong with a committed object, None if nothing is."""
    made, committed = build(source, compiler), path.read_bytes() if path.exists() else b""
    here, there = compiler_of(made), compiler_of(committed)
    if made == committed:
        return None
    if there and here != there:
        sys.stdout.write(f"{path.name} is not compared: it was made by {there}, and here is {here}\n")
        return None
    return f"{path} is not what {source.name} gives: run {COMMAND} --write"


def main(arguments: list[str]) -> int:
    """Check or write, as the one argument asks."""
    if arguments == ["--write"]:
        for source, path, compiler in objects():
            path.write_bytes(build(source, compiler))
        return 0
    if arguments != ["--check"]:
        sys.stderr.write(f"usage: {COMMAND} --check | --write\n")
        return 2
    wrong = [found for each in objects() if (found := check(*each)) is not None]
    sys.stderr.writelines(f"{each}\n" for each in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

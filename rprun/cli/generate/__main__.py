"""`python -m rprun.cli.generate --check|--write`: every generated file is what its function renders, or is named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rprun.cli.generate import (
    argv_table,
    completions_bash,
    completions_fish,
    completions_powershell,
    completions_zsh,
    man,
)

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = "usage: python -m rprun.cli.generate --check|--write"

# Each generated and committed file, and the pure function that renders it.
FILES: dict[str, Callable[[], str]] = {
    "rprun/cli/_argv_table.py": argv_table.render,
    "man/rprun.1": man.render,
    "completions/rprun.bash": completions_bash.render,
    "completions/_rprun": completions_zsh.render,
    "completions/rprun.fish": completions_fish.render,
    "completions/rprun.ps1": completions_powershell.render,
}


def checkout() -> Path | None:
    """The directory that the generated files are in: of this module's own checkout, else the current one.

    An installed package has neither man page nor completions beside it; it is then about the checkout it is run in.
    """
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (root / "pyproject.toml").is_file() and (root / "rprun" / "cli").is_dir():
            return root
    return None


def stale(root: Path) -> list[str]:
    """The files below root that are not what their function renders."""

    def current(name: str) -> bytes | None:
        path = root / name
        return path.read_bytes() if path.exists() else None

    return [name for name, render in FILES.items() if current(name) != render().encode()]


def write(root: Path) -> list[str]:
    """Write the files that are stale; their names."""
    names = stale(root)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name]().encode())
    return names


def main(args: list[str]) -> int:
    """Check or write; the exit status."""
    if args not in (["--check"], ["--write"]):
        print(USAGE, file=sys.stderr)
        return 2
    root = checkout()
    if root is None:
        print(f"no checkout of rprun here: {Path.cwd()} (run this in the directory of pyproject.toml)", file=sys.stderr)
        return 2
    if args == ["--write"]:
        for name in write(root):
            print(f"wrote {name}")
        return 0
    names = stale(root)
    for name in names:
        print(f"{name} is stale", file=sys.stderr)
    if names:
        print("to mend: python -m rprun.cli.generate --write", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

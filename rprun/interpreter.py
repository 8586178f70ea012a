"""A fresh interpreter that runs a function of this package: what a fork is where the program has threads."""

from __future__ import annotations

import os
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# -I and -S: nothing of the caller's Python settings or site packages reaches this interpreter.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from {} import main; main(sys.argv[2:])"


def start(module: str, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
    """Start it as a child of this process; return its pid, which the caller reaps.

    Args:
        module: where the function `main` is, which takes a list of arguments.
        arguments: for `main`.
        descriptors: what it inherits, by the same numbers; all others but 0, 1 and 2 are closed.

    Raises:
        OSError: no more processes, descriptors or memory.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM.format(module), root, *arguments], pass_fds=descriptors
    )
    # Popen would warn about a child that nobody waited for.
    process.returncode = 0
    return process.pid


def keep_to_itself(descriptors: Sequence[int]) -> None:
    """Make what has been inherited close-on-exec again, in the fresh interpreter."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the call takes it so

"""rprun as it is where there is no machine code: the interpreter answers every call, and takes every record."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAM = """#!{}
import sys
from rprun.linux import answering, usual
answering.OBJECT = usual.OBJECT = "/nowhere"
from rprun.__main__ import main
sys.exit(main())
"""


def executable(directory: Path) -> str:
    """Write an executable that is such an rprun; its path."""
    path = directory / "rprun-by-interpreter"
    path.write_text(_PROGRAM.format(sys.executable))
    path.chmod(0o755)
    return str(path)

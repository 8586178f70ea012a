"""Writes a C project of many small files: `python c_build.py DIRECTORY COUNT`, then `make -j2` in DIRECTORY."""

from __future__ import annotations

import sys
from pathlib import Path

_SOURCE = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "all.h"
int f{number}(int n)
{{
    char text[64];
    snprintf(text, sizeof text, "%d of {number}", n);
    return n > 0 ? (int)strlen(text) + f{next}(n - 1) : abs(n);
}}
"""

_MAKEFILE = """\
OBJECTS := $(sort $(patsubst %.c,%.o,$(wildcard *.c)))
all: program library.a
program: $(OBJECTS)
\t$(CC) -o $@ $^
library.a: $(OBJECTS)
\t$(AR) rcD $@ $^
%.o: %.c all.h
\t$(CC) -O1 -Wall -c -o $@ $<
"""


def write(directory: Path, count: int) -> None:
    """Write `count` sources that call each other in a ring, a header, and the Makefile."""
    for number in range(count):
        source = _SOURCE.format(number=number, next=(number + 1) % count)
        (directory / f"f{number:03}.c").write_text(source)
    (directory / "main.c").write_text('#include "all.h"\nint main(void) { return f0(5) == 0; }\n')
    (directory / "all.h").write_text("".join(f"int f{number}(int n);\n" for number in range(count)))
    (directory / "Makefile").write_text(_MAKEFILE)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))

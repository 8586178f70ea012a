"""Parts of the items that accounts of a run are made of; no I/O here.

An item is a tuple of strings, its kind first. What differs between any two runs of one program is taken out: process
ids, random parts of names, ports that the kernel picked.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Item = tuple[str, ...]

UNKNOWN = "?"
"""A path or an address that could not be said."""

LIMIT = 4096
"""Bytes of a string that strace is asked for; both sides are cut there."""

_FIRST_EPHEMERAL = 32768
_RANDOM = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=/proc/)\d+", "PID"),
        (r"(?<=/task/)\d+", "TID"),
        (r"(?<=/dev/shm/)[^/]+", "*"),
        # Temporary files of gcc, binutils and make; mkdtemp of node.
        (r"(?<=/run/)(st)[A-Za-z0-9]{6}$", r"\1*"),
        (r"(?<=/)(cc|Gm|node-)[A-Za-z0-9]{6}(?=[./]|$)", r"\1*"),
        # Python's tempfile, as it is and below multiprocessing and pip.
        (r"(?<=[/-])(tmp|pymp-|listener-|~)[a-z0-9_]{8}(?=[./-]|$)", r"\1*"),
        (r"(?<=/)(pip-[a-z-]+-)[a-z0-9_]{8}(?=[./]|$)", r"\1*"),
        (r"(?<=/run/tmp/)[a-z0-9_]{8}$", "*"),
        (r"(?<=\.dist-info/)(\w+(?:\.json)?)[a-z0-9_]{8}\.tmp$", r"\1*.tmp"),
        # Bytecode is written beside its place, under a name that has the address of an object in it.
        (r"(?<=\.pyc\.)\d+$", "*"),
        # git's.
        (r"(?<=/)(tmp_[a-z]+_|\.merge_file_|refs_|packs_)[A-Za-z0-9]{6}$", r"\1*"),
        (r"(?<=/\.git/)t[A-Za-z0-9]{6}$", "t*"),
        (r"(?<=/)\.tmp-\d+-pack", ".tmp-*-pack"),
    )
]

# What is said of a process and not of one call is only held against rprun, never demanded of it.
ONLY_CLAIMS = ("descendant-started", "descendant-exited", "net-listen", "net-accept")


def normal(text: str) -> str:
    """Return a text without what differs from run to run."""
    for pattern, replacement in _RANDOM:
        text = pattern.sub(replacement, text)
    return text


def path_of(path: str | None, base: str | None = "/") -> str:
    """Return an absolute path in its shortest spelling; UNKNOWN where a part of it could not be said."""
    if path is None or (base is None and not path.startswith("/")):
        return UNKNOWN
    return normal(os.path.normpath(os.path.join(base or "/", path)).replace("//", "/"))


def words_of(words: Iterable[str | None]) -> str:
    """Return an argv as one text, each word cut as strace cuts it."""
    return repr([UNKNOWN if word is None else normal(os.fsdecode(os.fsencode(word)[:LIMIT])) for word in words])


def unix_name(path: str) -> str:
    """Return the name of a Unix socket; a relative one by its last part, for how it is given is not agreed on."""
    return normal(path) if path.startswith(("@", "/")) or not path else os.path.basename(path)


def port_of(port: int | None) -> str:
    """Return a port's number, or that it is one of those that the kernel picks."""
    return "ephemeral" if port is not None and port >= _FIRST_EPHEMERAL else str(port)


def target_of(target: str | None) -> str:
    """Return what stands for a link's text: its last part, since it may be given as it is or made absolute."""
    return UNKNOWN if target is None else normal("/" + os.path.basename(os.path.normpath(target)))

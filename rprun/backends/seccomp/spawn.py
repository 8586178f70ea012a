"""Starting the supervisor: by fork where this process has one thread, else as a fresh interpreter."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os

from rprun import interpreter
from rprun.backends.seccomp.ring import Ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn, TypeAlias

    # See `supervisor.resume`: what is `known` there, and what is `told`.
    Known: TypeAlias = tuple[Mapping[int, int], Mapping[int, int]]

# Stands between the words of the two.
_RESUME = "resume"


def start(ring: Ring, source: int, control: int, known: Known | None = None) -> int:
    """Start a supervisor; return its pid.

    Args:
        ring: as for `supervisor.serve`.
        source: where the listener will come from, or, with `known`, the listener itself.
        control: as for `supervisor.serve`.
        known: given where it takes over from one that was killed: see `supervisor.resume`.

    Raises:
        OSError: no more processes.
    """
    # Imported before the fork: this process has it anyway, and the child would do it a second time.
    from rprun.backends.seccomp import serving  # noqa: F401

    passed = (ring.fd, ring.bell, source, control)
    processes: list[str] = []
    if known is not None:
        processes = [*_words(known[0]), _RESUME, *_words(known[1])]
    descriptors = (*passed, *(known[0] if known else ()))
    return interpreter.start_child(
        lambda: _be(ring, source, control, known), __name__, [*map(str, passed), *processes], descriptors
    )


def main(arguments: list[str]) -> None:
    """Be the supervisor. Called in the fresh interpreter only."""
    memory, bell, source, control = map(int, arguments[:4])
    known = None
    if _RESUME in arguments:
        at = arguments.index(_RESUME)
        known = _mapping(arguments[4:at]), _mapping(arguments[at + 1 :])
    interpreter.keep_to_itself((memory, bell, source, control, *(known[0] if known else ())))
    _be(Ring(memory, bell), source, control, known)


def _words(mapping: Mapping[int, int]) -> list[str]:
    return [f"{each}:{value}" for each, value in mapping.items()]


def _mapping(words: list[str]) -> dict[int, int]:
    return {int(each): int(value) for each, _, value in (word.partition(":") for word in words)}


def _be(ring: Ring, source: int, control: int, known: Known | None) -> NoReturn:
    from rprun.backends.seccomp import serving

    if known is None:
        serving.serve(ring, source, control)
    serving.resume(ring, source, control, *known)


def reap(pid: int) -> None:
    """Reap a supervisor if it has ended; one that goes on is left to do so."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Reaped by somebody else's waitpid(-1).
        pass

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
    from typing import NoReturn


def start(ring: Ring, source: int, control: int, known: Mapping[int, int] | None = None) -> int:
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
    from rprun.backends.seccomp import supervisor  # noqa: F401

    passed = (ring.fd, ring.bell, source, control)
    processes = [] if known is None else ["resume", *(f"{each}:{number}" for each, number in known.items())]
    return interpreter.start_child(
        lambda: _be(ring, source, control, known), __name__, [*map(str, passed), *processes], (*passed, *(known or ()))
    )


def main(arguments: list[str]) -> None:
    """Be the supervisor. Called in the fresh interpreter only."""
    memory, bell, source, control = map(int, arguments[:4])
    known = None
    if arguments[4:]:
        words = (word.partition(":") for word in arguments[5:])
        known = {int(descriptor): int(process) for descriptor, _, process in words}
    interpreter.keep_to_itself((memory, bell, source, control, *(known or ())))
    _be(Ring(memory, bell), source, control, known)


def _be(ring: Ring, source: int, control: int, known: Mapping[int, int] | None) -> NoReturn:
    from rprun.backends.seccomp import supervisor

    if known is None:
        supervisor.serve(ring, source, control)
    supervisor.resume(ring, source, control, known)


def reap(pid: int) -> None:
    """Reap a supervisor if it has ended; one that goes on is left to do so."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Reaped by somebody else's waitpid(-1).
        pass

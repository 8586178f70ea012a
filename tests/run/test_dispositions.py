"""Which signals the command ignores, blocks and catches at its start is what the caller has set up."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from running import TRANSPORTS, run, transport_id

if TYPE_CHECKING:
    from collections.abc import Callable

STATUS = ("grep", "-E", "^(Sig|Shd)(Blk|Ign|Cgt|Pnd):", "/proc/self/status")
FIXED = {signal.SIGKILL, signal.SIGSTOP}
# CPython ignores these two whatever it was given: what the caller had cannot be known, the default is restored.
PYTHONS = {signal.SIGPIPE, signal.SIGXFSZ}
EVERY = frozenset(signal.valid_signals() - FIXED - PYTHONS)

CASES: dict[str, tuple[frozenset[int], frozenset[int]]] = {
    "plain": (frozenset(), frozenset()),
    "nohup": (frozenset({signal.SIGHUP}), frozenset()),
    "sh-background": (frozenset({signal.SIGINT, signal.SIGQUIT}), frozenset()),
    "no-children": (frozenset({signal.SIGCHLD}), frozenset()),
    "no-job-control": (frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}), frozenset()),
    "everything-ignored": (EVERY, frozenset()),
    "term-blocked": (frozenset(), frozenset({signal.SIGTERM, signal.SIGINT})),
    "child-blocked": (frozenset(), frozenset({signal.SIGCHLD, signal.SIGALRM, signal.SIGWINCH})),
    "everything-blocked": (frozenset(), frozenset(signal.valid_signals() - FIXED)),
    "both": (frozenset({signal.SIGUSR1, signal.SIGTERM}), frozenset({signal.SIGUSR2, signal.SIGPIPE, signal.SIGRTMIN})),
}

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)


def setting(ignored: frozenset[int], blocked: frozenset[int]) -> Callable[[], None]:
    """Return what sets a child up like this before its exec."""

    def set_up() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    return set_up


@every_transport
@pytest.mark.parametrize("case", CASES)
def test_ignored_blocked_and_caught_signals(transport: tuple[str, ...], case: str) -> None:
    """SigIgn, SigBlk and SigCgt of the command are those of a bare run."""
    prepare = setting(*CASES[case])
    bare = subprocess.run(STATUS, stdin=subprocess.DEVNULL, capture_output=True, check=True, preexec_fn=prepare)
    result = run(*transport, *STATUS, preexec_fn=prepare)
    assert result.stdout.replace(b"\r", b"") == bare.stdout
    assert result.returncode == 0


@every_transport
def test_what_python_ignores_is_the_default_again(transport: tuple[str, ...]) -> None:
    """SIGPIPE and SIGXFSZ kill the command, as they would without an interpreter in between."""
    result = run(*transport, *STATUS)
    ignored = int(next(line for line in result.stdout.splitlines() if line.startswith(b"SigIgn")).split()[1], 16)
    assert not ignored & sum(1 << (number - 1) for number in PYTHONS)


@every_transport
@pytest.mark.parametrize("case", CASES)
def test_the_status_survives_any_set_up(transport: tuple[str, ...], case: str) -> None:
    """SIGCHLD ignored or blocked by the caller loses neither the exit status nor the output."""
    result = run(*transport, "sh", "-c", "echo output; exit 7", preexec_fn=setting(*CASES[case]))
    assert (result.returncode, result.stdout.replace(b"\r", b""), result.stderr) == (7, b"output\n", b"")


@every_transport
def test_a_pending_blocked_signal_does_not_come_twice(transport: tuple[str, ...]) -> None:
    """A signal that waits, blocked, when rprun starts is rprun's and stays where it is."""

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)

    result = run(*transport, *STATUS, preexec_fn=prepare)
    assert result.returncode == 0
    assert b"SigBlk:\t0000000000004000" in result.stdout

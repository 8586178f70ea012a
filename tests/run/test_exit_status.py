"""rprun ends as the command ended: the same status, or the same death."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from running import TRANSPORTS, clean_environment, rprun_argv, run, transport_id

if TYPE_CHECKING:
    from pathlib import Path

HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
DEADLY = sorted(int(number) for number in signal.valid_signals() - HARMLESS - STOPPING)
# Every one without a transport's influence, and one of each sort in the others.
SAMPLE = [getattr(signal, "SIG" + name) for name in ("INT", "QUIT", "KILL", "PIPE", "TERM", "SEGV", "RTMAX")]

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)


def die_of(number: int) -> list[str]:
    """Return a command that dies of a signal."""
    return ["sh", "-c", f"kill -{number} $$"]


@every_transport
@pytest.mark.parametrize("status", [0, 1, 2, 42, 124, 125, 126, 127, 128, 143, 255])
def test_the_status_is_the_commands(transport: tuple[str, ...], status: int) -> None:
    """Numbers that rprun uses itself pass as any other (all 256 of them: test_many_runs)."""
    result = run(*transport, "sh", "-c", f"exit {status}")
    assert (result.returncode, result.stdout, result.stderr) == (status, b"", b"")


@every_transport
def test_a_status_keeps_its_low_byte(transport: tuple[str, ...]) -> None:
    """`exit 300` is 44, as wait(2) has it."""
    assert run(*transport, "sh", "-c", "exit 300").returncode == 300 % 256


@pytest.mark.parametrize("number", DEADLY)
def test_death_by_any_signal(number: int, tmp_path: Path) -> None:
    """The wait status of rprun names the signal that the command died of, real-time ones included."""
    result = run(*die_of(number), cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (-number, b"", b"")


@pytest.mark.parametrize("transport", TRANSPORTS[1:], ids=transport_id)
@pytest.mark.parametrize("number", SAMPLE, ids=int)
def test_death_in_each_transport(transport: tuple[str, ...], number: int, tmp_path: Path) -> None:
    """A PTY or pipes between make no difference to it."""
    result = run(*transport, *die_of(number), cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (-number, b"", b"")


@every_transport
def test_a_shell_shows_128_plus_the_signal(transport: tuple[str, ...]) -> None:
    """`$?` of a shell is what it would be without rprun."""
    words = [*rprun_argv(), *transport, *die_of(signal.SIGTERM)]
    shell = subprocess.run(
        ["sh", "-c", '"$@"; echo $?', "sh", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        check=False,
    )
    assert shell.stdout == b"143\n"


@every_transport
def test_a_signal_that_the_caller_ignores_becomes_a_status(transport: tuple[str, ...]) -> None:
    """A child that died of a signal which rprun inherited as ignored still shows."""
    script = "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGTERM)"

    def ignore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    result = run(*transport, sys.executable, "-c", script, preexec_fn=ignore)
    assert result.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


@every_transport
def test_a_core_dump_is_the_commands_alone(transport: tuple[str, ...], tmp_path: Path) -> None:
    """The event says that the command dumped core; rprun's own death leaves none and says none."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("core dumps are off for good here (ulimit -H -c)")

    def allow() -> None:
        os.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    events = tmp_path / "events"
    words = [*rprun_argv(), *transport, "--json", "--events", str(events), *die_of(signal.SIGQUIT)]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=clean_environment(), preexec_fn=allow)  # noqa: PLW1509
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGQUIT
    assert not os.WCOREDUMP(status)
    exited = json.loads(events.read_text().splitlines()[-1])
    bare = subprocess.Popen(die_of(signal.SIGQUIT), preexec_fn=allow)  # noqa: PLW1509
    _, bare_status = os.waitpid(bare.pid, 0)
    bare.returncode = -os.WTERMSIG(bare_status)
    assert exited.get("core", False) is os.WCOREDUMP(bare_status)
    assert exited["exit_code"] == -signal.SIGQUIT


@every_transport
@pytest.mark.parametrize("stdin", ["null", "file", "pipe", "closed"])
def test_the_status_whatever_stdin_is(transport: tuple[str, ...], stdin: str, tmp_path: Path) -> None:
    """A file, an open pipe, /dev/null or nothing as stdin: the command's end is the end."""
    (tmp_path / "file").write_bytes(b"line\n" * 1000)
    read, write = os.pipe()
    try:
        with (tmp_path / "file").open("rb") as file:
            source = {"null": subprocess.DEVNULL, "file": file, "pipe": read, "closed": None}[stdin]
            close = (lambda: os.close(0)) if stdin == "closed" else None
            result = run(*transport, "sh", "-c", "echo out; exit 9", stdin=source, preexec_fn=close)
    finally:
        os.close(read)
        os.close(write)
    assert (result.returncode, result.stdout.replace(b"\r", b""), result.stderr) == (9, b"out\n", b"")

"""What the command writes arrives, all of it, in every transport and however fast or slow its reader is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest
from running import (
    TRANSPORTS,
    children_of,
    clean_environment,
    descendants_of,
    kill_quietly,
    read_until,
    rprun_argv,
    run,
    start,
    stat_fields,
    transport_id,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path

BIG = 50_000_000
# An interpreter and rprun's own modules take some 12 MB; whoever buffers a stream would be far above this.
ENOUGH = 40 << 20

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
APART = ("--pty", "--split-stderr")
RELAYED = pytest.mark.parametrize("transport", TRANSPORTS[1:], ids=transport_id)


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of bytes of every value."""
    path = tmp_path_factory.mktemp("big") / "file"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(BIG // len(block) + 1):
            file.write(block)
        file.truncate(BIG)
    return path


def digest(path: Path, *, on_terminal: bool) -> str:
    """Return the checksum of a file's bytes, as a terminal with ONLCR shows them or as they are."""
    data = path.read_bytes()
    return hashlib.sha256(data.replace(b"\n", b"\r\n") if on_terminal else data).hexdigest()


@every_transport
@pytest.mark.parametrize("to", ["pipe", "file"])
def test_fifty_megabytes(transport: tuple[str, ...], to: str, big_file: Path, tmp_path: Path) -> None:
    """Bytes of every value arrive unchanged but for a terminal's line ends."""
    wanted = digest(big_file, on_terminal=transport == ("--pty",))
    if to == "file":
        with (tmp_path / "out").open("wb") as out:
            assert run(*transport, "cat", str(big_file), stdout=out).returncode == 0
        assert digest(tmp_path / "out", on_terminal=False) == wanted
        return
    found = hashlib.sha256()
    with start(*transport, "cat", str(big_file)) as process:
        assert process.stdout
        while chunk := process.stdout.read(1 << 16):
            found.update(chunk)
    assert (process.returncode, found.hexdigest()) == (0, wanted)


@every_transport
def test_an_append_mode_file_is_appended_to(transport: tuple[str, ...], tmp_path: Path) -> None:
    """`>>log` keeps what was there, O_APPEND refusing splice(2) or not."""
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    with log.open("ab") as file:
        assert run(*transport, "sh", "-c", "echo one; echo two", stdout=file).returncode == 0
    assert log.read_bytes().replace(b"\r", b"") == b"before\none\ntwo\n"


@every_transport
@pytest.mark.parametrize("size", [1, 4095, 4096, 20_000, 65_537, 300_000])
def test_nothing_of_a_tail_without_a_newline_is_lost(transport: tuple[str, ...], size: int) -> None:
    """The last piece comes although the command ends right after writing it."""
    script = f"import os; os.write(1, b'x' * {size})"
    for _ in range(3):
        result = run(*transport, sys.executable, "-S", "-c", f"{script}; os._exit(3)")
        assert (result.returncode, len(result.stdout)) == (3, size)


@every_transport
def test_stdout_and_stderr_stay_apart_unless_they_are_one_terminal(transport: tuple[str, ...]) -> None:
    """Without a PTY each goes its way; with `--split-stderr` too; a PTY joins them."""
    script = "echo out; echo err >&2"
    result = run(*transport, "sh", "-c", script)
    if transport == ("--pty",):
        assert (result.stdout, result.stderr) == (b"out\r\nerr\r\n", b"")
        result = run(*transport, "--split-stderr", "sh", "-c", script + "; test -t 1 && test -t 2")
        assert (result.returncode, result.stdout, result.stderr) == (0, b"out\r\n", b"err\r\n")
    else:
        assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


@pytest.mark.parametrize("transport", [*TRANSPORTS, APART], ids=str)
def test_both_big_at_once(transport: tuple[str, ...]) -> None:
    """Two full streams do not wait for each other."""
    script = "head -c 5000000 /dev/zero & head -c 5000000 /dev/zero >&2; wait"
    result = run(*transport, "sh", "-c", script)
    assert len(result.stdout) + len(result.stderr) == 10_000_000


@pytest.mark.parametrize("transport", [*TRANSPORTS[:2], APART], ids=str)
def test_a_full_stdout_does_not_hold_up_stderr(transport: tuple[str, ...]) -> None:
    """The reader of one stream gets its bytes although nobody reads the other."""
    script = "head -c 1000000 /dev/zero & read x; echo error >&2; wait"
    with start(*transport, "sh", "-c", script, stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdin
        wait_until(lambda: waiting_bytes(process.stdout) > 30_000, "stdout is full")
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert read_until(process.stderr.fileno(), b"error").strip() == b"error"
        assert len(process.communicate()[0]) == 1_000_000


def waiting_bytes(pipe: object) -> int:
    """Return how much a pipe holds."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0])  # type: ignore[call-overload]


def resident(pid: int) -> int:
    """Return the memory of a process and all below it that are rprun, in bytes."""
    total = 0
    for one in (pid, *children_of(pid)):
        with open(f"/proc/{one}/statm", encoding="ascii") as file:
            total = max(total, int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE"))
    return total


def processor_times(pids: list[int]) -> list[list[str]]:
    """Return state, user time and system time of each process."""
    return [[fields[0], *fields[11:13]] for fields in map(stat_fields, pids) if fields]


def all_rest(pid: int) -> bool:
    """Tell whether everybody below a process sleeps, and used no time between two looks."""
    below = list(descendants_of(pid))
    before = processor_times(below)
    os.sched_yield()
    return len(below) > 1 and all(times[0] == "S" for times in before) and before == processor_times(below)


@every_transport
def test_a_reader_that_does_not_read_stops_the_command(transport: tuple[str, ...]) -> None:
    """The kernel's buffers fill up and the command waits; rprun grows no buffer of its own."""
    with start(*transport, "yes") as process:
        try:
            assert process.stdout
            calm = 0

            def at_rest() -> bool:
                nonlocal calm
                calm = calm + 1 if waiting_bytes(process.stdout) >= 4096 and all_rest(process.pid) else 0
                return calm >= 5

            wait_until(at_rest, "the command waits for its reader")
            assert resident(process.pid) < ENOUGH
            for _ in range(200):
                assert process.stdout.read(1 << 16)
            wait_until(at_rest, "the command waits again")
            assert resident(process.pid) < ENOUGH
        finally:
            process.kill()
            for pid in descendants_of(process.pid):
                kill_quietly(pid)


@every_transport
def test_a_pipeline_in_the_middle(transport: tuple[str, ...]) -> None:
    """`yes | rprun cat | head` ends, and with the right bytes."""
    words = [*rprun_argv(), *transport, "cat"]
    result = subprocess.run(
        ["sh", "-c", 'yes | "$@" | head -c 1000000 | tr -d "\\r"', "sh", *words],
        capture_output=True,
        env=clean_environment(),
        timeout=60,
        check=False,
    )
    assert result.stderr == b""
    assert set(result.stdout.split(b"\n")[:-1]) == {b"y"}
    assert len(result.stdout) > 600_000

"""A reader that leaves, a full disk, a closed stream: the command learns of it as without rprun, and nobody hangs."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from running import TRANSPORTS, clean_environment, rprun_argv, run, start, transport_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
RELAYED = pytest.mark.parametrize("transport", TRANSPORTS[1:], ids=transport_id)
NO_SPACE = b"rprun: cannot write to standard output: No space left on device "


@every_transport
def test_a_reader_that_leaves(transport: tuple[str, ...]) -> None:
    """`rprun yes | head -1`: the command dies of SIGPIPE and so does rprun, without a word."""
    with start(*transport, "yes") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().strip() == b"y"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


@every_transport
def test_the_same_in_a_shell(transport: tuple[str, ...]) -> None:
    """The pipeline ends at once, and bash's PIPESTATUS is that of a bare run."""
    result = subprocess.run(
        ["bash", "-c", '"$@" seq 1 100000000 | head -1; echo ${PIPESTATUS[0]}', "bash", *rprun_argv(), *transport],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        check=False,
        timeout=60,
    )
    assert (result.stdout.split(), result.stderr) == ([b"1", b"141"], b"")


@every_transport
def test_a_command_that_ignores_sigpipe(transport: tuple[str, ...]) -> None:
    """It sees its write fail, goes on, and its status counts."""
    script = "trap '' PIPE; while echo x; do :; done 2>/dev/null; exit 3"
    with start(*transport, "sh", "-c", script) as process:
        assert process.stdout
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(60) == 3


@every_transport
def test_a_reader_that_was_never_there(transport: tuple[str, ...]) -> None:
    """A silent command does not care that nobody reads; one that writes gets SIGPIPE."""
    for script, status in (("exit 5", 5), ("echo hello; exit 5", -signal.SIGPIPE)):
        read, write = os.pipe()
        os.close(read)
        # The shell's own write decides without a PTY; with one, rprun's does, and the shell may have ended before.
        result = run(*transport, "sh", "-c", script, stdout=write)
        os.close(write)
        allowed = {status, 5} if transport else {status}
        assert result.returncode in allowed
        assert result.stderr == b""


@every_transport
def test_events_go_on_when_the_output_is_gone(transport: tuple[str, ...]) -> None:
    """The record of the end still comes."""
    with start(*transport, "--json", "yes") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        lines = process.stderr.read().splitlines()
    assert len(lines) == 2
    assert b'"exited"' in lines[1]
    assert b'"exit_code":-13' in lines[1].replace(b" ", b"")


def test_a_full_disk_is_the_commands_own_affair_where_it_writes_itself() -> None:
    """With the stream passed through, the command reports it as in a bare run."""
    with open("/dev/full", "wb") as full:
        bare = subprocess.run(["cat", "/etc/passwd"], stdout=full, stderr=subprocess.PIPE, check=False)
        result = run("cat", "/etc/passwd", stdout=full)
    assert (result.returncode, result.stderr) == (bare.returncode, bare.stderr)


@RELAYED
def test_a_full_disk_behind_a_relay(transport: tuple[str, ...]) -> None:
    """rprun says so in one line and fails with 125; a writing command gets SIGPIPE and does not run for ever."""
    for command in (["echo", "hello"], ["yes"], ["head", "-c", "10000000", "/dev/zero"]):
        with open("/dev/full", "wb") as full:
            result = run(*transport, *command, stdout=full)
        assert result.returncode == 125
        assert result.stderr.startswith(NO_SPACE)
        assert result.stderr.count(b"\n") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(tmp_path), b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip(f"cannot mount a tmpfs here: {os.strerror(ctypes.get_errno())}")
    yield tmp_path
    libc.umount2(os.fsencode(tmp_path), 2)


@RELAYED
def test_a_disk_that_fills_up(transport: tuple[str, ...], small_disk: Path) -> None:
    """What fitted is there, the rest is reported."""
    with (small_disk / "out").open("wb") as out:
        result = run(*transport, "head", "-c", "1000000", "/dev/zero", stdout=out)
    assert result.returncode == 125
    assert result.stderr.startswith(NO_SPACE)
    assert result.stderr.count(b"\n") == 1
    assert (small_disk / "out").stat().st_size >= 60_000


@every_transport
def test_a_file_size_limit(transport: tuple[str, ...], tmp_path: Path) -> None:
    """`ulimit -f` ends it with SIGXFSZ or a message, not with a traceback."""
    words = [*rprun_argv(), *transport, "head", "-c", "1000000", "/dev/zero"]
    result = subprocess.run(
        ["bash", "-c", 'ulimit -f 8; "$@" >out', "bash", *words],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        check=False,
        timeout=60,
    )
    if transport:
        assert result.returncode == 125
        assert b"rprun: cannot write to standard output: File too large" in result.stderr
    else:
        assert result.returncode == 128 + signal.SIGXFSZ
    assert b"Traceback" not in result.stderr
    assert (tmp_path / "out").stat().st_size == 8192


@every_transport
def test_a_closed_stdout(transport: tuple[str, ...]) -> None:
    """A command that writes nothing succeeds; one that writes fails as bare, or writes to its PTY."""
    quiet = run(*transport, "true", preexec_fn=lambda: os.close(1))
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    bare = subprocess.run(["printf", "x"], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1), check=False)
    loud = run(*transport, "printf", "x", preexec_fn=lambda: os.close(1))
    if transport == ("--pty",):
        assert (loud.returncode, loud.stderr) == (0, b"")
    else:
        assert (loud.returncode, loud.stderr) == (bare.returncode, bare.stderr)


@every_transport
def test_own_messages_with_nowhere_to_go(transport: tuple[str, ...]) -> None:
    """A failure that cannot be reported is still a status, without a traceback."""
    assert run(*transport, "no-such-command-anywhere", preexec_fn=lambda: os.close(2)).returncode == 127
    with open("/dev/full", "wb") as full:
        assert run(*transport, "no-such-command-anywhere", stderr=full).returncode == 127

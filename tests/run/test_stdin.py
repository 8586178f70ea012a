"""Piped stdin crosses a terminal unharmed: every byte, long lines, the end of file, with no echo."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from running import TRANSPORTS, clean_environment, read_until, rprun_argv, run, start, transport_id

if TYPE_CHECKING:
    from pathlib import Path

DATA = {
    "random": os.urandom(1_000_000),
    "one-long-line": b"x" * 20_000 + b"\n",
    "long-lines": (b"y" * 4095 + b"\n" + b"z" * 4096 + b"\n" + b"q" * 1024 + b"\n") * 5,
    "every-byte": bytes(range(256)) * 40,
    "keys": b"a\x03b\x1ac\x1cd\x04e\x15f\x17g\x16h\x7fi\x08j\x12k\x13l\x11m\x0fn\n" * 3 + b"\x04\x04\x16\x16\x03",
    "returns": b"a\r\nb\rc\n\r\r\n\n",
    "no-newline-at-the-end": b"abc\ndef",
    "newline-at-the-end": b"abc\ndef\n",
    "nothing": b"",
    "only-an-end-of-file-key": b"\x04",
    "exact-pieces": b"p" * 1024 + b"q" * 1024 + b"\n" + b"r" * 2048,
    "zeros": bytes(5000),
    "all-ones": b"\xff" * 5000,
}

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
every_source = pytest.mark.parametrize("source", ["pipe", "file"])


def run_with(source: str, data: bytes, tmp_path: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    """Run rprun with the data on its stdin, from a pipe or from a file."""
    if source == "pipe":
        return run(*args, input=data)
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "data").open("rb") as file:
        return run(*args, stdin=file)


@every_source
@every_transport
@pytest.mark.parametrize("name", DATA)
def test_bytes_arrive_unchanged(transport: tuple[str, ...], name: str, source: str, tmp_path: Path) -> None:
    """A checksum of stdin is the data's, and the command sees its end."""
    result = run_with(source, DATA[name], tmp_path, *transport, "sha256sum")
    assert result.stderr == b""
    assert result.stdout.split()[0].decode() == hashlib.sha256(DATA[name]).hexdigest()
    assert result.returncode == 0


@every_source
@every_transport
def test_nothing_is_echoed(transport: tuple[str, ...], source: str, tmp_path: Path) -> None:
    """What `rprun --pty cat` is given it shows once, without another newline."""
    result = run_with(source, b"abc\ndef", tmp_path, *transport, "cat")
    assert (result.returncode, result.stdout.replace(b"\r\n", b"\n")) == (0, b"abc\ndef")


@every_source
@every_transport
def test_the_end_of_file_stays_the_end(transport: tuple[str, ...], source: str, tmp_path: Path) -> None:
    """Who reads on after the end is told the end again, as a pipe does; a terminal by itself would not."""
    result = run_with(source, b"abc\n123", tmp_path, *transport, "sh", "-c", "cat; cat; cat; read x || echo end")
    assert (result.returncode, result.stdout.replace(b"\r\n", b"\n")) == (0, b"abc\n123end\n")


@every_transport
def test_data_arrives_as_it_comes(transport: tuple[str, ...]) -> None:
    """A line that is written is read at once, without waiting for more or for the end."""
    with start(*transport, "sh", "-c", "while read line; do echo got $line; done", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for word in (b"one", b"two", b"three"):
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            read_until(process.stdout.fileno(), b"got " + word)
        process.communicate()
    assert process.returncode == 0


@every_transport
def test_an_unfinished_line_arrives_as_it_comes(transport: tuple[str, ...]) -> None:
    """Bytes without a newline are not held back either: a pipe would not."""
    with start(*transport, "dd", "bs=3", "count=2", "status=none", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for piece in (b"abc", b"def"):
            process.stdin.write(piece)
            process.stdin.flush()
            read_until(process.stdout.fileno(), piece)
        process.communicate()
    assert process.returncode == 0


RAW = "stty raw -echo; echo ready; exec dd bs=1 count=8 status=none"


def test_a_raw_command_gets_bytes_unquoted() -> None:
    """After a change to raw mode no byte is quoted any more."""
    with start("--pty", "sh", "-c", RAW, stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        read_until(process.stdout.fileno(), b"ready")
        process.stdin.write(b"\x03\x04\x16\x1a\r\n\x00\xff")
        process.stdin.flush()
        assert read_until(process.stdout.fileno(), b"\xff").lstrip(b"\r\n") == b"\x03\x04\x16\x1a\r\n\x00\xff"
        process.communicate()
    assert process.returncode == 0


# Becomes raw once its data waits in the terminal; done at the same moment, quoting and mode could miss each other.
RAW_LATER = """
import os, select, sys, tty
select.select([0], [], [])
tty.setraw(0, 0)  # TCSANOW
data = b""
while len(data) < 8:
    data += os.read(0, 8)
os.write(1, data)
"""


@every_source
@pytest.mark.parametrize("data", [b"1234567\n", b"\x03\x04\x16\x1a\r567", b"abc\n\x03\x04\xff\x16"], ids=repr)
def test_data_that_was_there_before_the_command_became_raw(data: bytes, source: str, tmp_path: Path) -> None:
    """What was taken in canonical mode is read as the same bytes in raw mode."""
    result = run_with(source, data, tmp_path, "--pty", sys.executable, "-c", RAW_LATER)
    assert (result.returncode, result.stdout) == (0, data)


@every_transport
def test_a_stdin_that_nobody_ends(transport: tuple[str, ...]) -> None:
    """An open pipe without data does not keep rprun from ending with its command."""
    read, write = os.pipe()
    try:
        assert run(*transport, "sh", "-c", "exit 8", stdin=read).returncode == 8
    finally:
        os.close(read)
        os.close(write)


@every_transport
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("directory", marks=pytest.mark.xfail(reason="CPython does not start with a directory as stdin")),
        "write-only",
        "closed",
        "null",
    ],
)
def test_a_stdin_that_cannot_be_read(transport: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    """The command gets the error of a bare run, or on a PTY simply no data; rprun neither hangs nor complains."""
    flags = {"directory": os.O_RDONLY | os.O_DIRECTORY, "write-only": os.O_WRONLY | os.O_CREAT, "null": os.O_RDONLY}
    path = {"directory": str(tmp_path), "write-only": str(tmp_path / "file"), "null": "/dev/null"}
    descriptor = os.open("/dev/null" if kind == "closed" else path[kind], flags.get(kind, os.O_RDONLY))
    prepare = (lambda: os.close(0)) if kind == "closed" else None
    try:
        bare = subprocess.run(["cat"], stdin=descriptor, capture_output=True, check=False, preexec_fn=prepare)
        result = run(*transport, "cat", stdin=descriptor, preexec_fn=prepare)
    finally:
        os.close(descriptor)
    if transport == ("--pty",):
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    else:
        assert (result.returncode, result.stdout, result.stderr) == (bare.returncode, bare.stdout, bare.stderr)


@every_transport
def test_both_directions_at_once(transport: tuple[str, ...]) -> None:
    """A full duplex of two megabytes through cat does not lock up."""
    data = b"0123456789abcdef" * 131_072
    result = run(*transport, "cat", input=data)
    assert result.returncode == 0
    assert hashlib.sha256(result.stdout).hexdigest() == hashlib.sha256(data).hexdigest()


@every_transport
def test_an_endless_source_and_a_reader_that_leaves(transport: tuple[str, ...]) -> None:
    """`yes | rprun cat | head -c`: every process of the pipeline ends, with the statuses of a bare one."""
    words = [*rprun_argv(), *transport, "cat"]
    result = subprocess.run(
        ["bash", "-c", 'yes | "$@" | head -c 1000000 | wc -c; echo ${PIPESTATUS[*]}', "bash", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        timeout=60,
        check=False,
    )
    pipe = 128 + signal.SIGPIPE
    assert result.stdout.split() == [b"1000000", b"%d" % pipe, b"%d" % pipe, b"0", b"0"]
    assert result.stderr == b""


def test_keys_of_a_program_reach_a_python_prompt() -> None:
    """A command that reads lines through Python's own input() gets them all."""
    script = "import sys\nfor _ in range(3): print(input()[::-1])"
    result = run("--pty", sys.executable, "-c", script, input=b"abc\n\x03\x04\ntail\n")
    assert result.stdout.replace(b"\r\n", b"\n") == b"cba\n\x04\x03\nliat\n"

"""What the command does not read stays for whoever comes next."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from running import TRANSPORTS, clean_environment, rprun_argv, run, transport_id

if TYPE_CHECKING:
    from pathlib import Path

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
every_source = pytest.mark.parametrize("source", ["pipe", "file"])


def shell(script: str, transport: tuple[str, ...], source: str, data: bytes, tmp_path: Path) -> bytes:
    """Run a bash script in which "$@" is rprun, with the data on its stdin; return its stdout."""
    (tmp_path / "data").write_bytes(data)
    words = ["bash", "-c", script, "bash", *rprun_argv(), *transport]
    with (tmp_path / "data").open("rb") as file:
        feeder = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) if source == "pipe" else None
        stdin = feeder.stdout if feeder else file
        result = subprocess.run(
            words, stdin=stdin, stdout=subprocess.PIPE, env=clean_environment(), timeout=60, check=False
        )
        if feeder:
            assert feeder.stdout
            feeder.stdout.close()
            feeder.wait()
    return result.stdout.replace(b"\r\n", b"\n")


@every_source
@every_transport
def test_a_loop_over_lines_runs_for_each(transport: tuple[str, ...], source: str, tmp_path: Path) -> None:
    """`while read l; do rprun true; done` reads every line; ssh and script(1) eat the rest."""
    script = 'while read l; do "$@" true; echo $l; done'
    assert shell(script, transport, source, b"a\nb\nc\n", tmp_path) == b"a\nb\nc\n"


@every_source
@every_transport
def test_a_loop_whose_command_writes(transport: tuple[str, ...], source: str, tmp_path: Path) -> None:
    """The same with a command that takes its time and writes."""
    script = 'while read l; do "$@" sh -c "echo \\$0" $l; done'
    assert shell(script, transport, source, b"a\nb\nc\nd\ne\n", tmp_path) == b"a\nb\nc\nd\ne\n"


@every_transport
@pytest.mark.parametrize("count", [1, 3, 1000, 5000])
def test_the_rest_of_a_file_is_there_for_the_next(transport: tuple[str, ...], count: int, tmp_path: Path) -> None:
    """A command that reads one line of a file leaves the file's position after that line."""
    data = b"".join(b"line %d\n" % number for number in range(count))
    script = '"$@" sh -c "read x; echo got \\$x"; cat'
    assert shell(script, transport, "file", data, tmp_path) == b"got " + data


@every_transport
def test_head_leaves_the_rest_of_a_file(transport: tuple[str, ...], tmp_path: Path) -> None:
    """`(rprun head -1; cat) <file` shows the file: head gives back what it read too much, and so does rprun."""
    data = b"".join(b"line %d\n" % number for number in range(300))
    assert shell('"$@" head -n 1; cat', transport, "file", data, tmp_path) == data


@pytest.mark.parametrize("transport", TRANSPORTS[:2], ids=transport_id)
def test_the_rest_of_a_pipe_is_there_for_the_next(transport: tuple[str, ...], tmp_path: Path) -> None:
    """A shell that reads one line of a pipe byte by byte leaves the rest in it."""
    script = '"$@" sh -c "read x; echo got \\$x"; cat'
    assert shell(script, transport, "pipe", b"a\nb\nc\n", tmp_path) == b"got a\nb\nc\n"


@every_transport
def test_a_binary_file_is_given_back_to_the_byte(transport: tuple[str, ...], tmp_path: Path) -> None:
    """The position is counted in the file's bytes, not in quoted ones."""
    data = b"first\n" + bytes(range(256)).replace(b"\n", b"") * 30
    assert shell('"$@" sh -c "read x"; cat', transport, "file", data, tmp_path) == data[6:].replace(b"\r\n", b"\n")


@every_transport
@pytest.mark.parametrize("size", [5, 10_000_000])
def test_a_command_that_reads_nothing_consumes_nothing(transport: tuple[str, ...], size: int, tmp_path: Path) -> None:
    """The position of a file is untouched, and 10 MB do not have to be waited for."""
    (tmp_path / "data").write_bytes(b"x" * (size - 1) + b"\n")
    with (tmp_path / "data").open("rb", buffering=0) as file:
        file.seek(2)
        assert run(*transport, "sh", "-c", "exit 3", stdin=file).returncode == 3
        assert file.tell() == 2


@every_transport
def test_an_endless_pipe_that_is_not_read(transport: tuple[str, ...]) -> None:
    """`yes | rprun true` ends, and `yes` gets its SIGPIPE."""
    result = subprocess.run(
        ["bash", "-c", 'yes | "$@"; echo ${PIPESTATUS[*]}', "bash", *rprun_argv(), *transport, "true"],
        capture_output=True,
        env=clean_environment(),
        timeout=60,
        check=False,
    )
    assert (result.stdout, result.stderr) == (b"141 0\n", b"")


@every_transport
def test_a_pipe_that_is_not_read_keeps_its_bytes(transport: tuple[str, ...]) -> None:
    """A short message in a pipe is still there after a command that did not look at it."""
    read, write = os.pipe()
    try:
        os.write(write, b"message\n")
        assert run(*transport, "true", stdin=read).returncode == 0
        os.close(write)
        write = -1
        assert os.read(read, 100) == b"message\n"
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)

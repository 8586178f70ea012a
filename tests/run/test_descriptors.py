"""The command has exactly the descriptors that rprun was given; rprun keeps none of them from ending."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE, TRANSPORTS, read_all, read_until, rprun_argv, run, start, transport_id

from rprun.runner.session import _inherited

if TYPE_CHECKING:
    from pathlib import Path

LIST = """
import json, os, sys
found = {}
for number in range(1024):
    try:
        found[number] = [os.readlink(f"/proc/self/fd/{number}"), os.get_inheritable(number)]
    except OSError:
        pass
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
WITHOUT_PTY = pytest.mark.parametrize("transport", TRANSPORTS[:2], ids=transport_id)


def lister(tmp_path: Path) -> tuple[str, ...]:
    """Return a command that writes what it has open into `tmp_path/list`."""
    return sys.executable, "-I", "-c", LIST, str(tmp_path / "list")


def listed(tmp_path: Path) -> dict[int, list[object]]:
    """Return what such a command found, apart from the standard streams."""
    found = json.loads((tmp_path / "list").read_text())
    return {int(number): target for number, target in found.items() if int(number) > 2}


@every_transport
def test_exactly_those_that_were_passed(transport: tuple[str, ...], tmp_path: Path) -> None:
    """Files, pipes and a high number arrive; nothing of rprun's own does."""
    read, write = os.pipe()
    file = os.open(tmp_path / "given", os.O_RDWR | os.O_CREAT)
    high = fcntl.fcntl(file, fcntl.F_DUPFD, 200)
    passed = (read, write, file, high)
    try:
        subprocess.run(lister(tmp_path), pass_fds=passed, check=True)
        bare = listed(tmp_path)
        assert set(bare) == set(passed)
        assert run(*transport, *lister(tmp_path), pass_fds=passed).returncode == 0
        assert listed(tmp_path) == bare
        assert run(*transport, *lister(tmp_path)).returncode == 0
        assert listed(tmp_path) == {}
    finally:
        for descriptor in passed:
            os.close(descriptor)


@every_transport
@pytest.mark.parametrize("closed", [c for n in range(4) for c in itertools.combinations((0, 1, 2), n)], ids=str)
def test_closed_streams_stay_closed(transport: tuple[str, ...], closed: tuple[int, ...], tmp_path: Path) -> None:
    """Whatever is closed here is closed there, and what is opened later does not land on 0, 1 or 2."""

    def close() -> None:
        for number in closed:
            os.close(number)

    assert run(*transport, *lister(tmp_path), preexec_fn=close).returncode == 0
    found = json.loads((tmp_path / "list").read_text())
    missing = () if transport == ("--pty",) else closed
    assert {int(number) for number in found} == {0, 1, 2} - set(missing)


def test_a_jobserver_reaches_a_nested_make(tmp_path: Path) -> None:
    """`make -j2` shares its slots with a make that runs under rprun."""
    words = " ".join(f"'{word}'" for word in rprun_argv())
    (tmp_path / "Makefile").write_text(
        f"all: one two\none two:\n\t+@{words} --pipe -- $(MAKE) -f Makefile sub-$@\nsub-%:\n\t@echo done $*\n"
    )
    result = subprocess.run(["make", "-j2", "--no-print-directory"], cwd=tmp_path, capture_output=True, check=False)
    assert result.stderr == b""
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines()) == [b"done one", b"done two"]


@WITHOUT_PTY
def test_the_reader_sees_the_end_when_the_command_closes(transport: tuple[str, ...]) -> None:
    """Output that the command closes ends for its reader, though command and rprun go on.

    Not so stderr, which rprun keeps for what it may have to say itself.
    """
    with start(*transport, "sh", "-c", "echo out; exec >&-; read x", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert read_all(process.stdout.fileno(), timeout=10) == b"out\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait() == 1


@every_transport
def test_an_extra_pipe_ends_when_the_command_closes_it(transport: tuple[str, ...]) -> None:
    """Neither rprun nor its monitor holds a descriptor that was meant for the command."""
    read, write = os.pipe()
    with start(
        *transport,
        "bash",
        "-c",
        f"echo hello >&{write}; exec {write}>&-; read x; exit 4",
        stdin=subprocess.PIPE,
        pass_fds=(write,),
    ) as process:
        os.close(write)
        try:
            assert read_all(read) == b"hello\n"
            assert process.poll() is None
        finally:
            os.close(read)
            process.communicate(b"end\n")
    assert process.returncode == 4


@WITHOUT_PTY
def test_the_writer_sees_that_the_command_closed_its_stdin(transport: tuple[str, ...], tmp_path: Path) -> None:
    """A pipe to stdin breaks for its writer when the command closes it, though rprun goes on."""
    os.mkfifo(tmp_path / "fifo")
    read, write = os.pipe()
    with start(*transport, "sh", "-c", "exec <&-; read x <fifo; exit 4", stdin=read, cwd=tmp_path) as process:
        os.close(read)
        poller = select.poll()
        poller.register(write, 0)  # POLLERR is always reported: nobody reads any more.
        try:
            assert poller.poll(PATIENCE * 1000) == [(write, select.POLLERR)]
            assert process.poll() is None
        finally:
            os.close(write)
            (tmp_path / "fifo").write_text("end\n")
            process.communicate()
    assert process.returncode == 4


@every_transport
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_nothing_inherited_becomes_non_blocking(transport: tuple[str, ...], kind: str) -> None:
    """O_NONBLOCK belongs to the open file description, which the caller's other programs share."""
    pairs = [socket.socketpair() for _ in range(3)] if kind == "socket" else []
    ends = [(a.detach(), b.detach()) for a, b in pairs] or [os.pipe() for _ in range(3)]
    (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = ends
    shared = (stdin, stdout, stderr)
    script = "echo ready; read x; head -c 300000 /dev/zero; echo error >&2; exit 3"
    with start(*transport, "sh", "-c", script, stdin=stdin, stdout=stdout, stderr=stderr) as process:
        try:
            read_until(from_stdout, b"ready")
            assert [os.get_blocking(number) for number in shared] == [True] * 3
            os.write(to_stdin, b"go\n")
            os.close(stdin)
            # Kept open, they would not end for us either.
            flags = [os.get_blocking(number) for number in (stdout, stderr)]
            os.close(stdout)
            os.close(stderr)
            assert read_all(from_stdout).count(b"\0") == 300_000
            assert flags == [True] * 2
        finally:
            for number in (to_stdin, from_stdout, from_stderr):
                os.close(number)
    assert process.returncode == 3


@pytest.mark.parametrize("transport", TRANSPORTS[1:], ids=transport_id)
def test_a_non_blocking_stdout_loses_nothing(transport: tuple[str, ...]) -> None:
    """rprun waits for room where a write says EAGAIN; the flag stays as the caller set it."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with start(*transport, "head", "-c", "1000000", "/dev/zero", stdout=write) as process:
        assert not os.get_blocking(write)
        os.close(write)
        data = read_all(read)
        os.close(read)
    assert len(data) == 1_000_000
    assert process.returncode == 0


@every_transport
@pytest.mark.parametrize("option", ["file", "fd"])
def test_the_events_destination_is_not_the_commands(transport: tuple[str, ...], option: str, tmp_path: Path) -> None:
    """Neither an events file nor the descriptor of `--events fd:N` is open in the command."""
    file = os.open(tmp_path / "events", os.O_WRONLY | os.O_CREAT)
    destination = f"fd:{file}" if option == "fd" else str(tmp_path / "events")
    try:
        passed = (file,) if option == "fd" else ()
        run(*transport, "--json", "--events", destination, *lister(tmp_path), pass_fds=passed)
    finally:
        os.close(file)
    assert listed(tmp_path) == {}
    assert len((tmp_path / "events").read_text().splitlines()) == 2


def test_descriptors_of_threads_come_and_go(tmp_path: Path) -> None:
    """Those that are closed while the inherited ones are looked for, as programs are loaded then, are none of them."""
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            os.close(os.open(tmp_path, os.O_RDONLY))

    thread = threading.Thread(target=load)
    thread.start()
    read, write = os.pipe()
    os.set_inheritable(read, True)
    try:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            found = _inherited(f"fd:{write}")
            assert read in found
            assert write not in found
    finally:
        over.set()
        thread.join()
        os.close(read)
        os.close(write)

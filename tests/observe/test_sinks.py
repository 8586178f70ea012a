"""A sink writes whole lines to real pipes, terminals, sockets, FIFOs and disks, and waits for none of them."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rprun.errors import RprunError
from rprun.observe._destination import Destination
from rprun.observe.events import ObserverEvent
from rprun.observe.sinks import Sink, open_sink

NOBODY = 65534
LONG = "/" + "x" * 200_000


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """No test leaves a descriptor open."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of which either end may be closed by the test."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: its master and its slave."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def event(seq: int = 1, path: str = "/x") -> ObserverEvent:
    """Makes an event to write."""
    return ObserverEvent("file", "file-unlink", 1, 1, seq, path=path)


def line(seq: int = 1, path: str = "/x") -> bytes:
    """Gives the line of that event, without its end."""
    return event(seq, path).to_json().encode()


def to_fd(fd: int) -> Sink:
    """Opens a sink to a descriptor."""
    return open_sink(f"fd:{fd}", as_json=True)


def seqs(data: bytes) -> list[int]:
    """Gives the seq of every line, each of which must be whole."""
    return [json.loads(text)["seq"] for text in data.splitlines()]


def assert_shows(master: int, expected: bytes) -> None:
    """Reads a terminal, which hands on what was written to it in pieces of any size, and compares."""
    data = b""
    while len(data) < len(expected):
        data += os.read(master, len(expected) - len(data))
    assert data == expected
    assert not select.select([master], [], [], 0)[0]


def fill(fd: int) -> int:
    """Fills a pipe to the last byte and gives the number of bytes."""
    os.set_blocking(fd, False)
    count = 0
    for size in (65536, 4096, 1):
        try:
            while True:
                count += os.write(fd, b"." * size)
        except BlockingIOError:
            pass
    os.set_blocking(fd, True)
    return count


def test_a_file_is_made_empty_before_anything_is_written(tmp_path: Path) -> None:
    """It is created, or truncated, at the opening; lines follow as they come."""
    path = tmp_path / "events"
    path.write_text("old")
    sink = open_sink(str(path), as_json=True)
    assert path.read_bytes() == b""
    sink.put(event(1))
    assert path.read_bytes() == line(1) + b"\n"
    sink.put(event(2, LONG))
    assert not sink.wants_write()
    sink.finish()
    sink.finish()
    assert path.read_bytes() == line(1) + b"\n" + line(2, LONG) + b"\n"


def test_a_file_is_private_to_rprun(tmp_path: Path) -> None:
    """Its descriptor is close-on-exec, appends, and is none of the standard three."""
    sink = open_sink(str(tmp_path / "events"), as_json=True)
    assert sink.fileno() > 2
    assert not os.get_inheritable(sink.fileno())
    assert fcntl.fcntl(sink.fileno(), fcntl.F_GETFL) & os.O_APPEND
    sink.finish()
    assert sink.fileno() == -1


@pytest.mark.parametrize(
    "destination", ["/nonexistent/events", "/", "fd:987", "fd:x", "fd:-1", "fd:99999999999", "a\0b"]
)
def test_what_cannot_be_opened_is_one_line(destination: str) -> None:
    """The error names the destination, why, and what to try, with exit status 125."""
    with pytest.raises(RprunError) as caught:
        open_sink(destination, as_json=True)
    assert caught.value.status == 125
    assert destination in str(caught.value)
    assert str(caught.value).endswith(")")


def test_a_descriptor_for_reading_only_is_refused(pipe: tuple[int, int]) -> None:
    """fd:N must be open for writing."""
    with pytest.raises(RprunError, match="for reading only"):
        to_fd(pipe[0])


def test_a_given_descriptor_is_not_the_commands(pipe: tuple[int, int]) -> None:
    """fd:N from 3 on becomes close-on-exec, stays open at the end, and its description is never made nonblocking."""
    os.set_inheritable(pipe[1], True)
    sink = to_fd(pipe[1])
    sink.put(event())
    assert not os.get_inheritable(pipe[1])
    assert os.get_blocking(pipe[1])
    sink.finish()
    assert os.read(pipe[0], 65536) == line() + b"\n"
    os.write(pipe[1], b"still open")


def test_lines_for_people(pipe: tuple[int, int]) -> None:
    """Without JSON the same events are short lines."""
    sink = open_sink(f"fd:{pipe[1]}", as_json=False)
    sink.put(event())
    sink.finish()
    assert re.fullmatch(rb"rprun: [0-9:.]+ file-unlink pid=1 path=/x\n", os.read(pipe[0], 65536))


@pytest.mark.parametrize("reopened", [True, False])
def test_a_full_pipe_holds_nobody_up(pipe: tuple[int, int], reopened: bool) -> None:
    """What does not fit waits, in order, and goes as the reader makes room, line by whole line."""
    sink = to_fd(pipe[1])
    if not reopened:  # As on a system that does not give a second description of a pipe.
        sink.finish()
        sink = Sink(plain_destination(pipe[1]), as_json=True)
    filled = fill(pipe[1])
    for seq in (1, 2, 3):
        sink.put(event(seq))
    assert sink.wants_write()
    while filled:
        filled -= len(os.read(pipe[0], filled))
    assert select.select([], [sink], [], 0)[1]
    sink.on_writable()
    assert not sink.wants_write()
    assert seqs(os.read(pipe[0], 65536)) == [1, 2, 3]
    sink.finish()


def plain_destination(fd: int) -> Destination:
    """Makes a destination that has to do with the descriptor as it is."""

    class Plain(Destination):
        def _reopen(self) -> None:
            pass

    return Plain(f"fd:{fd}")


@pytest.mark.parametrize("reopened", [True, False])
def test_a_line_longer_than_a_pipe_is_completed_first(pipe: tuple[int, int], reopened: bool) -> None:
    """A line taken in part is `in_line` until the rest has gone, and no other comes between."""
    destination = Destination(f"fd:{pipe[1]}") if reopened else plain_destination(pipe[1])
    sink = Sink(destination, as_json=True)
    sink.put(event(1, LONG))
    sink.put(event(2))
    assert sink.in_line
    data = b""
    while sink.wants_write():
        data += os.read(pipe[0], 65536)
        sink.on_writable()
    assert not sink.in_line
    while data.count(b"\n") < 2:
        data += os.read(pipe[0], 65536)
    assert data == line(1, LONG) + b"\n" + line(2) + b"\n"
    sink.finish()


def test_past_the_backlog_events_are_counted(pipe: tuple[int, int]) -> None:
    """By number and by size: what waited is written, then a record of how many were not, all before the end."""
    for sizes in ({"max_lines": 2}, {"max_bytes": 2 * len(line())}):
        sink = Sink(Destination(f"fd:{pipe[1]}"), as_json=True, **sizes)
        filled = fill(pipe[1])
        for seq in range(1, 6):
            sink.put(event(seq))
        while filled:
            filled -= len(os.read(pipe[0], filled))
        sink.finish()
        first, second, lost = map(json.loads, os.read(pipe[0], 65536).splitlines())
        assert (first["seq"], second["seq"]) == (1, 2)
        assert (lost["kind"], lost["seq"], lost["count"]) == ("lost", 5, 3)


def test_many_at_once_to_a_file(tmp_path: Path) -> None:
    """The bytes are those of one after the other, also where the first is to start on a line of its own."""
    path = tmp_path / "events"
    sink = open_sink(str(path), as_json=True)
    sink.at_line_start = False
    sink.put_all([event(seq, LONG if seq == 100 else "/é\x7f") for seq in range(1, 201)])
    sink.put_all([])
    assert sink.at_line_start
    assert not sink.wants_write()
    sink.finish()
    lines = [line(seq, LONG if seq == 100 else "/é\x7f") for seq in range(1, 201)]
    assert path.read_bytes() == b"\n" + b"".join(text + b"\n" for text in lines)


def test_many_at_once_to_the_null_device() -> None:
    """As to a file: what is written to be measured, or because it has to go somewhere, costs no call for each line."""

    def calls() -> int:
        """How often this process has written, by its own account (proc_pid_io(5))."""
        return int(re.findall(r"^syscw: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)[0])

    sink = open_sink(os.devnull, as_json=True)
    events = [event(seq, "/x") for seq in range(1, 501)]
    before = calls()
    sink.put_all(events)
    assert 1 <= calls() - before <= 3
    sink.finish()


def test_a_pipe_gets_whole_lines_in_one_piece() -> None:
    """Each write to a pipe is of whole lines, as many as it takes at once and no more; a longer line goes alone."""
    read, write = os.pipe2(os.O_DIRECT)  # Each read(2) gives what one write(2) wrote: pipe(2).
    sink = Sink(plain_destination(write), as_json=True)
    events = [event(seq, "/" + "x" * (seq % 7 * 300)) for seq in range(1, 30)]
    sink.put_all(events)
    sink.finish()
    os.close(write)
    pieces = list(iter(lambda: os.read(read, 65536), b""))
    os.close(read)
    assert b"".join(pieces) == b"".join(e.to_json().encode() + b"\n" for e in events)
    assert all(piece.endswith(b"\n") and len(piece) <= select.PIPE_BUF for piece in pieces)
    assert all(len(a) + b.index(b"\n") >= select.PIPE_BUF for a, b in itertools.pairwise(pieces))


def test_a_datagram_is_one_line() -> None:
    """Of many at once each line is a message of its own."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        sink = to_fd(ours.fileno())
        sink.put_all([event(seq) for seq in (1, 2, 3)])
        sink.finish()
        assert [theirs.recv(65536) for _ in range(3)] == [line(seq) + b"\n" for seq in (1, 2, 3)]


def test_many_at_once_to_a_terminal(terminal: tuple[int, int]) -> None:
    """A raw one gets CR LF at the end of each."""
    master, slave = terminal
    tty.setraw(slave)
    sink = to_fd(slave)
    sink.at_line_start = False
    sink.put_all([event(1), event(2)])
    sink.finish()
    assert_shows(master, b"\r\n" + line(1) + b"\r\n" + line(2) + b"\r\n")


@given(
    st.lists(st.lists(st.sampled_from([1, 50, 1000, 3900, 4096, 9000]), max_size=90), max_size=4),
    st.integers(1, 9000),
    st.booleans(),
    st.sampled_from([(3, 1 << 20), (1000, 5000), (1000, 1 << 20)]),
)
def test_many_at_once_over_a_small_pipe(
    puts: list[list[int]], piece: int, reopened: bool, bounds: tuple[int, int]
) -> None:
    """Whatever is taken in part, lines come whole and in order, and what is missing is counted in its place."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(read, False)
    sink = Sink(Destination(f"fd:{write}") if reopened else plain_destination(write), True, *bounds)
    put, data = [], b""
    for sizes in puts:
        events = [event(len(put) + number, "/" + "x" * size) for number, size in enumerate(sizes, 1)]
        put += events
        sink.put_all(events)
        try:
            data += os.read(read, piece)
        except BlockingIOError:
            pass
    while sink.wants_write():
        sink.on_writable()
        try:
            data += os.read(read, 65536)
        except BlockingIOError:
            pass
    assert not sink.in_line
    sink.finish()
    os.close(write)
    data += b"".join(iter(lambda: os.read(read, 65536), b""))
    os.close(read)
    assert data == b"" or data.endswith(b"\n")
    seq = 0
    for text in data.splitlines():
        record = json.loads(text)
        if record["kind"] == "lost":
            seq += record["count"]
        else:
            seq += 1
            assert text == put[seq - 1].to_json().encode()
        assert record["seq"] == seq
    assert seq == len(put)


def test_a_reader_that_leaves_in_the_middle(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    """Of many at once that wait in part, nothing is kept and one line says so."""
    sink = to_fd(pipe[1])
    filled = fill(pipe[1])
    os.read(pipe[0], 8192)
    sink.put_all([event(seq, "/" + "x" * 1000) for seq in range(1, 100)])
    assert sink.wants_write()
    assert filled
    os.close(pipe[0])
    sink.put_all([event(seq) for seq in range(100, 300)])
    assert not sink.wants_write()
    assert sink.fileno() == -1
    sink.put_all([event(300)])
    sink.finish()
    assert re.fullmatch(r"rprun: events: cannot write fd:\d+: Broken pipe \(.*\)\n", capfd.readouterr().err)


@pytest.mark.parametrize("limit", [1, 500, 5000])
def test_a_file_that_is_full_in_the_middle(tmp_path: Path, limit: int) -> None:
    """What there is room for is written, to the byte, then one line says that there is no more."""
    path = tmp_path / "events"
    more = 'sink.put_all([ObserverEvent("lifecycle", "started", 1, 1, n) for n in range(2, 200)])'
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    result = run(str(path), before=limited, after=more)
    assert result.returncode == 0
    assert re.fullmatch(rb"rprun: events: cannot write .*: File too large \(.*\)\n", result.stderr)
    expected = b"".join(
        ObserverEvent("lifecycle", "started", 1, 1, n).to_json().encode() + b"\n" for n in range(1, 200)
    )
    assert path.read_bytes() == expected[:limit]


def test_finish_waits_for_a_slow_reader(pipe: tuple[int, int]) -> None:
    """A reader that comes before the deadline gets everything."""
    sink = to_fd(pipe[1])
    filled = fill(pipe[1])
    sink.put(event())
    data: list[bytes] = []

    def read() -> None:
        left = filled + len(line()) + 1
        while left:
            data.append(os.read(pipe[0], left))
            left -= len(data[-1])

    reader = threading.Thread(target=read)
    reader.start()
    sink.finish(60)
    reader.join()
    assert b"".join(data).endswith(line() + b"\n")


def test_finish_gives_up_and_says_so(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    """A reader that never reads costs the time given, and one line tells how many events it missed."""
    sink = to_fd(pipe[1])
    fill(pipe[1])
    sink.put(event(1))
    sink.put(event(2))
    before = time.monotonic()
    sink.finish(0.05)
    assert time.monotonic() - before < 2
    assert re.fullmatch(r"rprun: events: 2 events not written to fd:\d+: .* \(.*\)\n", capfd.readouterr().err)


def test_a_full_disk_is_reported_once(capfd: pytest.CaptureFixture[str]) -> None:
    """The failure is one line; the sink is detached and the run can go on putting."""
    sink = open_sink("/dev/full", as_json=True)
    for seq in (1, 2, 3):
        sink.put(event(seq))
    assert not sink.wants_write()
    assert sink.fileno() == -1
    sink.finish()
    error = capfd.readouterr().err
    assert re.fullmatch(r"rprun: events: cannot write /dev/full: No space left on device \(.*\)\n", error)


def test_a_reader_that_leaves_is_reported_once(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    """EPIPE is one line, not a signal and not a traceback."""
    sink = to_fd(pipe[1])
    os.close(pipe[0])
    sink.put(event(1))
    sink.put(event(2))
    sink.finish()
    assert re.fullmatch(r"rprun: events: cannot write fd:\d+: Broken pipe \(.*\)\n", capfd.readouterr().err)


def test_a_raw_terminal_gets_cr_lf(terminal: tuple[int, int]) -> None:
    """The end of a line follows the terminal's mode at the moment it is written."""
    master, slave = terminal
    sink = to_fd(slave)
    sink.put(event(1))
    assert_shows(master, line(1) + b"\r\n")  # Added by the terminal itself.
    tty.setraw(slave)
    sink.put(event(2))
    assert_shows(master, line(2) + b"\r\n")
    attributes = termios.tcgetattr(slave)
    attributes[1] |= termios.OPOST
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    sink.put(event(3))
    assert_shows(master, line(3) + b"\n")
    sink.finish()


def test_a_stopped_terminal_holds_nobody_up(terminal: tuple[int, int]) -> None:
    """After ^S lines wait; after ^Q they come."""
    master, slave = terminal
    sink = to_fd(slave)
    termios.tcflow(slave, termios.TCOOFF)
    sink.put(event())
    assert sink.wants_write()
    assert not sink.in_line
    termios.tcflow(slave, termios.TCOON)
    sink.finish(60)
    assert_shows(master, line() + b"\r\n")


@pytest.mark.parametrize("raw", [False, True])
def test_a_line_starts_at_the_start_of_a_line(terminal: tuple[int, int], raw: bool) -> None:
    """Where the command has written half a line to the same place, a newline comes first, once."""
    master, slave = terminal
    if raw:
        tty.setraw(slave)
    sink = to_fd(slave)
    os.write(slave, b"prompt> ")
    sink.at_line_start = False
    sink.put(event(1))
    sink.put(event(2))
    sink.finish()
    assert_shows(master, b"prompt> \r\n" + line(1) + b"\r\n" + line(2) + b"\r\n")


def test_a_newline_in_front_is_decided_when_the_line_is_written(pipe: tuple[int, int]) -> None:
    """What the command wrote while a line waited counts."""
    sink = to_fd(pipe[1])
    filled = fill(pipe[1])
    sink.put(event())
    while filled:
        filled -= len(os.read(pipe[0], filled))
    sink.at_line_start = False
    sink.on_writable()
    assert os.read(pipe[0], 65536) == b"\n" + line() + b"\n"
    sink.finish()


def test_a_fifo_that_nobody_reads_holds_nobody_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Opening it does not wait, nothing asks the loop to, and at the end one line says what was not written."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    sink = open_sink(str(path), as_json=True)
    sink.put(event())
    assert not sink.wants_write()
    sink.finish(0.05)
    assert "1 event not written to" in capfd.readouterr().err


def test_a_fifo_whose_reader_comes_late_gets_everything(tmp_path: Path) -> None:
    """What was put before its first reader came is kept for it, until the end and a little longer."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    sink = open_sink(str(path), as_json=True)
    sink.put(event(1))
    data: list[bytes] = []
    reader = threading.Thread(target=lambda: data.append(path.read_bytes()))
    reader.start()
    sink.put(event(2))
    sink.finish(60)
    reader.join()
    assert seqs(data[0]) == [1, 2]


def test_a_fifo_that_may_only_be_written_to_needs_its_reader_first() -> None:
    """Without the right to read it there is no way to open it early, and the error says what is missing."""
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "fifo")
    os.chmod(directory, 0o755)
    os.mkfifo(path)
    os.chmod(path, 0o222)
    uid = os.geteuid()
    try:
        if uid == 0:  # Root may read anything, unless it has no capability; then it cannot change its id either.
            with contextlib.suppress(PermissionError):
                os.seteuid(NOBODY)
        with pytest.raises(RprunError, match="nobody reads it"):
            open_sink(path, as_json=True)
    finally:
        os.seteuid(uid)
        shutil.rmtree(directory)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_holds_nobody_up(kind: socket.SocketKind) -> None:
    """A socket, such as the journal's, takes lines without its description being made nonblocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        sink = Sink(Destination(f"fd:{ours.fileno()}"), as_json=True, max_lines=10_000)
        seq = 0
        while not sink.wants_write():
            seq += 1
            sink.put(event(seq))
        assert os.get_blocking(ours.fileno())
        data = b""
        while sink.wants_write() or data.count(b"\n") < seq:
            data += theirs.recv(1 << 20)
            sink.on_writable()
        assert seqs(data) == list(range(1, seq + 1))
        sink.finish()


STDERR_RUN = """
import os, sys
from rprun.errors import RprunError
from rprun.observe.events import ObserverEvent
from rprun.observe.sinks import open_sink
{before}
try:
    sink = open_sink({destination!r}, as_json=True)
except RprunError as error:
    print(error)
    sys.exit(error.status)
sink.put(ObserverEvent("lifecycle", "started", 1, 1, 1))
{after}
sink.finish()
"""


def run(destination: str, before: str = "", after: str = "") -> subprocess.CompletedProcess[bytes]:
    """Runs a sink in a process whose standard error is a pipe."""
    code = STDERR_RUN.format(destination=destination, before=before, after=after)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)


def test_standard_error_is_the_default() -> None:
    """`-` is stderr, which stays open and inheritable."""
    result = run("-", after="assert os.get_inheritable(2); sink.finish(); os.write(2, b'after\\n')")
    assert result.returncode == 0
    assert result.stderr.splitlines()[1:] == [b"after"]
    assert seqs(result.stderr.splitlines()[0]) == [1]


def test_a_standard_descriptor_by_number_stays_the_commands() -> None:
    """fd:1 is the command's standard output too, and is not taken from it."""
    result = run("fd:1", after="assert os.get_inheritable(1)")
    assert result.returncode == 0
    assert seqs(result.stdout) == [1]


def test_a_closed_standard_error_is_an_error() -> None:
    """Events cannot go to a stderr that is not there."""
    result = run("-", before="os.close(2)")
    assert result.returncode == 125
    assert result.stdout.startswith(b"--events -: standard error is not open")


def test_a_file_never_becomes_a_standard_stream(tmp_path: Path) -> None:
    """Where one of the three is closed, the file does not get its number."""
    result = run(str(tmp_path / "events"), before="os.close(0)", after="assert sink.fileno() > 2")
    assert result.returncode == 0, result.stderr
    assert seqs((tmp_path / "events").read_bytes()) == [1]


def test_a_file_size_limit_is_reported(tmp_path: Path) -> None:
    """EFBIG is a failed destination like any other, not a killed run."""
    path = tmp_path / "events"
    result = run(str(path), before="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))")
    assert result.returncode == 0
    assert re.fullmatch(rb"rprun: events: cannot write .*: File too large \(.*\)\n", result.stderr)

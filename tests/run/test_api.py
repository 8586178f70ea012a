"""`rprun.Process` and `rprun.run`: the same runs from Python, from any thread, with nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from running import PATIENCE, children_of, clean_environment, is_running, wait_gone, wait_until

import rprun
from rprun import CAPTURE, NotExecutable, NotFound, Process, RprunError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

RELAYS = pytest.mark.parametrize("transport", ["pipe", "pty"])


class Lines:
    """An `output` that keeps what comes and lets a test wait for a piece of it."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        self._changed = threading.Condition()

    def __call__(self, name: str, data: bytes) -> None:
        """Take what the relaying thread brings."""
        with self._changed:
            self.data[name] += data
            self._changed.notify_all()

    def wait_for(self, marker: bytes, name: str = "stdout") -> bytes:
        """Wait until the marker has come; return everything so far."""
        with self._changed:
            assert self._changed.wait_for(lambda: marker in self.data[name], PATIENCE), self.data
            return self.data[name]


@RELAYS
def test_run_captures_output_and_status(transport: str) -> None:
    """`run` returns the ended process with what it wrote; a PTY's output is all in `stdout`."""
    process = rprun.run(["sh", "-c", "echo out; echo err >&2; exit 5"], transport=transport, output=CAPTURE)
    assert process.returncode == process.poll() == process.wait() == 5
    if transport == "pipe":
        assert (process.stdout, process.stderr) == (b"out\n", b"err\n")
    else:
        assert (process.stdout, process.stderr) == (b"out\r\nerr\r\n", b"")
    assert process.drained
    assert process.limit == ""


@RELAYS
def test_a_death_is_negative(transport: str) -> None:
    """`returncode` is the negative number of the signal."""
    assert rprun.run(["sh", "-c", "kill -KILL $$"], transport=transport, output=CAPTURE).returncode == -9


@RELAYS
def test_what_cannot_be_started(transport: str, tmp_path: Path) -> None:
    """The exception says what kind of failure it was; each knows the exit status of the command line."""
    for command, error, status in (
        (["no-such-command-anywhere"], NotFound, 127),
        (["/etc/passwd"], NotExecutable, 126),
        (["true", "x" * 200_000], NotExecutable, 126),
    ):
        with pytest.raises(error) as caught:
            rprun.run(command, transport=transport, output=CAPTURE)
        assert caught.value.status == status
    with pytest.raises(RprunError, match="cannot change to directory"):
        rprun.run(["true"], cwd=tmp_path / "none", transport=transport, output=CAPTURE)


@pytest.mark.parametrize(
    "arguments",
    [
        {"argv": "ls -l"},
        {"argv": []},
        {"argv": ["true"], "transport": "tty"},
        {"argv": ["true"], "orphans": "adopt"},
        {"argv": ["true"], "stdin": "keyboard"},
        {"argv": ["true"], "size": (0, 24)},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any]) -> None:
    """They are refused when the process is described, not when it runs."""
    with pytest.raises(UsageError):
        Process(**arguments)


@RELAYS
def test_input_and_its_end(transport: str) -> None:
    """`write` feeds stdin, `close_stdin` ends it; keys to a terminal are echoed by it."""
    with Process(["cat"], transport=transport, output=CAPTURE) as process:
        process.write(b"one\n")
        process.write(b"two\n")
        process.close_stdin()
        assert process.wait(PATIENCE) == 0
    if transport == "pipe":
        assert process.stdout == b"one\ntwo\n"
    else:
        assert sorted(process.stdout.split()) == [b"one", b"one", b"two", b"two"]


def test_writing_waits_for_the_reader() -> None:
    """A `write` of more than a pipe holds blocks until the command takes it, and everything arrives."""
    data = os.urandom(3_000_000)
    with Process(["sh", "-c", "sleep 0.1; cat"], transport="pipe", output=CAPTURE) as process:
        process.write(data)
        process.close_stdin()
    assert process.stdout == data


def test_writing_to_nobody_is_a_broken_pipe() -> None:
    """A command that has closed its stdin, or has ended, takes no more input."""
    lines = Lines()
    with Process(["sh", "-c", "exec <&-; echo closed; exec sleep 1000"], transport="pipe", output=lines) as process:
        lines.wait_for(b"closed")
        with pytest.raises(BrokenPipeError):
            process.write(b"x" * 10_000_000)
        process.kill()
    with pytest.raises(BrokenPipeError):
        process.write(b"x")


def test_a_writer_that_waits_is_released_by_the_end() -> None:
    """A `write` in another thread does not hang when the command ends without reading."""
    outcome: list[BaseException] = []
    with Process(["sleep", "1000"], transport="pipe", output=CAPTURE) as process:

        def write() -> None:
            try:
                process.write(b"x" * 10_000_000)
            except BrokenPipeError as error:
                outcome.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        process.kill()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(outcome) == 1


def test_two_writers_that_wait() -> None:
    """Both `write`s return once their own bytes are taken, whichever came first."""
    finished: list[int] = []
    with Process(["sh", "-c", "sleep 0.2; wc -c; exit 3"], transport="pipe", output=CAPTURE) as process:

        def write(number: int) -> None:
            with suppress(BrokenPipeError):
                process.write(b"x" * 500_000)
                finished.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE / 2)
        assert sorted(finished) == [0, 1, 2]
        process.close_stdin()
        assert process.wait(PATIENCE) == 3
    assert process.stdout.strip() == b"1500000"


def test_own_stdin_cannot_be_written_to() -> None:
    """With `stdin="inherit"` there is nothing to write to."""
    with Process(["sleep", "1000"], transport="pipe", stdin="inherit", output=CAPTURE) as process:
        with pytest.raises(UsageError):
            process.write(b"x")
        process.kill()


def test_the_size_of_the_terminal() -> None:
    """`size` is there from the start, `resize` is told to the command."""
    lines = Lines()
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"
    with Process(["sh", "-c", script], transport="pty", size=(101, 37), output=lines) as process:
        lines.wait_for(b"37 101")
        process.resize(66, 22)
        lines.wait_for(b"22 66")
        with pytest.raises(UsageError):
            process.resize(0, 5)
        process.kill()
    assert process.returncode == -signal.SIGKILL


@RELAYS
@pytest.mark.parametrize("how", ["send_signal", "terminate", "kill", "interrupt", "close"])
def test_ending_it(transport: str, how: str) -> None:
    """Every way to end a command ends it, and says by what."""
    lines = Lines()
    process = Process(["sh", "-c", "echo ready; exec sleep 1000"], transport=transport, output=lines).start()
    lines.wait_for(b"ready")
    assert process.poll() is None
    assert process.pid
    assert is_running(process.pid)
    if how == "send_signal":
        process.send_signal(signal.SIGUSR1)
    else:
        getattr(process, how)()
    expected = {"send_signal": signal.SIGUSR1, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}
    assert process.wait(PATIENCE) == -expected.get(how, signal.SIGKILL)
    process.close()
    process.close()
    for late in (process.kill, process.terminate, process.interrupt):
        late()


def test_terminate_ends_the_whole_tree() -> None:
    """The ladder reaches children, and what ignores its first signal."""
    lines = Lines()
    script = "sh -c 'trap \"\" TERM; echo ready $$; while :; do sleep 1000; done' & wait"
    with Process(["sh", "-c", script], transport="pipe", output=lines, kill_after=0.1, orphans="report") as process:
        pid = int(lines.wait_for(b"\n").split()[1])
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        wait_gone(pid)


@RELAYS
def test_waiting_with_a_deadline(transport: str) -> None:
    """`wait` gives up after its time and leaves the command alone."""
    with Process(["sleep", "1000"], transport=transport, output=CAPTURE) as process:
        with pytest.raises(TimeoutError):
            process.wait(0.05)
        assert process.poll() is None
        process.kill()


def test_limits() -> None:
    """`limit` names what ended it."""
    assert rprun.run(["sleep", "1000"], transport="pipe", output=CAPTURE, timeout=0.1).limit == "timeout"
    assert rprun.run(["sleep", "1000"], transport="pty", output=CAPTURE, idle_timeout=0.1).limit == "idle-timeout"


def test_it_is_started_once() -> None:
    """A second start is refused and does not disturb the first; before the first nothing can be asked of it."""
    process = Process(["sh", "-c", "exit 4"], transport="pipe", output=CAPTURE)
    assert process.poll() is None
    assert process.pid is None
    for early in (process.wait, process.kill, process.close_stdin, lambda: process.write(b"x")):
        with pytest.raises(UsageError):
            early()
    process.close()
    process.start()
    with pytest.raises(UsageError):
        process.start()
    assert process.wait(PATIENCE) == 4
    with pytest.raises(UsageError):
        process.start()


def test_several_threads_at_once() -> None:
    """Any thread may wait, poll and write; all see the same end."""
    codes: list[int] = []
    with Process(["sh", "-c", "sort -u | wc -l; exit 3"], transport="pipe", output=CAPTURE) as process:

        def use(number: int) -> None:
            for line in range(50):
                process.write(b"%d %d\n" % (number, line))

        writers = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        waiters = [threading.Thread(target=lambda: codes.append(process.wait(PATIENCE))) for _ in range(4)]
        for thread in writers + waiters:
            thread.start()
        for thread in writers:
            thread.join(PATIENCE)
        process.close_stdin()
        for thread in waiters:
            thread.join(PATIENCE)
    assert process.stdout.strip() == b"400"
    assert codes == [3] * 4


def test_many_processes_at_once() -> None:
    """Processes of one program do not inherit each other's descriptors, and do not wait for each other."""
    processes = [
        Process(["sh", "-c", f"read x; ls /proc/self/fd | wc -l; exit {n}"], transport="pipe", output=CAPTURE).start()
        for n in range(12)
    ]
    for process in processes:
        process.write(b"go\n")
    assert [process.wait(PATIENCE) for process in processes] == list(range(12))
    assert {process.stdout.strip() for process in processes} == {b"4"}
    for process in processes:
        process.close()


def test_an_exception_in_the_block_ends_the_command() -> None:
    """Leaving a `with` by an exception kills the command; nothing of it stays."""
    with pytest.raises(KeyError), Process(["sleep", "1000"], transport="pipe", output=CAPTURE) as process:  # noqa: PT012
        pid = process.pid
        raise KeyError
    assert process.returncode == -signal.SIGKILL
    assert pid
    assert not is_running(pid)


def test_an_output_that_fails() -> None:
    """An exception in a caller's function reaches whoever waits, and the command does not stay."""

    def fail(_name: str, _data: bytes) -> None:
        raise ZeroDivisionError

    process = Process(["sh", "-c", "echo hello; exec sleep 1000"], transport="pipe", output=fail).start()
    with pytest.raises(ZeroDivisionError):
        process.wait(PATIENCE)
    process.close()


def test_a_program_that_never_waits(tmp_path: Path) -> None:
    """The relay goes on until the command ends, though the main thread is done; its output is complete."""
    script = "import rprun; rprun.Process(['sh', '-c', 'sleep 0.2; seq 1 10000; exit 3'], transport='pipe').start()"
    result = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        env=clean_environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert result.stderr == b""
    assert result.stdout.split() == [b"%d" % number for number in range(1, 10_001)]


def test_the_environment_and_directory_of_the_command(tmp_path: Path) -> None:
    """`env` is the whole environment, `cwd` may be a Path, and the caller's own stay as they are."""
    before = (os.getcwd(), dict(os.environ))
    process = rprun.run(["/usr/bin/env"], env={"A": "1", "B": "\udcff"}, cwd=tmp_path, transport="pipe", output=CAPTURE)
    assert process.stdout == b"A=1\nB=\xff\n"
    assert rprun.run(["pwd"], cwd=tmp_path, transport="pipe", output=CAPTURE).stdout.strip() == os.fsencode(tmp_path)
    assert (os.getcwd(), dict(os.environ)) == before


def test_the_callers_signals_stay_as_they_are() -> None:
    """A program's handlers, mask and SIGCHLD are its own; a command starts without what Python ignores."""
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    process = rprun.run(["grep", "SigIgn", "/proc/self/status"], transport="pipe", output=CAPTURE)
    assert int(process.stdout.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


@RELAYS
def test_an_observed_process(transport: str) -> None:
    """The subscriber gets the start and the end, once each, whoever sees the end first."""
    config = rprun.ObserverConfig.lifecycle()
    process, events = Process.with_observer(["sh", "-c", "exit 6"], config, transport=transport, output=CAPTURE)
    with process:
        wait_until(lambda: process.poll() is not None)
        process.wait()
    process.close()
    found = list(events)
    assert [event.kind for event in found] == [rprun.ObserverEventKind.STARTED, rprun.ObserverEventKind.EXITED]
    assert {event.pid for event in found} == {process.pid}
    assert events.recv() is None
    events.close()


def test_an_observed_process_without_a_reader() -> None:
    """A subscriber that nobody reads holds up neither the command nor the end."""
    config = rprun.ObserverConfig.lifecycle()
    process, events = Process.with_observer(["true"], config, transport="pipe", output=CAPTURE)
    with process:
        pass
    assert process.returncode == 0
    events.close()


def test_a_failed_start_ends_the_events() -> None:
    """Who waits for events of a command that could not be started is told that none will come."""
    config = rprun.ObserverConfig.lifecycle()
    process, events = Process.with_observer(["/no/such"], config, transport="pipe", output=CAPTURE)
    with pytest.raises(NotFound):
        process.start()
    assert events.recv_timeout(PATIENCE) is None
    process.close()
    events.close()


def test_nothing_is_left_after_many() -> None:
    """Descriptors, threads and children are those of before."""
    rprun.run(["true"], transport="pty", output=CAPTURE)
    before = (len(os.listdir("/proc/self/fd")), threading.active_count(), children_of(os.getpid()))
    for transport in ("pipe", "pty") * 10:
        rprun.run(["true"], transport=transport, output=CAPTURE)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count(), children_of(os.getpid())) == before


def test_the_public_names() -> None:
    """Everything in `__all__` is there, and importing the package loads none of it."""
    for name in rprun.__all__:
        assert getattr(rprun, name) is not None
    script = "import sys, rprun; print([name for name in sys.modules if name.startswith('rprun.')])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert result.stdout.strip() == b"[]"

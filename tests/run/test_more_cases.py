"""Cases that other runners of commands got wrong and that no other file here is about, each shown once."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from running import PATIENCE, TRANSPORTS, children_of, read_until, run, start, stat_fields, transport_id, wait_until

import rprun

if TYPE_CHECKING:
    from pathlib import Path

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)

CLONE_NEWNS = 0x00020000
MS_REC_PRIVATE = 0x4000 | 0x40000
MS_BIND = 0x1000


def mounted(*mounts: tuple[bytes, bytes, bytes, int, bytes]) -> None:
    """Mount these in a mount namespace of this process's own; to be called between fork and exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps: list[Any] = [lambda: libc.unshare(CLONE_NEWNS), lambda: libc.mount(b"none", b"/", b"", MS_REC_PRIVATE, None)]
    steps += [lambda mount=mount: libc.mount(*mount) for mount in mounts]
    for step in steps:
        if step() != 0:
            raise OSError(ctypes.get_errno(), "cannot mount")


@pytest.fixture
def as_root() -> None:
    """Skips where nothing may be mounted and no pid chosen."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount file systems and choose pids")


@pytest.mark.usefixtures("as_root")
def test_no_terminal_is_left() -> None:
    """Where the last PTY is taken, or the second one of a run: 125, one line with a way out, and nothing has run."""

    def one_terminal() -> None:
        mounted(
            (b"devpts", b"/dev/pts", b"devpts", 0, b"newinstance,max=1,ptmxmode=0666"),
            (b"/dev/pts/ptmx", b"/dev/ptmx", b"", MS_BIND, b""),
        )

    assert run("--pty", "echo", "hi", preexec_fn=one_terminal).stdout == b"hi\r\n"
    result = run("--pty", "--split-stderr", "echo", "hi", preexec_fn=one_terminal)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (125, b"", 1)
    assert result.stderr.startswith(b"rprun: cannot open a terminal for the command: ")
    assert b"--pipe" in result.stderr


@pytest.mark.usefixtures("as_root")
def test_a_system_without_terminals() -> None:
    """Without /dev/ptmx `--pty` is an error of one line, and a run that needs no terminal needs none."""

    def none() -> None:
        mounted((b"tmpfs", b"/dev/pts", b"tmpfs", 0, b""), (b"/dev/null", b"/dev/ptmx", b"", MS_BIND, b""))

    result = run("--pty", "echo", "hi", preexec_fn=none)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (125, b"", 1)
    assert run("echo", "hi", preexec_fn=none).stdout == b"hi\n"


@every_transport
def test_descriptors_run_out(transport: tuple[str, ...]) -> None:
    """Wherever in a start it happens: 125 and one line, or the command runs."""
    outcomes = set()
    for limit in range(9, 24):

        def few(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        result = run(*transport, "echo", "hi", preexec_fn=few)
        if result.returncode == 0:
            assert result.stdout.replace(b"\r", b"") == b"hi\n"
        else:
            assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (125, b"", 1), result.stderr
        outcomes.add(result.returncode)
    assert 0 in outcomes


PENDING = "import signal; print(sorted(map(int, signal.sigpending())))"


@every_transport
def test_no_signal_comes_with_the_start(transport: tuple[str, ...]) -> None:
    """A command that blocks every signal finds none waiting: setting up its terminal has sent it no HUP or CONT."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    result = run(*transport, sys.executable, "-I", "-S", "-c", PENDING, preexec_fn=block)
    assert (result.returncode, result.stdout.strip()) == (0, b"[]")


# What the kernel tells rprun of its own children and writes. No command's business.
OWN = [signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ]
SAYS = f"""
import os, signal
def say(number, frame):
    os.write(1, b"<%d>" % number)
for number in {[int(number) for number in [*OWN, signal.SIGUSR1]]}:
    signal.signal(number, say)
os.write(1, b"ready")
while os.read(0, 100):
    pass
"""


@every_transport
def test_its_own_signals_are_not_passed_on(transport: tuple[str, ...]) -> None:
    """CHLD, PIPE and XFSZ sent to rprun do not reach the command."""
    with start(*transport, sys.executable, "-I", "-S", "-c", SAYS, stdin=subprocess.PIPE) as process:
        assert process.stdout
        read_until(process.stdout.fileno(), b"ready")
        for number in (*OWN, signal.SIGUSR1):
            process.send_signal(number)
        assert read_until(process.stdout.fileno(), b">") == b"<%d>" % signal.SIGUSR1
        process.communicate()
    assert process.returncode == 0


@every_transport
@pytest.mark.parametrize("policy", ["leave", "report", "wait", "kill"])
def test_orphans_that_end_first(transport: tuple[str, ...], policy: str) -> None:
    """Orphans that end before the command are reaped, and their status is not taken for the command's."""
    script = "for i in 1 2 3 4 5; do (sh -c 'exit 3' &) ; done; echo $PPID; read x; exit 7"
    with start(*transport, "--orphans", policy, "sh", "-c", script, stdin=subprocess.PIPE) as process:
        assert process.stdout
        monitor = int(read_until(process.stdout.fileno(), b"\n"))
        wait_until(lambda: len(children_of(monitor)) == 1, "end of the orphans")
        assert all(stat_fields(pid)[0] != "Z" for pid in children_of(monitor))
        process.communicate(b"\n", timeout=PATIENCE)
    assert process.returncode == 7


def with_pid(pid: int) -> subprocess.Popen[bytes]:
    """Start a process that has this pid, once that is free."""

    def attempt() -> subprocess.Popen[bytes] | None:
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
            file.write(str(pid - 1))
        process = subprocess.Popen(["sleep", "1000"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
        return None

    found: subprocess.Popen[bytes] = wait_until(attempt, f"a process {pid}")
    return found


@pytest.mark.usefixtures("as_root")
def test_a_signal_after_the_end_goes_nowhere(tmp_path: Path) -> None:
    """Once the command has been reaped its pid may be anybody's: no signal is sent to it any more."""
    os.mkfifo(tmp_path / "fifo")
    # What outlives the command holds its output open, so that the run goes on. It has no terminal: there it would be
    # in a process group that has the command's pid as its number, and keeps that from being used again.
    script = "trap '' HUP TERM; (read x <fifo) & exit 5"
    with rprun.Process(
        ["sh", "-c", script], transport="pipe", cwd=tmp_path, output=rprun.CAPTURE, drain=float("inf")
    ) as process:
        assert process.pid
        with with_pid(process.pid) as other:
            for number in (signal.SIGTERM, signal.SIGKILL):
                process.send_signal(number)
            process.kill()
            (tmp_path / "fifo").write_text("end\n")
            assert process.wait(PATIENCE) == 5
            assert other.poll() is None
            other.kill()


BYTE_BY_BYTE = """
import os, sys
for byte in b"\\xc3\\xa9\\xe2\\x82\\xac\\xf0\\x9f\\x98\\x80 \\xff\\xc3":
    os.write(1, bytes([byte]))
    os.read(0, 1)
"""
CHARACTERS = b"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \xff\xc3"


@every_transport
def test_characters_may_be_cut_anywhere(transport: tuple[str, ...]) -> None:
    """A character that comes in pieces, and one that never ends, arrive as the bytes they are."""
    with start(*transport, sys.executable, "-I", "-S", "-c", BYTE_BY_BYTE, stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for byte in CHARACTERS:
            assert read_until(process.stdout.fileno(), bytes([byte])) == bytes([byte])
            process.stdin.write(b".")
            process.stdin.flush()
        assert process.communicate()[0] == b""
    assert process.returncode == 0


@every_transport
@pytest.mark.parametrize("value", [None, "", "dumb", "xterm-256color"])
def test_term_is_the_callers(transport: tuple[str, ...], value: str | None) -> None:
    """TERM is passed on as it is and not made up where there is none, also in a terminal of rprun's."""
    environment = {"PATH": os.environ["PATH"]} | ({} if value is None else {"TERM": value})
    words = (sys.executable, "-I", "-S", "-c", "import os; print(repr(os.environ.get('TERM')))")
    assert run(*transport, *words, env=environment).stdout.strip() == repr(value).encode()


@pytest.mark.parametrize(("locale", "mode"), [("C.UTF-8", b"iutf8"), ("de_DE.utf8", b"iutf8"), ("C", b"-iutf8")])
def test_erasing_knows_the_locale(locale: str, mode: bytes) -> None:
    """A terminal behind which there is none of the user's erases characters of the locale's encoding."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": locale}
    assert mode in run("--pty", "stty", "-a", env=environment).stdout.split()


def test_a_terminals_line_ends_stay() -> None:
    """What a terminal makes of a newline is what comes out, once; a command that switches that off gets none."""
    assert run("--pty", "printf", r"a\nb\r\nc").stdout == b"a\r\nb\r\r\nc"
    assert run("--pty", "sh", "-c", r"stty -opost; printf 'a\nb'").stdout == b"a\nb"


@every_transport
def test_escape_sequences_are_the_commands(transport: tuple[str, ...]) -> None:
    """Private modes that a killed command has left on are not reset by rprun, nor is a query answered by it."""
    output = rb"\033[?1049h\033[?2004h\033[?1000h\033[6n\033[c"
    result = run(*transport, "sh", "-c", f"printf '{output.decode()}'; kill -KILL $$")
    assert result.returncode == -signal.SIGKILL
    assert result.stdout == output.replace(rb"\033", b"\033")

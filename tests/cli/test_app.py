"""The command line as processes show it: help, version, and failures that are one line and one status."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from running import clean_environment

from rprun import __version__
from rprun.cli import table
from rprun.observe.capabilities import ObserverCapabilities

if TYPE_CHECKING:
    from collections.abc import Callable

    Rprun = Callable[..., subprocess.CompletedProcess[bytes]]

ESCAPE = b"\x1b"


def options_named_in(text: bytes) -> set[str]:
    """The long options in a help text."""
    return {word.strip(",.;)(") for word in text.decode().split() if word.startswith("--") and len(word) > 2}


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["-h"], ["--help", "--nonsense"], ["-t", "--help"], ["--help", "cmd"]]
)
def test_help(rprun: Rprun, arguments: list[str]) -> None:
    """`rprun` alone and --help print the help, plain and 80 columns wide in a pipe, and succeed."""
    done = rprun(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Usage: rprun [OPTIONS] [--] COMMAND [ARG]...\n")
    assert ESCAPE not in done.stdout
    assert done.stdout.isascii()
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert {name for option in table.read().options for name in option.names if name[:2] == "--"} <= options_named_in(
        done.stdout
    )


def test_help_of_the_subcommand(rprun: Rprun) -> None:
    """A subcommand's help shows its own options."""
    done = rprun("capabilities", "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert options_named_in(done.stdout) >= {"--json", "--all", "--help"}
    assert b"--pty" not in done.stdout


def on_a_terminal(**environment: str) -> bytes:
    """The help as a colour terminal gets it."""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "rprun", "--help"], stdin=slave, stdout=slave, stderr=slave,
        env=clean_environment(TERM="xterm-256color", **environment),
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:
        pass  # EIO is a terminal's end of file.
    os.close(master)
    assert child.wait(60) == 0
    return shown


def test_colors_only_where_wanted() -> None:
    """A terminal gets colours unless NO_COLOR is set."""
    assert b"\x1b[3" in on_a_terminal()
    assert b"\x1b[3" not in on_a_terminal(NO_COLOR="1")


def test_version(rprun: Rprun) -> None:
    """--version prints name and version."""
    done = rprun("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"rprun {__version__}\n".encode(), b"")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--obs", "x"], b"try --observe"),
        (["--sice=80x24"], b"try --size"),
        (["-x"], b"-x: there is no such option"),
        (["-tx", "cmd"], b"-x: there is no such option"),
        (["--pty=1"], b"takes no value"),
        (["--timeout"], b"needs a value (try --timeout DUR)"),
        (["--timeout", "5x", "cmd"], b"--timeout 5x: not a duration"),
        (["--kill-after=", "cmd"], b"--kill-after '': not a duration"),
        (["--env-unset", "A=B", "cmd"], b"--env-unset A=B: "),
        (["-tT", "cmd"], b"--pty and --pipe"),
        (["--split-stderr", "--pipe", "cmd"], b"--split-stderr with --pipe"),
        (["--"], b"no command comes after it"),
        (["--json", "capabilities"], b"-- before it for a command of that name"),
        (["capabilities", "--jsn"], b"try --json"),
        (["capabilities", "extra"], b"rprun capabilities --help"),
        (["--fo\n\x1b[31m\x85", "cmd"], b"--fo\\n\\x1b[31m"),
        ([b"--cw\xff", "cmd"], b"--cw\xff: "),
        (["--backend", "file=nope", "cmd"], b"--backend file=nope: 'nope' is not a backend for file (try file=ebpf"),
        (["--backend=fil=ebpf", "cmd"], b"--backend fil=ebpf: 'fil' is not a category"),
        (["--backend", "file", "cmd"], b"--backend file: not CATEGORY=NAME"),
        (["--observe", "a\tb", "cmd"], b"'a\\tb' is not a category"),
    ],
)
def test_usage_errors_are_one_line(rprun: Rprun, arguments: list[str | bytes], said: bytes) -> None:
    """A mistake gives status 2 and one line that says what, why and what to try, whatever was typed."""
    done = rprun(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"rprun: ")
    assert done.stderr.endswith(b")\n")
    assert done.stderr.count(b"\n") == 1
    assert b" (try " in done.stderr
    assert not any(byte < 32 for byte in done.stderr[:-1])
    assert said in done.stderr


# A backend of another system is one that is known and cannot work here.
FOREIGN = "kqueue" if sys.platform == "win32" else "etw"


@pytest.mark.parametrize("observe", [[], ["--observe", "file"], ["--observe", "lifecycle", "--require", "file"]])
def test_a_backend_that_cannot_work_is_a_failure(rprun: Rprun, observe: list[str]) -> None:
    """A known backend that sees nothing here is 125 and its own reason, before the command starts."""
    done = rprun(*observe, "--backend", f"lifecycle=portable-lifecycle,file={FOREIGN}", "--", "echo", "ran")
    row = ObserverCapabilities.negotiate({"file": FOREIGN}).category("file")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.decode() == f"rprun: --backend file={FOREIGN}: {row.reason}\n"


def test_a_backend_that_works_is_taken(rprun: Rprun) -> None:
    """The command runs under the backend that was asked for."""
    done = rprun("--backend", "lifecycle=portable-lifecycle", "--json", "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (0, b"ran\n")
    assert [json.loads(line)["kind"] for line in done.stderr.splitlines()] == ["started", "exited"]


def test_the_line_survives_every_locale(rprun: Rprun) -> None:
    """Where the locale knows only ASCII, the line still comes and is still one."""
    done = rprun("--ünknown", env=clean_environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"))
    assert done.returncode == 2
    assert done.stderr.startswith(b"rprun: --")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_a_line_that_cannot_be_written_changes_nothing(redirection: str) -> None:
    """The status is the same where standard error is closed or full."""
    script = f'"$0" -m rprun --nonsense {redirection}'
    done = subprocess.run(["sh", "-c", script, sys.executable], env=clean_environment(), check=False, timeout=60)
    assert done.returncode == 2


def test_a_full_disk_is_a_failure_of_one_line() -> None:
    """Help that cannot be written is an error of rprun's own: 125 and one line."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rprun", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            check=False,
            timeout=60,
        )
    assert done.returncode == 125
    assert done.stderr.startswith(b"rprun: ")
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_nobody_reads_the_help(rprun: Rprun) -> None:
    """Help into a closed pipe ends by SIGPIPE and without a word, as any command's output does."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = rprun("--help", stdout=write_end)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_completion_by_environment_is_off(rprun: Rprun) -> None:
    """click's way to ask for completions by a variable does not reach the command line."""
    done = rprun(
        "--version", env=clean_environment(_RPRUN_COMPLETE="complete_bash", COMP_WORDS="rprun", COMP_CWORD="1")
    )
    assert done.stdout == f"rprun {__version__}\n".encode()


BROKEN = """
import sys, types
session = types.ModuleType("rprun.runner.session")
def run(options): {body}
session.run = run
sys.modules["rprun.runner.session"] = session
sys.argv = ["rprun", "--", "cmd"]
from rprun.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('a\\nb')", b"rprun: internal error: ValueError: a\\nb (set RPRUN_DEBUG=1"),
        ("raise OSError(28, 'No space left on device', 'log')", b"rprun: log: No space left on device ("),
        ("raise MemoryError", b"rprun: out of memory"),
        (
            "raise OSError(24, 'Too many open files')",
            b"rprun: out of file descriptors: Too many open files (see ulimit",
        ),
        (
            "raise ImportError('/x.so: cannot open shared object file: Too many open files')",
            b"rprun: out of file descriptors: Too many open files (see ulimit -n)",
        ),
        ("return run(options)", b"RecursionError"),
    ],
)
def test_a_failure_inside_is_one_line(body: str, said: bytes) -> None:
    """Any exception is one line and 125, with the traceback only where RPRUN_DEBUG asks for it."""
    command = [sys.executable, "-c", BROKEN.format(body=body)]
    done = subprocess.run(command, capture_output=True, env=clean_environment(), check=False, timeout=60)
    assert done.returncode == 125
    assert said in done.stderr
    assert done.stderr.count(b"\n") == 1
    debug = subprocess.run(
        command, capture_output=True, env=clean_environment(RPRUN_DEBUG="1"), check=False, timeout=60
    )
    assert b"Traceback" in debug.stderr


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("return 7", 7),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os, time; os.kill(os.getpid(), 2); time.sleep(60)", -signal.SIGINT),
        ("from rprun.errors import NotFound; raise NotFound('cmd: not found (try PATH)')", 127),
        ("from rprun.errors import NotExecutable; raise NotExecutable('cmd: denied (try chmod)')", 126),
    ],
)
def test_status_of_a_run(body: str, status: int) -> None:
    """The run's status is the process's; ^C is death by SIGINT without a traceback; each error has its number."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN.format(body=body)],
        capture_output=True,
        env=clean_environment(),
        check=False,
        timeout=60,
    )
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


def test_an_ignored_sigint_stays_ignored() -> None:
    """Where the caller ignores SIGINT, as `cmd &` in a script does, so does rprun."""
    body = "import os; os.kill(os.getpid(), 2); return 3"
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", BROKEN.format(body=body)],
        capture_output=True, env=clean_environment(), check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3

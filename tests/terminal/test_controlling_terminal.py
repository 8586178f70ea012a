"""The command leads the foreground of a terminal of its own: /dev/tty, sessions and groups are what programs expect."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from outer_terminal import Bash, OuterTerminal, state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., OuterTerminal]

# What git, wget and others ask before they show progress, on the first of their streams that is a terminal.
FOREGROUND = """
import os
fd = next(fd for fd in (0, 1, 2) if os.isatty(fd))
tty = os.open("/dev/tty", os.O_RDWR)
os.write(tty, b"foreground %s tty %s same %s leads %s;" % (
    str(os.tcgetpgrp(fd) == os.getpgrp()).encode(),
    str(os.tcgetpgrp(tty) == os.getpgrp()).encode(),
    str(os.fstat(fd).st_rdev == os.stat(os.ttyname(fd)).st_rdev).encode(),
    str(os.getpgrp() == os.getpid()).encode()))
"""
GOOD = "foreground True tty True same True leads True;"


@pytest.mark.parametrize(
    "redirection",
    ["", "</dev/null", "| cat", "</dev/null | cat", "2>/dev/null", "</dev/null 2>/dev/null", ">/dev/null 2>&1"],
)
def test_in_the_foreground(terminal: Start, redirection: str) -> None:
    """A foreground command is in the foreground of its terminal, and can open /dev/tty."""
    outer = terminal("sh", "-c", f'rprun -- python3 -c "$C" {redirection}', env={"C": FOREGROUND})
    outer.wait_exit()
    assert outer.output == GOOD.encode()


def test_in_the_background(bash: Callable[..., Bash]) -> None:
    """A background command is not in the foreground, and knows it."""
    outer = bash(C=FOREGROUND)
    shown = outer.run('rprun -- python3 -c "$C" & wait')
    assert "foreground False tty False" in shown


@pytest.mark.parametrize("redirection", ["", "</dev/null", "| cat"])
def test_not_the_controlling_terminal(terminal: Start, redirection: str) -> None:
    """On a terminal that is nobody's controlling terminal, as in many CI systems, the command has one all the same."""
    outer = terminal("sh", "-c", f'rprun -- python3 -c "$C" {redirection}', env={"C": FOREGROUND}, controlling=False)
    outer.wait_exit()
    assert outer.output == GOOD.encode()
    assert outer.attributes() == outer.before


def test_keys_without_a_controlling_terminal(terminal: Start) -> None:
    """There too keys arrive, ^C interrupts the command, and the terminal is restored."""
    outer = terminal(
        "sh", "-c", "rprun -- sh -c 'echo ready; read x; echo got $x; exec sleep 100'; echo after $?", controlling=False
    )
    outer.expect("ready")
    outer.type("key\r")
    outer.expect("got key")
    outer.type("\x03")
    outer.wait_exit()
    assert outer.attributes() == outer.before


def test_size_without_a_controlling_terminal(terminal: Start) -> None:
    """The size is that of the stream, not of a /dev/tty that is not there."""
    outer = terminal("rprun", "--", "stty", "size", size=(71, 19), controlling=False)
    assert outer.wait_exit() == 0
    assert outer.output == b"19 71\r\n"


def test_ps(terminal: Start) -> None:
    """ps shows a group and a foreground that fit, on a terminal that is not the user's."""
    outer = terminal("rprun", "--", "sh", "-c", "ps -o pid=,pgid=,sid=,tpgid=,tty= -p $$; tty")
    assert outer.wait_exit() == 0
    pid, group, session, foreground, tty, name = outer.output.decode().split()
    assert group == pid == foreground
    assert session != pid
    assert name == f"/dev/{tty}"
    assert name != os.ttyname(outer.slave)


def test_without_any_terminal_among_the_streams(terminal: Start) -> None:
    """Where no stream is a terminal, the command stays in the session, and /dev/tty is the user's own."""
    outer = terminal("sh", "-c", "rprun -- sh -c 'ps -o tty=,sid=,tpgid= -p $$ >/dev/tty' </dev/null 2>&1 | cat")
    outer.wait_exit()
    name = os.ttyname(outer.slave).removeprefix("/dev/")
    assert outer.output.decode().split() == [name, str(outer.pid), str(outer.pid)]


def test_hangup(terminal: Start) -> None:
    """When the terminal goes away, the command and rprun end."""
    outer = terminal("rprun", "--", "sh", "-c", "echo ready; sleep 100 & sleep 100; echo")
    outer.expect("ready")
    outer.hang_up()
    outer.wait(lambda: outer.poll() and not outer.left(), "the end of everything")


@pytest.mark.parametrize("redirection", ["</dev/null", "| cat", "</dev/null | cat", "2>/dev/null", "& wait"])
def test_hangup_with_redirections(terminal: Start, redirection: str) -> None:
    """Whichever of the streams were the terminal."""
    outer = terminal("sh", "-c", f"rprun -- sh -c 'echo ready >/dev/tty; exec sleep 100' {redirection}")
    outer.expect("ready")
    outer.hang_up()
    outer.wait(lambda: outer.poll() and not outer.left(), "the end of everything")


def test_hangup_is_heard_by_the_command(terminal: Start, tmp_path: Path) -> None:
    """The command gets SIGHUP and time to act on it."""
    outer = terminal(
        "rprun",
        "--",
        "sh",
        "-c",
        "trap 'echo heard >file; exit 3' HUP; echo ready; while :; do read x || sleep 0.01; done",
    )
    outer.expect("ready")
    outer.hang_up()
    outer.wait(outer.poll, "the end of rprun")
    assert (tmp_path / "file").read_text() == "heard\n"


def test_hangup_of_a_reader(terminal: Start, tmp_path: Path) -> None:
    """A command that ignores SIGHUP but reads the terminal finds it at its end."""
    outer = terminal("rprun", "--", "sh", "-c", "trap '' HUP; echo ready; cat >/dev/null; echo end >file")
    outer.expect("ready")
    outer.hang_up()
    outer.wait(lambda: outer.poll() and not outer.left(), "the end of everything")
    assert (tmp_path / "file").read_text() == "end\n"


def test_hangup_that_is_ignored_from_above(terminal: Start, tmp_path: Path) -> None:
    """Under nohup the command goes on when the terminal is gone."""
    os.mkfifo(tmp_path / "f")
    outer = terminal("sh", "-c", "trap '' HUP; exec rprun -- sh -c 'echo ready; read x <f; echo went on >file'")
    outer.expect("ready")
    outer.hang_up()
    outer.release(tmp_path / "f")
    outer.wait(lambda: outer.poll() and not outer.left(), "the end of everything")
    assert (tmp_path / "file").read_text() == "went on\n"


def test_hangup_of_a_suspended_job(bash: Callable[..., Bash]) -> None:
    """A suspended job ends with the terminal."""
    outer = bash(C="echo ready; exec cat")
    outer.begin('rprun -- sh -c "$C"', "ready")
    outer.keys("\x1a")
    outer.hang_up()
    outer.wait(lambda: outer.poll() and not outer.left(), "the end of everything")


def test_a_shell_that_exits_with_a_suspended_job(bash: Callable[..., Bash]) -> None:
    """`exit` twice in the shell with a suspended job leaves nothing behind."""
    outer = bash(C="echo $$ ready; exec cat")
    start = len(outer.output)
    outer.begin('rprun -- sh -c "$C"', "ready")
    command = int(outer.output[start:].split(b" ready")[0].split()[-1])
    outer.keys("\x1a")
    assert "stopped jobs" in outer.run("exit")
    outer.type("exit\r")
    outer.wait(outer.poll, "the end of the shell")
    outer.wait(lambda: not state(command), "the end of the command")


def test_a_daemon_outlives_the_terminal(terminal: Start, tmp_path: Path) -> None:
    """What a command put into the background on purpose, in a session of its own, is not hung up."""
    os.mkfifo(tmp_path / "f")
    outer = terminal(
        "rprun", "--", "sh", "-c", "setsid sh -c 'read x <f; echo on >file' </dev/null >/dev/null 2>&1 & echo $!"
    )
    assert outer.wait_exit() == 0
    daemon = int(outer.output.split()[0])
    assert state(daemon) in ("S", "R", "D")
    outer.hang_up()
    outer.release(tmp_path / "f")
    outer.wait(lambda: not outer.left(), "the daemon's own end")
    assert (tmp_path / "file").read_text() == "on\n"


def test_a_background_job_outlives_the_command(terminal: Start, tmp_path: Path) -> None:
    """A plain background job of the command is not killed by the command's end, as it is not without rprun."""
    os.mkfifo(tmp_path / "f")
    outer = terminal("rprun", "--drain", "0", "--", "sh", "-c", "(read x <f; echo on >file) & echo ready")
    assert outer.wait_exit() == 0
    outer.release(tmp_path / "f")
    outer.wait(lambda: not outer.left(), "the job's own end")
    assert (tmp_path / "file").read_text() == "on\n"


def test_kill_the_whole_group(terminal: Start) -> None:
    """A signal to rprun's whole group ends the command, once."""
    outer = terminal("rprun", "--", "sh", "-c", "echo ready; exec sleep 100")
    outer.expect("ready")
    os.killpg(outer.pid, signal.SIGTERM)
    assert outer.wait_exit() == -signal.SIGTERM
    assert outer.attributes() == outer.before

"""The terminal is as it was after every end of a run that can be caught, and only what is rprun's is changed."""

from __future__ import annotations

import signal
import termios
from typing import TYPE_CHECKING

import pytest
from outer_terminal import OFLAG, OuterTerminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., OuterTerminal]

READY = "echo ready; exec sleep 100"
CAUGHT = ["TERM", "INT", "HUP", "QUIT", "ALRM", "USR1", "USR2", "ABRT"]


@pytest.mark.parametrize("script", ["exit 0", "exit 7", "stty raw -echo; exit 3", "stty -a >/dev/null; stty sane"])
def test_after_a_normal_end(terminal: Start, script: str) -> None:
    """A command that ends by itself, in whatever mode it left its own terminal, leaves the user's as it was."""
    outer = terminal("rprun", "--", "sh", "-c", script)
    outer.wait_exit()
    assert outer.attributes() == outer.before


@pytest.mark.parametrize("name", CAUGHT)
def test_after_a_signal_to_rprun(terminal: Start, name: str) -> None:
    """A signal to rprun reaches the command; both die of it, and the terminal is as it was."""
    number = getattr(signal, f"SIG{name}")
    outer = terminal("sh", "-c", 'ulimit -c 0; exec rprun -- sh -c "$1"', "sh", READY)
    outer.expect("ready")
    assert outer.is_raw()
    outer.kill(number)
    assert outer.wait_exit() == -number
    assert outer.attributes() == outer.before


@pytest.mark.parametrize("name", ["TERM", "HUP", "ALRM"])
def test_a_signal_at_the_very_start(terminal: Start, name: str) -> None:
    """A signal as soon as the terminal is raw, before the command runs, is not lost and leaves no raw mode."""
    outer = terminal("rprun", "--", "sleep", "100")
    outer.wait_raw()
    outer.kill(getattr(signal, f"SIG{name}"))
    assert outer.wait_exit() == -getattr(signal, f"SIG{name}")
    assert outer.attributes() == outer.before


def test_sigkill_ends_the_command_too(terminal: Start) -> None:
    """SIGKILL cannot be caught: the terminal stays raw, but the command is not left running."""
    outer = terminal("rprun", "--", "sh", "-c", READY)
    outer.expect("ready")
    outer.kill(signal.SIGKILL)
    assert outer.wait_exit() == -signal.SIGKILL
    outer.wait(lambda: not outer.left(), "the end of the command")
    assert outer.is_raw()


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM"])
def test_after_the_death_of_the_command(terminal: Start, name: str) -> None:
    """rprun dies of the signal that the command died of, after it has restored the terminal."""
    outer = terminal("rprun", "--", "sh", "-c", f"ulimit -c 0; kill -{name} $$")
    assert outer.wait_exit() == -getattr(signal, f"SIG{name}")
    assert outer.attributes() == outer.before


@pytest.mark.parametrize(
    ("argv", "status"),
    [(["/nonexistent/command"], 127), (["no-such-command-here"], 127), (["/"], 126), (["/etc/passwd"], 126)],
)
def test_after_a_failed_start(terminal: Start, argv: list[str], status: int) -> None:
    """A command that cannot be started leaves one line of reason, at the left edge, and the terminal as it was."""
    outer = terminal("rprun", "--", *argv)
    assert outer.wait_exit() == status
    assert outer.attributes() == outer.before
    lines = [line for line in outer.screen() if line]
    assert lines[0].startswith("rprun: ")
    assert outer.output.count(b"\n") == outer.output.count(b"\r\n") == 1


def test_with_the_terminal_stopped(terminal: Start) -> None:
    """Restoring does not wait for a terminal that ^S has stopped."""
    outer = terminal("rprun", "--", "sh", "-c", READY)
    outer.expect("ready")
    termios.tcflow(outer.slave, termios.TCOOFF)
    outer.kill(signal.SIGTERM)
    assert outer.wait_exit() == -signal.SIGTERM
    assert outer.attributes() == outer.before
    termios.tcflow(outer.slave, termios.TCOON)


def test_output_mode_stays_where_stdout_is_not_the_terminal(terminal: Start) -> None:
    """In `rprun cmd | other` the other still writes to a terminal that ends its lines properly."""
    outer = terminal("sh", "-c", 'rprun -- sh -c "echo ready >&2; read x; echo done" | cat; stty -a')
    outer.expect("ready\r\n")
    outer.wait_raw()
    assert outer.attributes()[OFLAG] & termios.OPOST
    outer.type("go\r")
    assert outer.wait_exit() == 0
    assert b"done\r\n" in outer.output
    assert outer.attributes() == outer.before


def test_another_program_on_the_terminal_is_not_stair_stepped(terminal: Start) -> None:
    """`rprun sleep | (stty -a </dev/tty)` prints opost: the terminal's output mode belongs to others as well."""
    outer = terminal("sh", "-c", 'rprun -- sh -c "echo up; read x" | (read up; stty -a </dev/tty; echo shown)')
    outer.expect("shown")
    outer.type("\r")
    outer.wait_exit()
    words = outer.output.decode().split()
    assert "opost" in words
    assert "-opost" not in words
    assert outer.attributes() == outer.before


def test_two_on_one_terminal(terminal: Start) -> None:
    """In `rprun a | rprun b` keys go to a, and the terminal is as it was when both have ended."""
    outer = terminal("sh", "-c", 'rprun -- sh -c "echo ready >&2; read x; echo got \\$x" | rprun -- sed s/^/b:/')
    outer.expect("ready")
    outer.type("key\r")
    outer.expect("b:got key")
    assert outer.wait_exit() == 0
    assert outer.attributes() == outer.before


def test_many_pairs_on_one_terminal(terminal: Start) -> None:
    """However the starts and ends of two rprun on a terminal fall, it is as it was in the end."""
    outer = terminal(
        "sh", "-c", "for i in 1 2 3 4 5 6; do rprun -- true | rprun -- cat; rprun -- echo $i | rprun -- true; done"
    )
    outer.wait_exit()
    assert outer.attributes() == outer.before


def test_what_others_changed_is_kept(terminal: Start) -> None:
    """Only what rprun set is put back: a change that another program made meanwhile stays."""
    outer = terminal("rprun", "--", "sh", "-c", "echo ready; read x")
    outer.expect("ready")
    changed = outer.attributes()
    changed[6][termios.VERASE] = b"\x08"
    changed[2] &= ~termios.HUPCL
    termios.tcsetattr(outer.slave, termios.TCSANOW, changed)
    outer.type("\r")
    assert outer.wait_exit() == 0
    now = outer.attributes()
    assert now[2] == changed[2]
    assert now[3] == outer.before[3]


def test_a_command_without_the_terminal_leaves_it_alone(terminal: Start, tmp_path: Path) -> None:
    """Where no stream is the terminal it is never changed, not even while the command runs."""
    outer = terminal(
        "sh", "-c", 'mkfifo f; rprun -- sh -c "echo up; read x <f" </dev/null 2>&1 | (read up; echo $up-; cat)'
    )
    outer.expect("up-")
    assert outer.attributes() == outer.before
    outer.release(tmp_path / "f")
    assert outer.wait_exit() == 0

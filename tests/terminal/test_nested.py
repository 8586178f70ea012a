"""rprun inside rprun, inside script(1) and around it: keys, signals, sizes and statuses survive every level."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from outer_terminal import Bash, OuterTerminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THREE = "rprun -- rprun -- rprun --"
CAT = "echo ready; exec cat"
# Shows the size at the start and at each SIGWINCH.
WATCH = """
import os, signal
def show(*_):
    os.write(1, b"size %dx%d;" % os.get_terminal_size(0))
signal.signal(signal.SIGWINCH, show)
show()
while True:
    signal.pause()
"""

needs_script = pytest.mark.skipif(shutil.which("script") is None, reason="script(1) is not installed")


@pytest.mark.parametrize("status", [0, 7, 126, 255])
def test_exit_status(terminal: Callable[..., OuterTerminal], status: int) -> None:
    """An exit status comes through three levels."""
    outer = terminal("sh", "-c", f"exec {THREE} sh -c 'exit {status}'")
    assert outer.wait_exit() == status
    assert outer.attributes() == outer.before


@pytest.mark.parametrize("name", ["TERM", "KILL", "INT"])
def test_death_by_signal(terminal: Callable[..., OuterTerminal], name: str) -> None:
    """So does a death by signal."""
    outer = terminal("sh", "-c", f"exec {THREE} sh -c 'kill -{name} $$'")
    assert outer.wait_exit() == -getattr(signal, f"SIG{name}")
    assert outer.attributes() == outer.before


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1"])
def test_signal_to_the_outermost(terminal: Callable[..., OuterTerminal], name: str) -> None:
    """A signal to the outermost reaches the command."""
    number = getattr(signal, f"SIG{name}")
    outer = terminal("sh", "-c", f"exec {THREE} sh -c 'echo ready; exec sleep 100'")
    outer.expect("ready")
    outer.kill(number)
    assert outer.wait_exit() == -number
    assert outer.attributes() == outer.before


def test_size(terminal: Callable[..., OuterTerminal]) -> None:
    """Size and resizes reach the innermost terminal."""
    outer = terminal("sh", "-c", f'{THREE} python3 -c "$C"', env={"C": WATCH}, size=(91, 23))
    outer.expect("size 91x23;")
    outer.resize(60, 20)
    outer.expect("size 60x20;")
    outer.type("\x03")
    outer.wait_exit()
    assert outer.attributes() == outer.before


def test_keys_and_output(terminal: Callable[..., OuterTerminal]) -> None:
    """A line is echoed once and output lines are ended once."""
    outer = terminal("sh", "-c", f"{THREE} sh -c '{CAT}'")
    outer.expect("ready\r\n")
    outer.type("word\r")
    outer.expect("word\r\nword\r\n")
    outer.type("\x04")
    assert outer.wait_exit() == 0
    assert outer.output == b"ready\r\nword\r\nword\r\n"
    assert outer.attributes() == outer.before


def test_interrupting_a_script(bash: Callable[..., Bash]) -> None:
    """^C ends the script around three levels, and the status is 130."""
    outer = bash(S=f"for i in 1 2 3; do {THREE} sh -c 'echo ready; exec sleep 100'; echo after; done")
    outer.begin('sh -c "$S"', "ready")
    shown = outer.keys("\x03")
    assert "after" not in shown
    assert outer.last_status() == 130
    assert outer.attributes() == outer.at_rest


def test_a_script_inside(bash: Callable[..., Bash]) -> None:
    """^C ends a script that is itself under rprun and runs its commands under rprun."""
    outer = bash(S="for i in 1 2 3; do rprun -- sh -c 'echo ready; exec sleep 100'; echo after; done")
    outer.begin('rprun -- sh -c "$S"; echo status $?', "ready")
    shown = outer.keys("\x03")
    assert "after" not in shown
    assert outer.attributes() == outer.at_rest


def _wait_for_all_levels(outer: Bash) -> None:
    """Type words until one is shown just twice, by the innermost terminal and by cat.

    A level that has not resumed yet echoes it as well, and would take a control key for its own.
    """
    start = len(outer.output)
    for number in range(1000):
        word = b"sync%d." % number
        outer.type(word.decode() + "\r")
        outer.wait(lambda word=word: outer.output[start:].count(word) >= 2, "a word and its echo")
        shown = [outer.output[start:].count(b"sync%d." % earlier) for earlier in range(max(0, number - 2), number)]
        if shown == [2, 2]:
            return


def test_suspending(bash: Callable[..., Bash]) -> None:
    """^Z suspends all levels as one job; fg resumes them with their keys; again and again."""
    outer = bash(C=CAT)
    outer.begin(f'{THREE} sh -c "$C"', "ready")
    for word in ("one", "two", "three"):
        assert "Stopped" in outer.keys("\x1a")
        assert outer.attributes() == outer.at_rest
        outer.begin("fg", f"{THREE} sh")
        start = len(outer.output)
        outer.type(f"{word}\r")
        outer.expect(f"{word}\r\n{word}\r\n", start=start)
        _wait_for_all_levels(outer)
    outer.keys("\x04")
    assert outer.last_status() == 0
    assert outer.attributes() == outer.at_rest


def test_an_interactive_shell_inside(bash: Callable[..., Bash]) -> None:
    """Three levels down a bash has its own job control, and its exit status comes out."""
    outer = bash(INSIDE="bash --noprofile --norc -i", C=CAT)
    start = len(outer.output)
    outer.type(f"{THREE} $INSIDE\r")
    outer.expect("<1> ", start=start)
    for keys, answer in (('sh -c "$C"\r', "ready"), ("\x1a", "Stopped"), ("echo $?\r", "148"), ("fg\r", "sh -c")):
        mark = len(outer.output)
        outer.type(keys)
        outer.expect(answer, start=mark)
        if answer.isdigit() or answer == "Stopped":
            outer.wait(lambda mark=mark: outer.shows_prompt(mark), "the inner prompt")
    mark = len(outer.output)
    outer.type("word\r")
    outer.expect("word\r\nword\r\n", start=mark)
    outer.type("\x03")
    outer.wait(lambda: outer.shows_prompt(mark), "the inner prompt")
    outer.keys("exit 9\r")
    assert outer.last_status() == 9
    assert outer.attributes() == outer.at_rest


def test_suspending_a_shell_inside(bash: Callable[..., Bash]) -> None:
    """A shell two levels down that stops itself takes both levels with it, and fg returns to its prompt."""
    outer = bash(INSIDE="bash --noprofile --norc -i")
    start = len(outer.output)
    outer.type("rprun -- rprun -- $INSIDE\r")
    outer.expect("<1> ", start=start)
    assert "Stopped" in outer.keys("suspend\r")
    start = len(outer.output)
    outer.type("fg\r")
    outer.wait(lambda: outer.foreground() != outer.pid and outer.is_raw(), "the inner shell")
    outer.type("echo in$((1 + 1))\r")
    outer.expect("in2", start=start)
    outer.keys("exit\r")
    assert outer.attributes() == outer.at_rest


@needs_script
@pytest.mark.parametrize("line", ["script -qec 'rprun -- $W' /dev/null", "rprun -- script -qec '$W' /dev/null"])
def test_with_script(terminal: Callable[..., OuterTerminal], tmp_path: Path, line: str) -> None:
    """Inside script(1) and around it rprun behaves as on any terminal."""
    (tmp_path / "work").write_text("echo ready; stty size; read x; echo got $x; cat; exit 5\n")
    outer = terminal("sh", "-c", line.replace("$W", "sh ./work"), size=(91, 23))
    outer.expect("ready\r\n23 91\r\n")
    outer.type("key\r")
    outer.expect("got key\r\n")
    outer.type("\x04")
    assert outer.wait_exit() == 5
    assert outer.output.count(b"\n") == outer.output.count(b"\r\n") == 4
    assert outer.attributes() == outer.before


@needs_script
def test_interrupt_inside_script(terminal: Callable[..., OuterTerminal]) -> None:
    """^C ends the command inside script(1), and script's own status says so."""
    outer = terminal("sh", "-c", "script -qec \"rprun -- sh -c 'echo ready; exec sleep 100'\" /dev/null")
    outer.expect("ready")
    outer.type("\x03")
    assert outer.wait_exit() == 130
    assert outer.attributes() == outer.before

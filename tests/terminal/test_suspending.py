"""^Z suspends the command and rprun as one job, and fg and bg resume it, as for any command of a shell."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from outer_terminal import Bash, OuterTerminal, children, state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., Bash]

CAT = "echo ready; exec cat"
SLEEP = "echo ready; exec sleep 100"
# Shows its terminal's size at the start, at each change, and when a line is read.
SIZES = """
import os, signal, sys
def show(*_):
    os.write(1, b"size %dx%d\\n" % os.get_terminal_size(1))
signal.signal(signal.SIGWINCH, show)
show()
os.write(1, b"ready\\n")
for line in sys.stdin:
    show()
    os.write(1, b"line " + line.encode())
"""


def _suspended(outer: Bash, line: str, marker: str = "ready") -> str:
    outer.begin(line, marker)
    shown = outer.keys("\x1a")
    assert "Stopped" in shown
    assert outer.attributes() == outer.at_rest
    return shown


def test_suspend_and_foreground(bash: Start) -> None:
    """^Z gives the prompt and the terminal back; `fg` goes on with the command, which gets its keys again."""
    outer = bash(C=CAT)
    shown = _suspended(outer, 'rprun -- sh -c "$C"')
    assert "^Z" in shown
    assert "Stopped" in outer.run("jobs")
    for word in ("one", "two"):
        outer.begin("fg", "rprun -- sh")
        start = len(outer.output)
        outer.type(f"{word}\r")
        outer.expect(f"{word}\r\n{word}\r\n", start=start)
        if word == "one":
            assert "Stopped" in outer.keys("\x1a")
            assert outer.attributes() == outer.at_rest
    outer.keys("\x04")
    assert outer.last_status() == 0
    assert outer.attributes() == outer.at_rest
    assert outer.run("jobs") == ""


def test_status_of_a_suspended_job(bash: Start) -> None:
    """$? after ^Z is 148, as for any command."""
    outer = bash(C=SLEEP)
    _suspended(outer, 'rprun -- sh -c "$C"')
    assert outer.last_status() == 128 + signal.SIGTSTP


def test_everything_is_stopped(bash: Start) -> None:
    """A suspended job does nothing: rprun and the command are both in state T."""
    outer = bash(C="echo $$ ready; exec sleep 100")
    start = len(outer.output)
    _suspended(outer, 'rprun -- sh -c "$C"')
    command = int(outer.output[start:].split(b" ready")[0].split()[-1])
    assert state(command) == "T"
    assert all(state(child) == "T" for child in children(outer.pid))
    outer.run("kill %1")
    outer.wait(lambda: not state(command), "the end of the command")


def test_background(bash: Start) -> None:
    """`bg` resumes the command in the background: it runs, the prompt stays, the terminal is untouched."""
    outer = bash(C="echo ready; while :; do read x <f; echo $x >g; done")
    outer.run("mkfifo f g")
    _suspended(outer, 'rprun -- sh -c "$C"')
    outer.run("bg")
    assert "Running" in outer.run("jobs")
    assert outer.run("echo hello >f; cat g").split() == ["hello"]
    assert outer.attributes() == outer.at_rest
    outer.type("fg\r")
    # The shell says so before it does so, and a key in between is its own.
    outer.wait(lambda: outer.foreground() != outer.pid, "the job in the foreground")
    outer.keys("\x03")
    assert outer.last_status() == 130
    assert outer.attributes() == outer.at_rest


def test_output_from_the_background(bash: Start) -> None:
    """What a resumed command writes from the background is shown, each line ended once."""
    outer = bash(C="echo ready; read x <f; echo first; echo second; echo done >g")
    outer.run("mkfifo f g")
    _suspended(outer, 'rprun -- sh -c "$C"')
    start = len(outer.output)
    outer.run("bg; echo >f; cat g; wait")
    assert b"first\r\nsecond\r\n" in outer.output[start:]


def test_size_is_that_of_the_window_after_a_stop(bash: Start) -> None:
    """A window that was resized during the stop has its new size after `fg`, and the command gets SIGWINCH."""
    outer = bash(C=SIZES)
    outer.begin('rprun -- python3 -c "$C"', "ready")
    outer.keys("\x1a")
    outer.resize(93, 41)
    start = len(outer.output)
    outer.type("fg\r")
    outer.expect("size 93x41", start=start)
    outer.type("x\r")
    outer.expect("line x", start=start)
    outer.keys("\x04")
    assert outer.attributes() == outer.at_rest


@pytest.mark.parametrize(
    ("script", "redirection"),
    [
        ("kill -STOP $$", ""),
        ("kill -STOP $$", "</dev/null"),
        ("kill -STOP $$", "</dev/null >file 2>&1"),
        ("kill -TSTP $$", ""),
        ("kill -TSTP $$", "</dev/null"),
        ("kill -TSTP 0", ""),
        ("kill -TSTP 0", "</dev/null"),
        ("kill -TSTP 0", "| cat"),
        ("kill -TSTP 0", "</dev/null 2>&1 | cat"),
    ],
)
def test_a_command_that_stops_itself(bash: Start, script: str, redirection: str) -> None:
    """The shell hears of a command that stops itself, as editors do for `:stop`, and `fg` resumes it."""
    outer = bash(C=f"{script}; echo resumed >/dev/tty")
    start = len(outer.output)
    outer.type(f'rprun -- sh -c "$C" {redirection}\r')
    assert "Stopped" in outer.prompt(start)
    assert outer.attributes() == outer.at_rest
    start = len(outer.output)
    outer.type("fg\r")
    outer.expect("resumed", start=start)
    outer.prompt(start)
    assert outer.last_status() == 0
    assert outer.attributes() == outer.at_rest


def test_pipeline(bash: Start) -> None:
    """^Z suspends a pipeline as a whole, whichever side rprun is on."""
    outer = bash(A="echo ready >&2; exec cat", B="echo ready >&2; exec sleep 100")
    for line in ('rprun -- sh -c "$A" | cat', 'sh -c "$A" | rprun -- cat', 'sh -c "$B" | rprun -- sh -c "$A" | cat'):
        _suspended(outer, line)
        outer.type("fg\r")
        outer.wait(lambda: outer.foreground() != outer.pid, "the job in the foreground")
        if "$B" not in line:
            start = len(outer.output)
            outer.type("word\r")
            outer.expect("word\r\nword\r\n", start=start)
        outer.keys("\x03")
        assert outer.attributes() == outer.at_rest
        assert outer.run("jobs") == ""


def test_a_script_is_suspended_with_its_command(bash: Start, tmp_path: Path) -> None:
    """^Z stops a script whose command is under rprun, and `fg` goes on with both."""
    (tmp_path / "script").write_text("rprun -- sh -c 'echo ready; read x; echo got $x'\necho after $?\n")
    for shell in ("sh", "bash"):
        outer = bash()
        _suspended(outer, f"{shell} ./script")
        start = len(outer.output)
        outer.begin("fg", f"{shell} ./script\r\n"[2:])
        outer.type("key\r")
        outer.expect("got key", start=start)
        assert "after 0" in outer.prompt(start)


def test_a_shell_inside(bash: Start) -> None:
    """A job of a bash inside rprun is that bash's own: ^Z stops it alone, and fg, bg, ^C and exit work in there."""
    outer = bash(C=CAT, INSIDE="bash --noprofile --norc -i")
    start = len(outer.output)
    outer.type("rprun -- $INSIDE\r")
    outer.expect("<1> ", start=start)

    def inside(keys: str, answer: str) -> None:
        mark = len(outer.output)
        outer.type(keys)
        outer.expect(answer, start=mark)
        if answer != "ready":
            outer.wait(lambda: outer.shows_prompt(mark), "the inner prompt")

    inside('sh -c "$C"\r', "ready")
    inside("\x1a", "Stopped")
    assert outer.foreground() != outer.pid
    inside("jobs\r", "Stopped")
    mark = len(outer.output)
    outer.type("fg\r")
    outer.expect("sh -c", start=mark)
    outer.type("word\r")
    outer.expect("word\r\nword\r\n", start=mark)
    inside("\x03", "^C")
    inside("echo $?\r", "130")
    outer.keys("exit 5\r")
    assert outer.last_status() == 5
    assert outer.attributes() == outer.at_rest


def test_a_shell_inside_that_suspends_itself(bash: Start) -> None:
    """`suspend` in a bash inside rprun suspends the job of the outer bash; `fg` is back at the inner prompt."""
    outer = bash(INSIDE="bash --noprofile --norc -i")
    start = len(outer.output)
    outer.type("rprun -- $INSIDE\r")
    outer.expect("<1> ", start=start)
    shown = outer.keys("suspend\r")
    assert "Stopped" in shown
    assert outer.attributes() == outer.at_rest
    start = len(outer.output)
    outer.type("fg\r")
    outer.wait(lambda: outer.foreground() != outer.pid and outer.is_raw(), "the inner shell")
    outer.type("echo in$((1 + 1))\r")
    outer.expect("in2", start=start)
    outer.keys("exit\r")
    assert outer.attributes() == outer.at_rest


@pytest.mark.skipif(shutil.which("dash") is None, reason="dash is not installed")
@pytest.mark.parametrize("line", ['rprun -- sh -c "$C"', 'sh -c "$S"', 'bash -c "$S"', 'dash -c "$S"'])
def test_a_shell_that_does_not_repair_its_terminal(terminal: Callable[..., OuterTerminal], line: str) -> None:
    """The terminal is as it was when the shell has it back, although dash would leave it in any mode it finds."""
    outer = terminal("dash", "-i", env={"PS1": "<1> ", "C": CAT, "S": 'rprun -- sh -c "$C"; echo after'})
    outer.expect("<1> ")
    for number in range(3):
        start = len(outer.output)
        outer.type(f"{line}\r" if number == 0 else "fg\r")
        if number == 0:
            outer.expect("ready", start=start)
        else:
            outer.wait(lambda: outer.foreground() != outer.pid and outer.is_raw(), "the job in the foreground")
            outer.type("word\r")
            outer.expect("word\r\nword\r\n", start=start)
        outer.type("\x1a")
        outer.wait(lambda: outer.foreground() == outer.pid, "the shell in the foreground")
        assert outer.attributes() == outer.before
        outer.expect("<1> ", start=start)
        assert outer.attributes() == outer.before
    outer.type("kill %1\rexit\rexit\r")
    outer.wait_exit()


def test_rprun_itself_stopped_and_continued(bash: Start) -> None:
    """After a kill -STOP, which rprun cannot know of, `fg` takes the terminal again and keys reach the command."""
    outer = bash(C=CAT)
    outer.begin('rprun -- sh -c "$C"', "ready")
    (runner,) = children(outer.pid)
    start = len(outer.output)
    os.kill(runner, signal.SIGSTOP)
    assert "Stopped" in outer.prompt(start)
    start = len(outer.output)
    outer.type("fg\r")
    outer.expect("rprun -- sh", start=start)
    outer.wait(lambda: outer.foreground() != outer.pid, "the job in the foreground")
    outer.wait(lambda: not outer.attributes()[3] & 0o10, "echo off, as rprun has it")
    start = len(outer.output)
    outer.type("word\r")
    outer.expect("word\r\nword\r\n", start=start)
    outer.keys("\x03")
    assert outer.last_status() == 130
    assert outer.attributes() == outer.at_rest


def test_stopped_and_continued_in_the_foreground(bash: Start) -> None:
    """SIGSTOP and SIGCONT from elsewhere, before any shell notices or under a script, lose nothing."""
    outer = bash(C=CAT, S='rprun -- sh -c "$C"; echo after $?')
    outer.begin('sh -c "$S"', "ready")
    (shell,) = children(outer.pid)
    (runner,) = children(shell)
    os.kill(runner, signal.SIGSTOP)
    outer.wait(lambda: state(runner) == "T", "rprun stopped")
    start = len(outer.output)
    outer.type("word\r")
    os.kill(runner, signal.SIGCONT)
    outer.expect("word\r\nword\r\n", start=start)
    assert "after 0" in outer.keys("\x04")
    assert outer.attributes() == outer.at_rest

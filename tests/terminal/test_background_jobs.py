"""In the background rprun leaves the terminal alone, and a command there is stopped when it wants what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outer_terminal import Bash, OuterTerminal, state

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[..., Bash]

CAT = "echo ready; exec cat"


def _wait_jobs(outer: Bash, text: str) -> None:
    outer.wait(lambda: text in outer.run("jobs -l"), f"{text} in the list of jobs")


def test_reading_stops_it(bash: Start) -> None:
    """`rprun cat &` is stopped as `cat &` is, for tty input, and gets its keys after `fg`."""
    outer = bash()
    outer.run("rprun -- cat &")
    _wait_jobs(outer, "Stopped (tty input)")
    assert outer.attributes() == outer.at_rest
    outer.begin("fg", "rprun -- cat\r\n")
    start = len(outer.output)
    outer.type("word\r")
    outer.expect("word\r\nword\r\n", start=start)
    outer.keys("\x04")
    assert outer.last_status() == 0
    assert outer.attributes() == outer.at_rest


def test_a_stopped_reader_is_stopped_again(bash: Start) -> None:
    """`bg` to a command that wants the terminal stops it once more; kill ends it."""
    outer = bash()
    outer.run("rprun -- cat &")
    _wait_jobs(outer, "Stopped")
    outer.run("bg")
    _wait_jobs(outer, "Stopped (tty input)")
    outer.run("kill %1")
    _wait_jobs(outer, "Terminated")
    assert outer.attributes() == outer.at_rest


def test_output_does_not_need_the_foreground(bash: Start) -> None:
    """A background command shows its output, each line ended once, while a prompt is edited."""
    outer = bash(C="read x <f; echo first; echo second")
    outer.run("mkfifo f")
    start = len(outer.output)
    outer.run('rprun -- sh -c "$C" & echo >f; wait')
    assert b"first\r\nsecond\r\n" in outer.output[start:]
    assert outer.attributes() == outer.at_rest


def test_tostop(bash: Start) -> None:
    """With `stty tostop` a background command is stopped for its output, as without rprun, and shows it after `fg`."""
    for runner in ("", "rprun --"):
        outer = bash(R=runner)
        outer.run("stty tostop")
        outer.run("$R echo shown &")
        _wait_jobs(outer, "Stopped (tty output)")
        start = len(outer.output)
        outer.type("fg\r")
        outer.expect("shown\r\n", start=outer.expect("echo shown\r\n", start=start))
        outer.prompt(start)
        assert outer.last_status() == 0


def test_to_the_foreground(bash: Start) -> None:
    """A job that was started in the background gets the terminal by `fg`, and ^C ends it."""
    outer = bash(C="echo ready >f; exec sleep 100")
    outer.run("mkfifo f")
    outer.run('rprun -- sh -c "$C" & cat f')
    assert outer.attributes() == outer.at_rest
    outer.begin("fg", "rprun -- sh")
    outer.wait(lambda: outer.foreground() != outer.pid, "the job in the foreground")
    outer.keys("\x03")
    assert outer.last_status() == 130
    assert outer.attributes() == outer.at_rest


def test_kill(bash: Start) -> None:
    """`kill %1` ends a running and a suspended job, command and all."""
    outer = bash(C="echo $$ >f; exec sleep 100", D="echo $$ ready; exec sleep 100")
    outer.run("mkfifo f")
    running = int(outer.run('rprun -- sh -c "$C" & cat f').split()[-1])
    outer.run("kill %1")
    outer.wait(lambda: not state(running), "the end of the command")
    _wait_jobs(outer, "Terminated")
    start = len(outer.output)
    outer.begin('rprun -- sh -c "$D"', "ready")
    suspended = int(outer.output[start:].split(b" ready")[0].split()[-1])
    outer.keys("\x1a")
    outer.run("kill %1")
    outer.wait(lambda: not state(suspended), "the end of the command")
    _wait_jobs(outer, "Terminated")
    assert outer.attributes() == outer.at_rest


def test_in_a_script(terminal: Callable[..., OuterTerminal]) -> None:
    """`rprun cmd &` in a script, which is in the foreground group itself, does not take the keys of the script."""
    script = (
        "mkfifo f; rprun -- sh -c 'echo up >f; exec sleep 100' & read up <f; echo ready; "
        "read x; echo got $x; kill $!; wait $!; echo $?"
    )
    outer = terminal("sh", "-c", script)
    outer.expect("ready")
    outer.type("key\r")
    outer.expect("got key")
    outer.expect("143")
    assert outer.wait_exit() == 0
    assert outer.attributes() == outer.before


def test_in_a_script_with_input_elsewhere(terminal: Callable[..., OuterTerminal]) -> None:
    """With /dev/null as stdin, as `cmd &` has it in a script, keys stay the script's and the terminal unchanged."""
    outer = terminal(
        "dash", "-c", "mkfifo f; rprun -- sh -c 'echo up; read x <f' </dev/null & read x; echo >f; wait; echo end"
    )
    outer.expect("up")
    assert outer.attributes() == outer.before
    outer.type("key\r")
    outer.expect("end")
    assert outer.wait_exit() == 0
    assert outer.attributes() == outer.before


@pytest.mark.parametrize("number", [1, 2, 3])
def test_several_jobs(bash: Start, number: int) -> None:
    """Jobs that take turns in the foreground each get their own keys."""
    outer = bash()
    for _ in range(number + 1):
        outer.run("rprun -- cat &")
    outer.wait(lambda: outer.run("jobs").count("Stopped") == number + 1, "all of them to be stopped")
    for job in range(1, number + 2):
        outer.begin(f"fg {job}", "rprun -- cat\r\n")
        start = len(outer.output)
        outer.type(f"job{job}\r")
        outer.expect(f"job{job}\r\njob{job}\r\n", start=start)
        outer.keys("\x04")
        assert outer.attributes() == outer.at_rest
    assert outer.run("jobs") == ""

"""A command whose stdin is no terminal gets the terminal's keys when it asks for them, and only then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outer_terminal import OuterTerminal


def test_a_question_is_answered(terminal: Callable[..., OuterTerminal]) -> None:
    """xargs -p asks at /dev/tty: the answer reaches it, and is shown once."""
    outer = terminal("sh", "-c", "echo a | rprun -- xargs -p echo")
    outer.expect("echo a?...")
    outer.type("y\r")
    assert outer.wait_exit() == 0
    assert outer.output == b"echo a?...y\r\na\r\n"
    assert outer.attributes() == outer.before


def test_lines_that_were_typed_before_they_were_asked_for(
    terminal: Callable[..., OuterTerminal], tmp_path: Path
) -> None:
    """A line typed ahead is there for a later read of /dev/tty."""
    os.mkfifo(tmp_path / "f")
    outer = terminal("sh", "-c", "echo a | rprun -- sh -c 'echo ready; read x <f; read y </dev/tty; echo got $y'")
    outer.expect("ready\r\n")
    outer.type("early\r")
    outer.release(tmp_path / "f")
    assert outer.wait_exit() == 0
    assert outer.output.endswith(b"got early\r\n")


def test_an_echo_that_is_switched_off_after_the_prompt(terminal: Callable[..., OuterTerminal]) -> None:
    """A prompt may come before the echo is off: what is typed then is not shown, and arrives."""
    command = "printf Password:; stty -echo </dev/tty; read x </dev/tty; stty echo </dev/tty; echo got $x"
    outer = terminal("sh", "-c", f"echo a | rprun -- sh -c '{command}'")
    outer.expect("Password:")
    outer.wait(outer.is_raw, "the terminal to be taken")
    outer.type("secret\r")
    assert outer.wait_exit() == 0
    assert outer.output == b"Password:got secret\r\n"


def test_keys_of_another_program_are_left_alone(terminal: Callable[..., OuterTerminal]) -> None:
    """A line is the other program's of the pipeline that reads the terminal, with rprun at the pipeline's end."""
    outer = terminal("sh", "-c", "sh -c 'echo ready; read x; echo its $x' | rprun -- cat")
    outer.expect("ready\r\n")
    outer.type("line\r")
    assert outer.wait_exit() == 0
    assert outer.output.endswith(b"its line\r\n")
    assert outer.attributes() == outer.before

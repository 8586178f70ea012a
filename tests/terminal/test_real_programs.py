"""Programs that people use look and behave the same under rprun: the screens of a tmux window are compared.

Each test plays the same steps twice in the same window, bare and under rprun, and compares the screen, with its
colours and its cursor, after each step. The command line is the same text both times: `$R` stands for rprun.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tmux_window import TmuxWindow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., TmuxWindow]

RUNNER = "rprun --"
ASK = 'import getpass; print("length", len(getpass.getpass("[sudo] password for you: ")))'
WARNS = "int main(void) {\n    int unused;\n    return 0;\n}\n"


def needs(program: str) -> Any:
    """Skip a test where a program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def _play(window: TmuxWindow, steps: list[tuple[Any, str]]) -> list[tuple[list[str], str]]:
    """Type what the steps say, each until its text is on the screen; return the screens."""
    screens = []
    for keys, text in steps:
        if callable(keys):
            keys()
        elif isinstance(keys, str):
            window.line(keys)
        else:
            window.type(*keys)
        window.wait(lambda lines, text=text: re.search(text, "\n".join(lines)) is not None, text)  # type: ignore[misc]
        screens.append(_settled(window))
    return screens


def _settled(window: TmuxWindow) -> tuple[list[str], str]:
    """Return the screen once two looks at it see the same."""
    seen = None
    while True:
        now = (window.screen(colours=True), window.cursor())
        if now == seen:
            return now
        seen = now


def _same(
    tmux: Start, steps: Callable[[TmuxWindow], list[tuple[Any, str]]], **variables: str
) -> list[tuple[list[str], str]]:
    """Play the steps bare and under rprun, and compare each screen; return those of rprun."""
    bare = tmux(R="", **variables)
    expected = _play(bare, steps(bare))
    under = tmux(R=RUNNER, **variables)
    found = []
    for step, wanted in zip(steps(under), expected, strict=True):
        found += _play(under, [step])
        if found[-1] != wanted:
            # Two equal looks can still be too early.
            under.wait(lambda _, wanted=wanted: _settled(under) == wanted, f"this after {step}: {wanted}")  # type: ignore[misc]
    return found


@needs("vim.tiny")
def test_vim(tmux: Start, tmp_path: Path) -> None:
    """vim edits, suspends, follows a resize while suspended, resumes, and saves."""

    def steps(window: TmuxWindow) -> list[tuple[Any, str]]:
        (tmp_path / "text").write_text("".join(f"line {number}\n" for number in range(1, 60)))
        return [
            ("$R vim.tiny -n -u NONE text", r"line 23"),
            (["G", "o"], r"line 59"),
            (["added text", "Escape"], r"added text"),
            (["/line 30", "Enter"], r"line 30"),
            (["d", "d"], r"line 31"),
            (["C-z"], r"Stopped"),
            (lambda: window.resize(90, 20), r"Stopped"),
            ("fg", r"line 31"),
            (["C-v", "l", "l", "x", "u"], r"line 31"),
            ([":wq", "Enter"], r"text\n\$\s*$"),
            ("echo status $?", r"status 0"),
        ]

    _same(tmux, steps)
    lines = (tmp_path / "text").read_text().splitlines()
    assert lines[-1] == "added text"
    assert "line 30" not in lines


@needs("nano")
def test_nano(tmux: Start, tmp_path: Path) -> None:
    """nano edits and saves."""

    def steps(_: TmuxWindow) -> list[tuple[Any, str]]:
        (tmp_path / "text").write_text("first\n")
        return [
            ("$R nano -I text", r"first"),
            (["new ", "Down", "last"], r"last"),
            (["C-x"], r"Save modified"),
            (["y", "Enter"], r"\$\s*$"),
        ]

    _same(tmux, steps)
    assert (tmp_path / "text").read_text() == "new first\nlast\n"


@needs("less")
def test_less(tmux: Start) -> None:
    """less searches, follows a resize, is suspended and resumed, and ends."""

    def steps(window: TmuxWindow) -> list[tuple[Any, str]]:
        return [
            ("seq 1000 >numbers; $R less numbers", r"numbers"),
            (["Space"], r"46"),
            (["/777", "Enter"], r"777"),
            (lambda: window.resize(60, 15), r"777"),
            (["C-z"], r"Stopped"),
            ("fg", r"777"),
            (["G"], r"1000"),
            (["q"], r"\$\s*$"),
        ]

    _same(tmux, steps)


@needs("less")
def test_less_at_the_end_of_a_pipeline(tmux: Start) -> None:
    """`seq | rprun less` reads its keys from the terminal although its stdin is a pipe."""

    def steps(window: TmuxWindow) -> list[tuple[Any, str]]:
        return [
            ("seq 1000 | $R less", r"^:|\n:"),
            (["Space"], r"46"),
            (["/777", "Enter"], r"777"),
            (lambda: window.resize(60, 15), r"777"),
            (["q"], r"\$\s*$"),
            ("stty -a | grep -cw -e -echo", r"\n0"),
        ]

    _same(tmux, steps)


@needs("git")
def test_git_log(tmux: Start, tmp_path: Path) -> None:
    """git starts its pager with colours; q comes back to a sane terminal."""
    who = {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z"}
    for name in ("AUTHOR", "COMMITTER"):
        who |= {f"GIT_{name}_NAME": "someone", f"GIT_{name}_EMAIL": "someone@example.org"}
    repository = tmp_path / "repository"
    script = "git init -q . && for n in $(seq 30); do git commit -q --allow-empty -m commit$n; done"
    repository.mkdir()
    subprocess.run(
        ["sh", "-c", script], cwd=repository, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **who}, check=True
    )

    def steps(_: TmuxWindow) -> list[tuple[Any, str]]:
        return [
            ("cd repository; $R git log", r"commit27"),
            (["Space"], r"commit24"),
            (["q"], r"\$\s*$"),
            ("$R git log --oneline -3 | cat", r"commit28"),
            ("echo status $?", r"status 0"),
        ]

    _same(tmux, steps)


def test_python(tmux: Start) -> None:
    """The Python prompt: line editing, history, ^C in the middle of a line and of a computation, ^D."""

    def steps(_: TmuxWindow) -> list[tuple[Any, str]]:
        return [
            ("$R python3 -q", r">>>"),
            ("6 * 7", r"42"),
            (["Up", "BSpace", "8", "Enter"], r"48"),
            (["half a line", "C-c"], r"KeyboardInterrupt"),
            ("import signal; print('wai' + 'ting'); signal.pause()", r"waiting"),
            (["C-c"], r"KeyboardInterrupt[^$]*KeyboardInterrupt"),
            (["C-d"], r"\$\s*$"),
            ("echo status $?", r"status \d"),
        ]

    _same(tmux, steps)


def test_bash(tmux: Start) -> None:
    """A bash inside: editing, completion, job control, exit status."""

    def steps(_: TmuxWindow) -> list[tuple[Any, str]]:
        return [
            ("$R bash --noprofile --norc -i", r"\n\$\s*$"),
            (["echo abd", "Left", "c", "C-e", "e", "Enter"], r"\nabcde"),
            ("sleep 100", r"sleep"),
            (["C-z"], r"Stopped"),
            ("bg; jobs", r"Running"),
            ("disown; kill $!; jobs; echo gone", r"\ngone"),
            (["sleep 10", "C-c"], r"\^C"),
            ("exit 3", r"exit"),
            ("echo status $?", r"status 3"),
        ]

    _same(tmux, steps)


@needs("make")
@needs("gcc")
def test_a_build_in_colour(tmux: Start, tmp_path: Path) -> None:
    """A build that asks whether it may use colours gets the same answer, and shows the same ones."""
    (tmp_path / "warns.c").write_text(WARNS)
    (tmp_path / "Makefile").write_text(
        "all:\n\tgcc -Wall -fdiagnostics-color=auto -c warns.c\n\tls --color=auto -d /\n"
    )

    def steps(_: TmuxWindow) -> list[tuple[Any, str]]:
        return [
            ("TERM=xterm GCC_COLORS= $R make; echo plain $?", r"plain 0"),
            ("TERM=xterm $R make -j2; echo status $?", r"status 0"),
        ]

    screens = _same(tmux, steps)
    assert any("\x1b[" in line for line in screens[-1][0])


def test_a_password_prompt(tmux: Start) -> None:
    """A prompt like sudo's shows nothing of the password, also when its stdin is a pipe."""

    def steps(_: TmuxWindow) -> list[tuple[Any, str]]:
        return [
            ('$R python3 -c "$ASK"', r"password for you"),
            ("secret", r"length 6"),
            ('echo x | $R python3 -c "$ASK"', r"length 6\n[^\n]*\n\[sudo\] password for you"),
            ("hidden", r"length 6[^6]*length 6"),
        ]

    screens = _same(tmux, steps, ASK=ASK)
    assert not any("secret" in line or "hidden" in line for screen, _ in screens for line in screen)


@needs("top")
def test_top(tmux: Start) -> None:
    """top draws its table over the whole screen, takes its keys, and leaves a sane terminal."""
    window = tmux(R=RUNNER)
    window.line("$R top -d 100")
    lines = window.wait_text("COMMAND")
    assert lines[0].startswith("top - ")
    window.resize(100, 12)
    window.wait(
        lambda lines: len(lines) == 12 and any("COMMAND" in line for line in lines), "the table in its new size"
    )
    window.type("q")
    window.wait_prompt()
    window.line("echo status $?; stty -a | grep -cw -e -echo")
    window.wait(lambda lines: "status 0" in lines and "0" in lines, "the status and a sane terminal")


def test_the_screen_after_a_full_screen_program(tmux: Start) -> None:
    """A program that uses the alternate screen and a scroll region leaves the main screen as it was."""
    script = r"printf '\033[?1049h\033[2;5r\033[3;1Hinside\033[31mred'; read x; printf '\033[r\033[m\033[?1049l'"

    def steps(_: TmuxWindow) -> list[tuple[Any, str]]:
        return [('seq 5; $R sh -c "$SCRIPT"', r"insidered"), (["Enter"], r"5\n\$\s*$"), ("echo after", r"\nafter")]

    _same(tmux, steps, SCRIPT=script)

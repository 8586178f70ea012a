r"""^C and ^\ reach whom they would have reached without rprun: the command, and the shell of the script around it."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from outer_terminal import Bash, OuterTerminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOP = """\
for i in 1 2 3; do
    $R sh -c 'echo begun; exec sleep 100'
    echo after $i
done
echo end
"""
ONCE = """\
$R {command}
echo status $?
"""
# Ends by itself at ^C, as editors and servers do.
HANDLES = """python3 -c '
import os, signal, sys
def stop(*_):
    os.write(1, b"caught\\n")
    sys.exit(7)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGQUIT, stop)
os.write(1, b"begun\\n")
while True:
    signal.pause()
'"""
# Takes two ^C as something to note, and goes on.
COUNTS = """python3 -c '
import os, signal, sys
count = 0
def note(*_):
    global count
    count += 1
    os.write(1, b"caught %d\\n" % count)
    if count == 3:
        sys.exit(0)
signal.signal(signal.SIGINT, note)
os.write(1, b"begun\\n")
while True:
    signal.pause()
'"""

# Hears of ^\\ beside the command, and says so at once.
WITNESS = """\
mkfifo ready
python3 -c '
import os, signal
def hear(*_):
    os.write(1, b"heard\\n")
    os._exit(0)
signal.signal(signal.SIGQUIT, hear)
open("ready", "w").close()
while True:
    signal.pause()
' &
cat ready
$R sh -c 'echo begun; exec sleep 100'
wait
"""

shells = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))
        for name in ("bash", "dash", "zsh")
    ],
)


def _outcome(outer: Bash, line: str, *keys: str) -> tuple[str, int]:
    """Run a line that prints `begun`, type keys, each after what the last one brought; return what it showed."""
    start = len(outer.output)
    outer.begin(line, "begun")
    for key, answer in zip(keys[::2], keys[1::2], strict=True):
        mark = len(outer.output)
        outer.type(key)
        if answer:
            outer.expect(answer, start=mark)
    return outer.prompt(start).partition("begun")[2], outer.last_status()


def _script(directory: Path, shell: str, text: str) -> str:
    """Write a script and return the command line for it; zsh splits a variable into words only when told to."""
    (directory / "script").write_text(text.replace("$R", "${=R}") if shell == "zsh" else text)
    return f"{shell} ./script"


@shells
def test_a_loop_ends(bash: Callable[..., Bash], tmp_path: Path, shell: str) -> None:
    """One ^C ends a script's loop over commands, with the status that it has without rprun."""
    line = _script(tmp_path, shell, LOOP)
    outcomes = []
    for runner in ("", "rprun --"):
        outer = bash(R=runner)
        outcomes.append(_outcome(outer, line, "\x03", ""))
        assert outer.attributes() == outer.at_rest
    assert outcomes[1] == outcomes[0]
    shown, status = outcomes[1]
    assert "after" not in shown
    assert status == 130


@shells
def test_quit(bash: Callable[..., Bash], tmp_path: Path, shell: str) -> None:
    r"""^\ ends the command, and the script goes on or not as it does without rprun."""
    line = _script(tmp_path, shell, ONCE.replace("{command}", "sh -c 'echo begun; exec sleep 100'"))
    outcomes = []
    for runner in ("", "rprun --"):
        outer = bash(R=runner)
        outer.run("ulimit -c 0")
        shown, status = _outcome(outer, line, "\x1c", "")
        outcomes.append((re.sub(r"\d{3,} Quit", "PID Quit", shown), status))
        assert outer.attributes() == outer.at_rest
    assert outcomes[1] == outcomes[0]


@shells
def test_a_script_goes_on_where_its_shell_does(bash: Callable[..., Bash], tmp_path: Path, shell: str) -> None:
    """After a ^C that the command handled, the script does what it does without rprun; the status is the command's."""
    line = _script(tmp_path, shell, ONCE.replace("{command}", HANDLES))
    outcomes = [_outcome(bash(R=runner), line, "\x03", "caught") for runner in ("", "rprun --")]
    assert outcomes[1] == outcomes[0]
    if shell == "bash":
        assert "status 7" in outcomes[1][0]


@shells
def test_a_command_that_survives(bash: Callable[..., Bash], tmp_path: Path, shell: str) -> None:
    """rprun goes on as long as the command does, however many ^C that takes."""
    line = _script(tmp_path, shell, ONCE.replace("{command}", COUNTS))
    outcomes = []
    for runner in ("", "rprun --"):
        keys = ("\x03", "caught 1\r\n", "\x03", "caught 2\r\n", "\x03", "caught 3\r\n")
        outcomes.append(_outcome(bash(R=runner), line, *keys))
    assert outcomes[1] == outcomes[0]


@pytest.mark.parametrize(("key", "status"), [("\x03", 130), ("\x1c", 131)])
def test_at_the_prompt(bash: Callable[..., Bash], key: str, status: int) -> None:
    """At an interactive prompt ^C ends the command, shows ^C, and the status is 128 and the signal."""
    outer = bash(C="echo begun; exec sleep 100")
    outer.run("ulimit -c 0")
    shown, code = _outcome(outer, 'rprun -- sh -c "$C"', key, "")
    assert code == status
    assert ("^C" if key == "\x03" else "^\\") in shown
    assert outer.attributes() == outer.at_rest


def test_an_interactive_loop_ends(bash: Callable[..., Bash]) -> None:
    """^C ends a loop that was typed at the prompt."""
    outer = bash(C="echo begun; exec sleep 100")
    shown, code = _outcome(outer, 'for i in 1 2 3; do rprun -- sh -c "$C"; echo after $i; done', "\x03", "")
    assert code == 130
    assert "after" not in shown


def test_every_stage_of_a_pipeline(bash: Callable[..., Bash]) -> None:
    """^C reaches the other programs of the pipeline, as it does without rprun."""
    outer = bash(C="echo begun >&2; exec sleep 100", S="trap 'echo other >&2; exit 3' INT; cat; sleep 100")
    shown, code = _outcome(outer, 'rprun -- sh -c "$C" | bash -c "$S"', "\x03", "other")
    assert code == 3
    assert outer.attributes() == outer.at_rest
    shown, code = _outcome(outer, 'bash -c "$S" | rprun -- sh -c "$C"', "\x03", "other")
    assert code == 130, shown
    assert outer.attributes() == outer.at_rest


def test_with_stdin_from_a_pipe(bash: Callable[..., Bash]) -> None:
    """^C ends `something | rprun cmd`, although keys are not read there."""
    outer = bash(C="echo begun; exec sleep 100")
    shown, code = _outcome(outer, ':| rprun -- sh -c "$C"', "\x03", "")
    assert code == 130, shown
    shown, code = _outcome(outer, 'rprun -- sh -c "$C" </dev/null', "\x03", "")
    assert code == 130, shown
    assert outer.attributes() == outer.at_rest


def test_only_once(bash: Callable[..., Bash]) -> None:
    """One ^C is one SIGINT, in every transport that shares the terminal."""
    outer = bash(C=COUNTS.split("'")[1], OTHER="trap '' INT; cat")
    for redirection in ("", "</dev/null", '| sh -c "$OTHER"', "2>/dev/null", '</dev/null | sh -c "$OTHER"'):
        keys = ("\x03", "caught 1\r\n", "\x03", "caught 2\r\n", "\x03", "caught 3\r\n")
        shown, _ = _outcome(outer, f'rprun -- python3 -c "$C" {redirection}', *keys)
        assert shown.count("caught") == 3
        assert outer.attributes() == outer.at_rest


def test_ignored_interrupts(terminal: Callable[..., OuterTerminal]) -> None:
    """A command that was started with SIGINT ignored is not ended by ^C."""
    outer = terminal("sh", "-c", "trap '' INT; rprun -- sh -c 'echo begun; read x; echo got $x'")
    outer.expect("begun")
    outer.type("\x03")
    outer.expect("^C")
    outer.type("on\r")
    outer.expect("got on")
    assert outer.wait_exit() == 0
    assert outer.attributes() == outer.before


@pytest.mark.parametrize("turn", range(8))
def test_an_echo_comes_before_who_hears_of_the_key(bash: Callable[..., Bash], tmp_path: Path, turn: int) -> None:
    """Whoever else is in the foreground finds the key shown already, as a terminal's own driver shows it."""
    line = _script(tmp_path, "sh", WITNESS)
    outer = bash(R="rprun --")
    outer.run("ulimit -c 0")
    start = len(outer.output)
    outer.begin(line, "begun")
    outer.type("\x1c")
    outer.expect("heard", start=start)
    # The shell's prompt may come before that, too: the key has ended the script.
    outer.wait(outer.at_prompt, "the shell")
    shown = bytes(outer.output[start:]).decode().replace("\r\n", "\n").partition("begun")[2]
    assert shown.startswith("\n^\\")
    assert "heard\n" in shown

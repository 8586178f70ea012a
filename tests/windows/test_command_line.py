"""Command lines: what programs take apart is what was put together, and cmd.exe gets nothing that it would act on."""

from __future__ import annotations

import os
from subprocess import list2cmdline
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rprun.errors import NotExecutable
from rprun.transport.windows import command_line

if TYPE_CHECKING:
    from pathlib import Path

WORDS = st.lists(st.text(st.sampled_from('ab \t"\\\\%&^é'), max_size=8), min_size=1, max_size=5)
# A program's own path has neither quotes nor, where nothing quotes it, blanks.
PROGRAMS = st.text(st.sampled_from("abc:\\_. "), min_size=1, max_size=8).filter(lambda text: text.strip(" ") == text)


@given(PROGRAMS, WORDS)
def test_split_is_the_inverse(program: str, arguments: list[str]) -> None:
    """What the C runtime's rules make of a joined line are the words that were joined."""
    line = command_line.join([f"{program}x", *arguments])
    assert [word for _, word in command_line.split(line)] == [f"{program}x", *arguments]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('p "a b" c', ["p", "a b", "c"]),
        ('"C:\\with blanks\\p.exe" x', ["C:\\with blanks\\p.exe", "x"]),
        (r"p a\\\b d\"e f", ["p", r"a\\\b", 'd"e', "f"]),
        (r'p "a\\" b', ["p", "a\\", "b"]),
        (r'p "a\\\" b"', ["p", 'a\\" b']),
        ('p "a""b" c', ["p", 'a"b', "c"]),
        ('p PROP="a b"', ["p", "PROP=a b"]),
        ("p\t a   b ", ["p", "a", "b"]),
        ('p ""', ["p", ""]),
        ('p "never closed', ["p", "never closed"]),
        ("", []),
    ],
)
def test_split(line: str, words: list[str]) -> None:
    """The examples of the C runtime's documentation come apart as it says."""
    assert [word for _, word in command_line.split(line)] == words


@given(WORDS, WORDS)
def test_tail_is_what_was_typed(before: list[str], command: list[str]) -> None:
    """The end of a line that holds the command's words is found, and it holds them and nothing else."""
    line = list2cmdline(["rprun", *before, *command])
    found = command_line.tail(line, command)
    assert found is not None
    assert line.endswith(found)
    # A first word is read by other rules than the rest, so one goes in front.
    assert [word for _, word in command_line.split(f"x {found}")][1:] == command


def test_tail_keeps_what_words_do_not_show() -> None:
    """How a word was quoted is another program's business, and stays as it was typed."""
    line = '"C:\\py\\python.exe" "C:\\py\\rprun.exe" --pipe -- msiexec /i x PROP="a b" ^& "c"'
    argv = ["msiexec", "/i", "x", "PROP=a b", "^&", "c"]
    assert command_line.tail(line, argv) == 'msiexec /i x PROP="a b" ^& "c"'


def test_tail_of_another_line_is_none() -> None:
    """Where the line's words are not the command's, nobody guesses."""
    assert command_line.tail("rprun a b", ["a", "c"]) is None
    assert command_line.tail("", ["a"]) is None
    assert command_line.tail("rprun a", []) is None


@pytest.mark.parametrize("word", ['a"b', "%PATH%", "100%", "a\r\nb", "a\nb", "a\0b"])
def test_what_cmd_would_act_on_is_refused(word: str) -> None:
    """A quote, a percent sign and a line's end are not themselves inside cmd.exe's quotes, so they are not passed."""
    with pytest.raises(NotExecutable, match=r"cmd\.exe"):
        command_line.batch("C:\\b.bat", [word], "cmd.exe")
    with pytest.raises(NotExecutable):
        command_line.batch(f"C:\\{word}.bat", [], "cmd.exe")


@given(
    st.lists(st.text(st.characters(exclude_characters='"%\r\n\0', exclude_categories=["Cs"]), max_size=8), max_size=4)
)
def test_no_word_leaves_its_quotes(words: list[str]) -> None:
    """Whatever a word holds, what cmd.exe acts on outside of quotes is not in it."""
    line = command_line.batch("C:\\a b\\s.cmd", words, "C:\\Windows\\cmd.exe")
    start = 'C:\\Windows\\cmd.exe /d /e:on /v:off /s /c "'
    assert line.startswith(start)
    assert line.endswith('"')
    # With /s, cmd.exe takes off the first quote and the last.
    outside = "".join(line[len(start) : -1].split('"')[::2])
    assert not set(outside) & set("&|<>^()!;,=\t")


def test_batch_words_are_quoted_only_where_needed() -> None:
    """Quotes are part of what the script sees, so a plain word gets none; a backslash does not eat the last one."""
    line = command_line.batch("s.bat", ["plain", "/x:1", "a b", "", "a=b", "c d\\"], "cmd.exe")
    assert line.endswith('""s.bat" plain /x:1 "a b" "" "a=b" "c d\\\\""')


@pytest.mark.parametrize(("path", "is_batch"), [("x.BAT", True), ("x.cmd", True), ("x.cmd. .", True), ("x.exe", False)])
def test_batch_files_are_known(path: str, is_batch: bool) -> None:
    """By their names in any case, also with what Windows leaves away at a name's end."""
    assert command_line.is_batch(path) is is_batch


def make(*paths: Path) -> None:
    """Make empty files."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_find(tmp_path: Path) -> None:
    """A command is looked for as Windows does: here first, then in PATH, with the extensions of PATHEXT."""
    here, there = tmp_path / "here", tmp_path / "there"
    make(
        here / "both.exe",
        there / "both.exe",
        there / "only.cmd",
        there / "only.exe",
        there / "dot.ted.exe",
        there / "plain",
    )
    variables = {"PATH": f"/nowhere{os.pathsep}{there}", "PATHEXT": ".exe;.cmd"}

    def find(name: str, **more: str) -> str | None:
        return command_line.find(name, variables | more, str(here))

    assert find("both") == str(here / "both.exe")
    assert find("both", NODEFAULTCURRENTDIRECTORYINEXEPATH="1") == str(there / "both.exe")
    assert find("only") == str(there / "only.exe")
    assert find("only.cmd") == str(there / "only.cmd")
    assert find("only", PATHEXT=".cmd;.exe") == str(there / "only.cmd")
    assert find("dot.ted") == str(there / "dot.ted.exe")
    assert find("plain") == str(there / "plain")
    assert find("none") is None
    assert find(os.path.join("..", "there", "only")) == str(there / "only.exe")
    assert find(os.path.join("..", "here", "only")) is None


def test_too_long() -> None:
    """A line that the system does not take is refused with a word about it."""
    command_line.check_length("x" * 32766, "p")
    with pytest.raises(NotExecutable, match="too long"):
        command_line.check_length("x" * 32767, "p")
    with pytest.raises(NotExecutable):
        command_line.check_length("\N{GRINNING FACE}" * 16384, "p")

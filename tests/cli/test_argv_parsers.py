"""The start-up parser and Typer agree on every argument list."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rprun.cli import _argv_table, app, argv, finish, table
from rprun.errors import UsageError
from rprun.runner.options import RunOptions

SHOWN = 77

GOOD = {
    "size": "80x24", "drain": "inf", "observe": "file,network", "events": "fd:3", "require": "file=supported",
    "timeout": "1.5m", "idle_timeout": "0", "signal": "int", "kill_after": "250ms", "orphans": "kill", "cwd": "/",
    "env": "A=b=c", "env_unset": "HOME", "backends": "file=ebpf,process=proc-connector",
}  # fmt: skip
BAD = ["", "-1", "x", "nan", "--", "--pty", "-t", "a,,b", "fd:x", "inf", "=", "@file", "*", "~", "\udcff", "a\nb", "-"]
WORDS = [
    "capabilities",
    "true",
    "--",
    "-",
    "--json",
    "--help",
    "-h",
    "--version",
    "-tT",
    "-tt",
    "-th",
    "-x",
    "-t=1",
    "--pty=1",
    "--pty=",
    "--obs",
    "--no-pty",
    "---",
    "--=",
    "-=",
    "@args",
    "*.py",
    "",
    "\udcff",
    "a\nb",
    "--size",
    "--observe",
    "--all",
]
NAMES = sorted(_argv_table.LONG) + [f"-{letter}" for letter in _argv_table.SHORT]


def option() -> st.SearchStrategy[list[str]]:
    """An option with a value that often fits, attached or not, or missing."""

    def tokens(name: str, value: str, form: int) -> list[str]:
        dest, kind = _argv_table.LONG.get(name, ("", "flag"))
        value = value or GOOD.get(dest, "")
        if kind == "flag" and form < 9:
            return [name]
        return [f"{name}={value}"] if form % 2 else [name, value] if form < 9 else [name]

    values = st.one_of(
        st.just(""), st.just(""), st.sampled_from(BAD), st.sampled_from(sorted(GOOD.values())), st.text(max_size=5)
    )
    return st.builds(tokens, st.sampled_from(NAMES), values, st.integers(0, 9))


def arguments() -> st.SearchStrategy[list[str]]:
    """Options, rubbish and commands, in any order."""
    piece = st.one_of(option(), option(), option(), st.lists(st.sampled_from(WORDS), min_size=1, max_size=2))
    command = st.sampled_from([[], ["true"], ["--", "cmd", "--help", "", "\udcff"], ["--"], ["cmd", "--", "-t"]])
    joined = st.builds(
        lambda pieces, rest: [word for part in [*pieces, rest] for word in part], st.lists(piece, max_size=4), command
    )
    return joined.filter(lambda words: not any("\0" in word for word in words))


def through_typer(words: list[str]) -> RunOptions | int | str:
    """What Typer makes of it: options, the status of what it did instead, or the text of its complaint."""
    shown = mock.patch("rprun.cli.capabilities.show", lambda as_json, all_backends: SHOWN)
    # Drawing the help takes longest by far and has tests of its own.
    drawn = mock.patch("rprun.cli.help._captured", lambda command: "")
    with drawn, shown:
        try:
            return app.parse(list(words))
        except UsageError as error:
            return str(error)


@settings(max_examples=600)
@given(arguments())
def test_parsers_agree(words: list[str]) -> None:
    """The start-up parser gives what Typer gives, and nothing exactly where Typer gives no run."""
    slow = through_typer(words)
    assert argv.parse(list(words)) == (slow if isinstance(slow, RunOptions) else None)


@given(st.lists(st.text().filter(lambda word: "\0" not in word), min_size=1))
def test_a_command_after_dashes_is_untouched(command: list[str]) -> None:
    """Whatever the words behind `--` are, they are the argv."""
    options = argv.parse(["--", *command])
    assert options is not None
    assert options.argv == tuple(command)


@pytest.mark.parametrize(
    "command", [["cmd", "--help"], ["cmd", "", "\n", "\udcff"], ["-"], ["cmd", "--", "--pty"], ["capabilitie"]]
)
def test_the_first_word_starts_the_command(command: list[str]) -> None:
    """Everything from the first word that is not an option on is the argv, for both parsers."""
    expected = RunOptions(argv=tuple(command), transport="pty")
    assert argv.parse(["-t", *command]) == through_typer(["-t", *command]) == expected


def test_subcommand_and_command_of_its_name() -> None:
    """A subcommand's name alone is the subcommand; after `--` it is a command; after an option it is a mistake."""
    assert through_typer(["capabilities", "--json"]) == SHOWN
    assert (
        argv.parse(["--", "capabilities"])
        == through_typer(["--", "capabilities"])
        == RunOptions(argv=("capabilities",))
    )
    message = through_typer(["--json", "capabilities"])
    assert isinstance(message, str)
    assert "--" in message
    assert argv.parse(["--json", "capabilities"]) is None


def test_last_one_wins_and_lists_add_up() -> None:
    """Of a repeated scalar the last holds; observe, require, backend, env and env-unset accumulate."""
    words = [
        "--timeout", "1", "--timeout=2s", "--observe", "file", "--observe=network", "--env", "A=1", "--env=B=2",
        "--env-unset", "X", "--env-unset=Y", "--backend", "file=etw", "--backend=process=etw,file=ebpf", "-t", "--pty",
        "cmd",
    ]  # fmt: skip
    expected = RunOptions(
        argv=("cmd",), transport="pty", timeout=2.0, observe=("file", "network"),
        env=(("A", "1"), ("B", "2")), env_unset=("X", "Y"), backends=(("file", "ebpf"), ("process", "etw")),
    )  # fmt: skip
    assert argv.parse(words) == through_typer(words) == expected


@pytest.mark.parametrize(
    ("words", "observe"),
    [
        (["--json"], ("lifecycle",)),
        (["--events", "log"], ("lifecycle",)),
        (["--json", "--observe", "file"], ("file",)),
        (["--events", "log", "--observe", "all"], ("lifecycle", "file", "network", "process")),
        (["--require", "file"], ()),
    ],
)
def test_what_is_observed_unsaid(words: list[str], observe: tuple[str, ...]) -> None:
    """--json, or naming a destination, asks for lifecycle events where no category is named."""
    options = argv.parse([*words, "cmd"])
    assert options is not None
    assert options.observe == observe


def test_an_explicit_default_destination_counts_as_named() -> None:
    """`--events -` asks for events as `--events FILE` does, for both parsers."""
    words = ["--events", "-", "cmd"]
    assert argv.parse(words) == through_typer(words) == RunOptions(argv=("cmd",), observe=("lifecycle",))


@pytest.mark.parametrize(
    "words", [["-tT", "x"], ["--pty", "--pipe", "x"], ["-T", "--split-stderr", "x"], ["--"], ["-t", "--"]]
)
def test_contradictions(words: list[str]) -> None:
    """Options that contradict each other, and `--` with nothing behind it, are usage errors."""
    assert isinstance(through_typer(words), str)
    assert argv.parse(words) is None


def test_no_command_is_left_to_the_run() -> None:
    """Options without a command give an empty argv, which stands for $SHELL."""
    assert argv.parse(["--pty"]) == through_typer(["--pty"]) == RunOptions(transport="pty")


def test_every_declared_option_reaches_the_run() -> None:
    """Each option of the Typer app has a parser, and its declared default is that of RunOptions."""
    for declared in table.read().options:
        if declared.dest in ("help", "version"):
            continue
        if not declared.metavar:
            assert finish.finish({declared.dest: True}) != RunOptions()
            continue
        assert declared.dest in RunOptions.__slots__
        value = [GOOD[declared.dest]] if declared.multiple else GOOD[declared.dest]
        if declared.default:
            plain = finish.finish({declared.dest: declared.default})
            assert getattr(plain, declared.dest) == getattr(RunOptions(), declared.dest)
        finish.finish({declared.dest: value})

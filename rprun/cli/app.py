"""The Typer signatures below are the one definition of the command line.

The man page, the completions and the table of the start-up parser are rendered from them
(`python -m rprun.cli.generate --write`). A help text starts with one short sentence, which is all that
completions show.

Typer sees options only: the command is cut off first, by the table, because a command's words are not ours
to interpret, expand or re-encode.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Annotated, Any

import typer

from rprun import __version__
from rprun.cli.dying import die_of
from rprun.cli.finish import finish, with_argv
from rprun.cli.help import HelpCommand, HelpGroup
from rprun.cli.start import start
from rprun.errors import UsageError
from rprun.runner.options import RunOptions

TERMINAL = "Terminal and pipes"
EVENTS = "Observation"
ENDING = "How it ends"
SETTING = "Directory and environment"
OTHER = "Other"

# Every parse error of click, whether Typer brings its own copy of click (0.26 and later) or imports it.
ParseError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="rprun",
    cls=HelpGroup,
    add_completion=False,
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False},
)


def _show_version(asked: bool) -> None:
    """Print the version and leave, before anything else is looked at."""
    if asked:
        typer.echo(f"rprun {__version__}")
        raise typer.Exit


@app.callback()
def run(
    ctx: typer.Context,
    pty: Annotated[
        bool,
        typer.Option(
            "--pty",
            "-t",
            rich_help_panel=TERMINAL,
            help="Run the command in a terminal. Its standard input, output and error are one new pseudo-terminal.",
        ),
    ] = False,
    pipe: Annotated[
        bool,
        typer.Option(
            "--pipe",
            "-T",
            rich_help_panel=TERMINAL,
            help="Run the command on pipes. Its standard output and error are plain pipes, kept apart; "
            "standard input passes through.",
        ),
    ] = False,
    split_stderr: Annotated[
        bool,
        typer.Option(
            "--split-stderr",
            rich_help_panel=TERMINAL,
            help="Give standard error a second terminal. Both then look like terminals and still stay apart.",
        ),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="COLSxROWS",
            rich_help_panel=TERMINAL,
            help="Set the size of the terminal. Without it the size is that of the first terminal among standard "
            "input, output and error, else 80x24.",
        ),
    ] = None,
    drain: Annotated[
        str,
        typer.Option(
            "--drain",
            metavar="DUR",
            rich_help_panel=TERMINAL,
            help="Set how long to read a terminal that a descendant still holds open. The time counts from the "
            "end of the command; 0 leaves at once, inf waits for end of file.",
        ),
    ] = "1s",
    observe: Annotated[
        list[str] | None,
        typer.Option(
            "--observe",
            metavar="CATEGORIES",
            rich_help_panel=EVENTS,
            help="Say what the command does. A comma list of lifecycle, process, file and network, or all; "
            "may be repeated.",
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            rich_help_panel=EVENTS,
            help="Write events as JSON lines. Without it they are short readable lines. Alone it means "
            "--observe lifecycle.",
        ),
    ] = False,
    # No default of its own: naming a destination, even this one, asks for events.
    events: Annotated[
        str | None,
        typer.Option(
            "--events",
            metavar="DEST",
            rich_help_panel=EVENTS,
            help="Choose where events go. Standard error (-, the default), a file, or the open descriptor N (fd:N). "
            "Alone it means --observe lifecycle.",
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="CATEGORIES",
            rich_help_panel=EVENTS,
            help="Fail before the start where one of these cannot be observed. The exit status is then 125. "
            "CATEGORY=supported asks for full observation, CATEGORY alone for partial; may be repeated.",
        ),
    ] = None,
    backends: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            metavar="CATEGORY=NAME",
            rich_help_panel=EVENTS,
            help="Choose the backend that observes a category. rprun capabilities --all lists them; one that cannot "
            "work here is an error, with exit status 125. A comma list; may be repeated.",
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="DUR",
            rich_help_panel=ENDING,
            help="End the command after this time. The exit status is then 124; 0 and inf set no limit.",
        ),
    ] = None,
    idle_timeout: Annotated[
        str | None,
        typer.Option(
            "--idle-timeout",
            metavar="DUR",
            rich_help_panel=ENDING,
            help="End the command after this time without output or input. The exit status is then 124; "
            "0 and inf set no limit.",
        ),
    ] = None,
    signal: Annotated[
        str,
        typer.Option(
            "--signal",
            metavar="SIG",
            rich_help_panel=ENDING,
            help="Choose the signal that a limit sends first. It goes to the whole tree of processes.",
        ),
    ] = "TERM",
    kill_after: Annotated[
        str,
        typer.Option(
            "--kill-after",
            metavar="DUR",
            rich_help_panel=ENDING,
            help="Set the grace between that signal and KILL. 0 kills at once.",
        ),
    ] = "5s",
    orphans: Annotated[
        str,
        typer.Option(
            "--orphans",
            metavar="leave|report|wait|kill",
            rich_help_panel=ENDING,
            help="Choose what happens to descendants that outlive the command.",
        ),
    ] = "leave",
    cwd: Annotated[
        str | None,
        typer.Option(
            "--cwd", metavar="DIR", rich_help_panel=SETTING, help="Run the command in this working directory."
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME=VALUE",
            rich_help_panel=SETTING,
            help="Set a variable for the command. May be repeated.",
        ),
    ] = None,
    env_unset: Annotated[
        list[str] | None,
        typer.Option(
            "--env-unset",
            metavar="NAME",
            rich_help_panel=SETTING,
            help="Remove a variable for the command. This happens before --env; may be repeated.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_show_version,
            rich_help_panel=OTHER,
            help="Print the version.",
        ),
    ] = False,
) -> Any:
    """Run a command untouched, in a terminal or on pipes, and say truthfully what it did."""
    if ctx.invoked_subcommand is None:
        # click before 8.1 drops what a group's own function returns.
        ctx.obj = finish({name: value for name, value in ctx.params.items() if name != "version"})
    return ctx.obj


@app.command(cls=HelpCommand)
def capabilities(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Print every backend. Each comes with the answer of its own probe.")
    ] = False,
) -> int:
    """Say what can be observed on this host, by what means, and why not more."""
    from rprun.cli.capabilities import show

    return show(json, every)


@cache
def root_command() -> Any:
    """The app as a command object of click; building it takes Typer longer than parsing."""
    return typer.main.get_command(app)


def parse(args: list[str]) -> RunOptions | int:
    """Parse with Typer: the options of a run, or the exit status of what has been done instead.

    Raises:
        UsageError: in one line, whatever click would have printed.
    """
    # Only here: the generator of the table that `argv` reads imports this module.
    from rprun.cli import argv

    options, command, dashes = argv.split(args or ["--help"])
    if dashes and not command:
        raise UsageError("--: no command comes after it (try rprun -- COMMAND, or no -- for $SHELL)")
    root = root_command()
    subcommand = command[0] if command and not dashes and command[0] in getattr(root, "commands", {}) else None
    try:
        if subcommand and not options:
            return _invoke(root, command)
        result = _invoke(root, options)
    except ParseError as error:
        raise UsageError(_one_line(error, root)) from None
    if not isinstance(result, RunOptions):
        return result
    if subcommand:
        raise UsageError(
            f"{subcommand}: options of a run come before it (try rprun {subcommand} --help, "
            f"or -- before it for a command of that name)"
        )
    return with_argv(result, tuple(command))


def _invoke(root: Any, args: list[str]) -> RunOptions | int:
    """Run Typer's command object on these arguments.

    Not through its `main`, which prints errors in a box of several lines, expands wildcards on Windows and
    answers to an environment variable by printing completions.
    """
    try:
        try:
            with root.make_context("rprun", list(args)) as ctx:
                done = root.invoke(ctx)
                result: RunOptions | int = done if ctx.obj is None else ctx.obj
        except typer.Exit as left:
            result = left.exit_code
        # Here and not at interpreter exit, where a full disk is reported in three lines and as 120.
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more: `rprun --help | head -1` ends as any command's output does, without a word.
        die_of("SIGPIPE")
    return result


def _one_line(error: Any, root: Any) -> str:
    """A parse error of click as `what: why (what to try)`."""
    context = getattr(error, "ctx", None)
    command = context.command if context is not None else root
    takes_value = {name: None if param.is_flag else param.metavar for param in command.params for name in param.opts}
    name = getattr(error, "option_name", None)
    if name is None:
        where = "rprun" if command is root else f"rprun {command.name}"
        return f"{where}: {error.message[:1].lower()}{error.message[1:].rstrip('.')} (try {where} --help)"
    if name not in takes_value:
        near = _nearest(name, [*takes_value, "--help"])
        return f"{name}: there is no such option (try {near or 'rprun --help'})"
    if takes_value[name] is None:
        return f"{name}: this option takes no value (try {name} by itself)"
    return f"{name}: it needs a value (try {name} {takes_value[name]})"


def _nearest(name: str, known: list[str]) -> str | None:
    """The option that was most likely meant: the shortest that begins so, else the most similar."""
    from difflib import get_close_matches

    longer = sorted((option for option in known if len(name) > 3 and option.startswith(name)), key=len)
    return next(iter([*longer, *get_close_matches(name, known, n=1)]), None)


def main(args: list[str]) -> int:
    """Do what the arguments say through Typer; the exit status."""
    result = parse(args)
    if isinstance(result, RunOptions):
        return start(result)
    return result

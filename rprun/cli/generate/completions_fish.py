"""The fish completion: options until the command begins, then whatever fish knows about that command."""

from __future__ import annotations

from rprun.cli import table

TEMPLATE = r"""# fish completion for rprun(1)
# Generated from rprun/cli/app.py by `python -m rprun.cli.generate --write`; not to be edited.

# Print the words of the command before the cursor. Status 1: the options have not ended yet.
# Status 2: the next word may be the command, and may be an option too.
function __rprun_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case --
                set -e words[1]
                # Without arguments printf would still print a line.
                set -q words[1]; and printf '%s\n' $words
                return 0
            case @VALUED@
                set -q words[2]; or return 1
                set -e words[1..2]
            case -
                # The command; a question mark is no pattern any more in fish 4.
                printf '%s\n' $words
                return 0
            case '-*'
                set -e words[1]
            case '*'
                printf '%s\n' $words
                return 0
        end
    end
    return 2
end

# True while an option may stand at the cursor.
function __rprun_in_options
    __rprun_command >/dev/null
    test $status -ne 0
end

# True where the first word after rprun is at the cursor.
function __rprun_first
    test (count (commandline -opc)) -eq 1
end

# True inside the subcommand $argv[1].
function __rprun_in_subcommand
    set -l words (commandline -opc)
    set -q words[2]; and test $words[2] = $argv[1]
end

# The command's own completions, or command names where it begins.
function __rprun_hand_over
    set -l words (__rprun_command)
    switch $status
        case 1
            return
        case 2
            string match -q -- '-*' (commandline -ct); and return
    end
    # One word with its option: a line that starts with a dash is not an option of complete.
    complete --do-complete=(string join ' ' -- (string escape -- $words) (commandline -ct))
end

# The words of a comma list, as continuations of what is typed of it.
function __rprun_list
    set -l typed (string replace -r '^--[a-z-]+=' '' -- (commandline -ct))
    # Not a list of none: its product with the words would be none of them.
    set -l head (string match -r '^.*,' -- $typed; or echo)
    printf '%s\n' $head$argv
end

complete -c rprun -e
complete -c rprun -f
@SUBCOMMANDS@
complete -c rprun -n 'not __rprun_in_subcommand @FIRST@' -a '(__rprun_hand_over)'
@OPTIONS@
"""


def _quoted(text: str) -> str:
    """A single-quoted word."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _value(option: table.Option) -> str:
    """The part of a `complete` line that completes the value."""
    if not option.metavar:
        return ""
    words = " ".join(option.words)
    return {
        "list": f" -x -a '(__rprun_list {words})'",
        "words": f" -x -a '{words}'",
        "file": " -r -F",
        "directory": " -x -a '(__fish_complete_directories)'",
        "variable": " -x -a '(set -nx)'",
        "assignment": " -x -a '(set -nx)='",
    }[option.completes]


def _line(option: table.Option, condition: str) -> str:
    """The `complete` line of an option."""
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    return f"complete -c rprun -n {_quoted(condition)} {names}{_value(option)} -d {_quoted(option.short_help)}"


def render() -> str:
    """The completion's source."""
    root = table.read()
    lines = []
    for sub in root.subcommands:
        lines.append(f"complete -c rprun -n __rprun_first -a {sub.name} -d {_quoted(sub.help.rstrip('.'))}")
        lines += [_line(option, f"__rprun_in_subcommand {sub.name}") for option in sub.options]
    return (
        TEMPLATE.replace("@VALUED@", " ".join(n for option in root.options if option.metavar for n in option.names))
        .replace("@SUBCOMMANDS@", "\n".join(lines))
        .replace("@FIRST@", "; and not __rprun_in_subcommand ".join(sub.name for sub in root.subcommands))
        .replace("@OPTIONS@", "\n".join(_line(option, "__rprun_in_options") for option in root.options))
    )

"""The zsh completion: `_arguments` for the options, `_normal` for the command after them."""

from __future__ import annotations

from rprun.cli import table

TEMPLATE = r"""#compdef rprun
# Generated from rprun/cli/app.py by `python -m rprun.cli.generate --write`; not to be edited.

_rprun() {
  local curcontext="$curcontext" state line
  local -A opt_args
  local -i at=2
  local -a subcommands=(
@NAMES@
  )

  # Where the options end. _arguments knows that too, but loses the command behind a bare `--`.
  while (( at < CURRENT )); do
    case $words[at] in
      --) (( at++ )); break ;;
      @VALUED@) (( at += 2 )) ;;
      -?*) (( at++ )) ;;
      *) break ;;
    esac
  done

  if (( at == 2 && CURRENT > 2 )); then
    case $words[2] in
@SUBCOMMANDS@
    esac
  fi
  if (( at < CURRENT )) || [[ at -eq CURRENT && $words[at-1] == -- ]]; then
    shift $(( at - 1 )) words
    (( CURRENT -= at - 1 ))
    _normal
    return
  fi

  (( CURRENT == 2 )) && _describe -t subcommands 'rprun subcommand' subcommands
  _arguments -s -S -A '-*' \
@OPTIONS@
    '(-)1:command:_command_names -e'
}

_rprun "$@"
"""


def _quoted(text: str, special: str) -> str:
    """Text inside a single-quoted specification, in which these characters would mean something."""
    for character in special:
        text = text.replace(character, "\\" + character)
    return text.replace("'", "'\\''")


def _action(option: table.Option) -> str:
    """How the value is completed."""
    return {
        # Not _values: to that the = in a word is the beginning of an argument.
        "list": f"_sequence compadd - {' '.join(option.words)}",
        "words": f"({' '.join(option.words)})",
        "file": "_files",
        "directory": "_files -/",
        "variable": "_parameters -g '*export*'".replace("'", "'\\''"),
        "assignment": "_parameters -g '*export*' -qS =".replace("'", "'\\''"),
    }[option.completes]


def _spec(option: table.Option) -> str:
    """One option as `_arguments` takes it."""
    help_text = _quoted(option.short_help, "[]")
    value = f":{_quoted(option.metavar, ':')}:{_action(option)}" if option.metavar else ""
    names = [name + ("=" if option.metavar and name.startswith("--") else "") for name in option.names]
    written = f"{{{','.join(names)}}}" if len(names) > 1 else names[0]
    prefix = "'*'" if option.multiple else f"'({' '.join(option.names)})'" if len(names) > 1 else ""
    return f"{prefix}{written}'[{help_text}]{value}'"


def render() -> str:
    """The completion's source."""
    root = table.read()
    names = [f"    '{sub.name}:{_quoted(sub.help.rstrip('.'), ':')}'" for sub in root.subcommands]
    arms = []
    for sub in root.subcommands:
        specs = " ".join(_spec(option) for option in sub.options)
        arms.append(f"      {sub.name}) shift words; (( CURRENT-- )); _arguments {specs}; return ;;")
    return (
        TEMPLATE.replace("@NAMES@", "\n".join(names))
        .replace("@SUBCOMMANDS@", "\n".join(arms))
        .replace("@VALUED@", "|".join(name for option in root.options if option.metavar for name in option.names))
        .replace("@OPTIONS@", "\n".join(f"    {_spec(option)} \\" for option in root.options))
    )

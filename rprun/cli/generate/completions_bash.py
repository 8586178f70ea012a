"""The bash completion: options, their values, and after them the command's own completion."""

from __future__ import annotations

from rprun.cli import table

TEMPLATE = r"""# bash completion for rprun(1)
# Generated from rprun/cli/app.py by `python -m rprun.cli.generate --write`; not to be edited.

# Put the words of a comma list into COMPREPLY, as continuations of what is typed of it.
_rprun_list() {
    local cur=$1 head=
    [[ $cur == *,* ]] && head=${cur%,*},
    COMPREPLY=($(compgen -P "$head" -W "$2" -- "${cur##*,}"))
    compopt -o nospace 2>/dev/null
}

# Complete the value $2 of the option $1.
_rprun_value() {
    local cur=$2
    case $1 in
@VALUES@
    esac
}

# Hand the words from COMP_WORDS[$1] on over to the command's own completion.
_rprun_command() {
    local offset=$1 spec
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$offset"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$offset"
    elif ((COMP_CWORD == offset)); then
        COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
    else
        # Without bash-completion: a completion function that is loaded already can be called all the same.
        spec=$(complete -p -- "${COMP_WORDS[offset]##*/}" 2>/dev/null)
        [[ $spec == *" -F "* ]] || return 0
        spec=${spec##* -F } spec=${spec%% *}
        local i before=$COMP_LINE
        for ((i = 0; i < offset; i++)); do before=${before#*"${COMP_WORDS[i]}"}; done
        before=${before#"${before%%[![:space:]]*}"}
        COMP_POINT=$((COMP_POINT - ${#COMP_LINE} + ${#before})) COMP_LINE=$before
        COMP_WORDS=("${COMP_WORDS[@]:offset}") COMP_CWORD=$((COMP_CWORD - offset))
        "$spec" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    fi
}

_rprun() {
    # readline breaks words at = and : too; words that no blank divides are put together again here.
    # Not named words and cword: by these bash-completion would take our numbers of COMP_WORDS for numbers of theirs.
    local parts=() starts=() i n=0 at=0 rest=$COMP_LINE word
    for i in "${!COMP_WORDS[@]}"; do
        word=${COMP_WORDS[i]}
        if ((n)) && [[ $rest != [[:space:]]* ]] && [[ $word || ${COMP_LINE:0:COMP_POINT} != *[[:space:]] ]]; then
            parts[n - 1]+=$word
        else
            parts[n]=$word starts[n]=$i n=$((n + 1))
        fi
        rest=${rest#"${rest%%[![:space:]]*}"} rest=${rest#"$word"}
        ((i == COMP_CWORD)) && at=$((n - 1)) && break
    done
    local cur=${parts[at]} own=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()

    i=1
    while ((i < at)); do
        case ${parts[i]} in
            --)
                _rprun_command "${starts[i + 1]}"
                return
                ;;
            @VALUED@) i=$((i + 2)) ;;
            -?*) i=$((i + 1)) ;;
            *) break ;;
        esac
    done
    if ((i > at)); then
        _rprun_value "${parts[at - 1]}" "$cur"
    elif ((i < at)); then
        case $i:${parts[i]} in
@SUBCOMMANDS@
            *) _rprun_command "${starts[i]}" && return ;;
        esac
    elif [[ $cur == --*=* ]]; then
        _rprun_value "${cur%%=*}" "${cur#*=}"
        COMPREPLY=("${COMPREPLY[@]/#/${cur%%=*}=}")
    elif [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "@OPTIONS@" -- "$cur"))
    else
        _rprun_command "${starts[i]}"
        ((i == 1)) && COMPREPLY+=($(compgen -W "@NAMES@" -- "$cur"))
        return
    fi
    # Of a word that readline has broken, only its last part is replaced.
    own=${own#[=:]}
    if [[ $cur != "$own" ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${cur%"$own"}"}")
    fi
}

complete -o default -o bashdefault -F _rprun rprun
"""


def _value(option: table.Option) -> str:
    """The arm of the `case` that completes this option's value."""
    actions = {
        "list": f'_rprun_list "$cur" "{" ".join(option.words)}"',
        "words": f'COMPREPLY=($(compgen -W "{" ".join(option.words)}" -- "$cur"))',
        "file": 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"))',
        "directory": 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur"))',
        "variable": 'COMPREPLY=($(compgen -v -- "$cur"))',
        "assignment": 'compopt -o nospace 2>/dev/null; COMPREPLY=($(compgen -v -S = -- "$cur"))',
    }
    return f"        {'|'.join(option.names)}) {actions[option.completes]} ;;"


def render() -> str:
    """The completion's source."""
    root = table.read()
    valued = [option for option in root.options if option.metavar]
    arms = [
        f'            1:{sub.name}) COMPREPLY=($(compgen -W "{_names(sub)}" -- "$cur")) ;;' for sub in root.subcommands
    ]
    return (
        TEMPLATE.replace("@VALUES@", "\n".join(_value(option) for option in valued))
        .replace("@VALUED@", " | ".join(name for option in valued for name in option.names))
        .replace("@SUBCOMMANDS@", "\n".join(arms))
        .replace("@OPTIONS@", _names(root))
        .replace("@NAMES@", " ".join(sub.name for sub in root.subcommands))
    )


def _names(command: table.Command) -> str:
    """Every option of a command, in one line."""
    return " ".join(name for option in command.options for name in option.names)

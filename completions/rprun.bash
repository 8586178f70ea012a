# bash completion for rprun(1)
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
        --size) COMPREPLY=($(compgen -W "80x24 120x40 132x43" -- "$cur")) ;;
        --drain) COMPREPLY=($(compgen -W "500ms 10s 1m 1h" -- "$cur")) ;;
        --observe) _rprun_list "$cur" "lifecycle file network process all" ;;
        --events) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
        --require) _rprun_list "$cur" "lifecycle file network process all" ;;
        --backend) _rprun_list "$cur" "lifecycle=portable-lifecycle file=ebpf file=seccomp-user-notify file=psutil-poll file=etw file=kqueue network=ebpf network=seccomp-user-notify network=psutil-poll network=etw network=endpoint-security process=ebpf process=proc-connector process=seccomp-user-notify process=psutil-poll process=etw process=endpoint-security" ;;
        --timeout) COMPREPLY=($(compgen -W "500ms 10s 1m 1h" -- "$cur")) ;;
        --idle-timeout) COMPREPLY=($(compgen -W "500ms 10s 1m 1h" -- "$cur")) ;;
        --signal) COMPREPLY=($(compgen -W "TERM INT HUP QUIT KILL USR1 USR2 ALRM STOP CONT" -- "$cur")) ;;
        --kill-after) COMPREPLY=($(compgen -W "500ms 10s 1m 1h" -- "$cur")) ;;
        --orphans) COMPREPLY=($(compgen -W "leave report wait kill" -- "$cur")) ;;
        --cwd) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")) ;;
        --env) compopt -o nospace 2>/dev/null; COMPREPLY=($(compgen -v -S = -- "$cur")) ;;
        --env-unset) COMPREPLY=($(compgen -v -- "$cur")) ;;
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
            --size | --drain | --observe | --events | --require | --backend | --timeout | --idle-timeout | --signal | --kill-after | --orphans | --cwd | --env | --env-unset) i=$((i + 2)) ;;
            -?*) i=$((i + 1)) ;;
            *) break ;;
        esac
    done
    if ((i > at)); then
        _rprun_value "${parts[at - 1]}" "$cur"
    elif ((i < at)); then
        case $i:${parts[i]} in
            1:capabilities) COMPREPLY=($(compgen -W "--json --all --help -h" -- "$cur")) ;;
            *) _rprun_command "${starts[i]}" && return ;;
        esac
    elif [[ $cur == --*=* ]]; then
        _rprun_value "${cur%%=*}" "${cur#*=}"
        COMPREPLY=("${COMPREPLY[@]/#/${cur%%=*}=}")
    elif [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "--pty -t --pipe -T --split-stderr --size --drain --observe --json --events --require --backend --timeout --idle-timeout --signal --kill-after --orphans --cwd --env --env-unset --version --help -h" -- "$cur"))
    else
        _rprun_command "${starts[i]}"
        ((i == 1)) && COMPREPLY+=($(compgen -W "capabilities" -- "$cur"))
        return
    fi
    # Of a word that readline has broken, only its last part is replaced.
    own=${own#[=:]}
    if [[ $cur != "$own" ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${cur%"$own"}"}")
    fi
}

complete -o default -o bashdefault -F _rprun rprun

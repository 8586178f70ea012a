# fish completion for rprun(1)
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
            case --size --drain --observe --events --require --backend --timeout --idle-timeout --signal --kill-after --orphans --cwd --env --env-unset
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
complete -c rprun -n __rprun_first -a capabilities -d 'Say what can be observed on this host, by what means, and why not more'
complete -c rprun -n '__rprun_in_subcommand capabilities' -l json -d 'Print one JSON array'
complete -c rprun -n '__rprun_in_subcommand capabilities' -l all -d 'Print every backend'
complete -c rprun -n '__rprun_in_subcommand capabilities' -l help -s h -d 'Print this help'
complete -c rprun -n 'not __rprun_in_subcommand capabilities' -a '(__rprun_hand_over)'
complete -c rprun -n '__rprun_in_options' -l pty -s t -d 'Run the command in a terminal'
complete -c rprun -n '__rprun_in_options' -l pipe -s T -d 'Run the command on pipes'
complete -c rprun -n '__rprun_in_options' -l split-stderr -d 'Give standard error a second terminal'
complete -c rprun -n '__rprun_in_options' -l size -x -a '80x24 120x40 132x43' -d 'Set the size of the terminal'
complete -c rprun -n '__rprun_in_options' -l drain -x -a '500ms 10s 1m 1h' -d 'Set how long to read a terminal that a descendant still holds open'
complete -c rprun -n '__rprun_in_options' -l observe -x -a '(__rprun_list lifecycle file network process all)' -d 'Say what the command does'
complete -c rprun -n '__rprun_in_options' -l json -d 'Write events as JSON lines'
complete -c rprun -n '__rprun_in_options' -l events -r -F -d 'Choose where events go'
complete -c rprun -n '__rprun_in_options' -l require -x -a '(__rprun_list lifecycle file network process all)' -d 'Fail before the start where one of these cannot be observed'
complete -c rprun -n '__rprun_in_options' -l backend -x -a '(__rprun_list lifecycle=portable-lifecycle file=ebpf file=seccomp-user-notify file=psutil-poll file=etw file=kqueue network=ebpf network=seccomp-user-notify network=psutil-poll network=etw network=endpoint-security process=ebpf process=proc-connector process=seccomp-user-notify process=psutil-poll process=etw process=endpoint-security)' -d 'Choose the backend that observes a category'
complete -c rprun -n '__rprun_in_options' -l timeout -x -a '500ms 10s 1m 1h' -d 'End the command after this time'
complete -c rprun -n '__rprun_in_options' -l idle-timeout -x -a '500ms 10s 1m 1h' -d 'End the command after this time without output or input'
complete -c rprun -n '__rprun_in_options' -l signal -x -a 'TERM INT HUP QUIT KILL USR1 USR2 ALRM STOP CONT' -d 'Choose the signal that a limit sends first'
complete -c rprun -n '__rprun_in_options' -l kill-after -x -a '500ms 10s 1m 1h' -d 'Set the grace between that signal and KILL'
complete -c rprun -n '__rprun_in_options' -l orphans -x -a 'leave report wait kill' -d 'Choose what happens to descendants that outlive the command'
complete -c rprun -n '__rprun_in_options' -l cwd -x -a '(__fish_complete_directories)' -d 'Run the command in this working directory'
complete -c rprun -n '__rprun_in_options' -l env -x -a '(set -nx)=' -d 'Set a variable for the command'
complete -c rprun -n '__rprun_in_options' -l env-unset -x -a '(set -nx)' -d 'Remove a variable for the command'
complete -c rprun -n '__rprun_in_options' -l version -d 'Print the version'
complete -c rprun -n '__rprun_in_options' -l help -s h -d 'Print this help'

# PowerShell completion for rprun(1)
# Generated from rprun/cli/app.py by `python -m rprun.cli.generate --write`; not to be edited.

Register-ArgumentCompleter -Native -CommandName rprun -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # Option: what it says and the values it takes; $null for a flag, an empty list for free text.
    # Not a hash literal: its keys ignore case, and -t and -T are two options.
    $options = [System.Collections.Specialized.OrderedDictionary]::new([System.StringComparer]::Ordinal)
    $options['--pty'] = @{ Help = 'Run the command in a terminal'; Values = $null }
    $options['-t'] = @{ Help = 'Run the command in a terminal'; Values = $null }
    $options['--pipe'] = @{ Help = 'Run the command on pipes'; Values = $null }
    $options['-T'] = @{ Help = 'Run the command on pipes'; Values = $null }
    $options['--split-stderr'] = @{ Help = 'Give standard error a second terminal'; Values = $null }
    $options['--size'] = @{ Help = 'Set the size of the terminal'; Values = @('80x24', '120x40', '132x43') }
    $options['--drain'] = @{ Help = 'Set how long to read a terminal that a descendant still holds open'; Values = @('500ms', '10s', '1m', '1h') }
    $options['--observe'] = @{ Help = 'Say what the command does'; Values = @('lifecycle', 'file', 'network', 'process', 'all') }
    $options['--json'] = @{ Help = 'Write events as JSON lines'; Values = $null }
    $options['--events'] = @{ Help = 'Choose where events go'; Values = @() }
    $options['--require'] = @{ Help = 'Fail before the start where one of these cannot be observed'; Values = @('lifecycle', 'file', 'network', 'process', 'all') }
    $options['--backend'] = @{ Help = 'Choose the backend that observes a category'; Values = @('lifecycle=portable-lifecycle', 'file=ebpf', 'file=seccomp-user-notify', 'file=psutil-poll', 'file=etw', 'file=kqueue', 'network=ebpf', 'network=seccomp-user-notify', 'network=psutil-poll', 'network=etw', 'network=endpoint-security', 'process=ebpf', 'process=proc-connector', 'process=seccomp-user-notify', 'process=psutil-poll', 'process=etw', 'process=endpoint-security') }
    $options['--timeout'] = @{ Help = 'End the command after this time'; Values = @('500ms', '10s', '1m', '1h') }
    $options['--idle-timeout'] = @{ Help = 'End the command after this time without output or input'; Values = @('500ms', '10s', '1m', '1h') }
    $options['--signal'] = @{ Help = 'Choose the signal that a limit sends first'; Values = @('TERM', 'INT', 'HUP', 'QUIT', 'KILL', 'USR1', 'USR2', 'ALRM', 'STOP', 'CONT') }
    $options['--kill-after'] = @{ Help = 'Set the grace between that signal and KILL'; Values = @('500ms', '10s', '1m', '1h') }
    $options['--orphans'] = @{ Help = 'Choose what happens to descendants that outlive the command'; Values = @('leave', 'report', 'wait', 'kill') }
    $options['--cwd'] = @{ Help = 'Run the command in this working directory'; Values = @() }
    $options['--env'] = @{ Help = 'Set a variable for the command'; Values = @() }
    $options['--env-unset'] = @{ Help = 'Remove a variable for the command'; Values = @() }
    $options['--version'] = @{ Help = 'Print the version'; Values = $null }
    $options['--help'] = @{ Help = 'Print this help'; Values = $null }
    $options['-h'] = @{ Help = 'Print this help'; Values = $null }
    $subcommands = [ordered]@{
        'capabilities' = @{ Help = 'Say what can be observed on this host, by what means, and why not more'; Options = @('--json', '--all', '--help', '-h') }
    }

    function New-Result($text, $tip) {
        [System.Management.Automation.CompletionResult]::new($text, $text, 'ParameterValue', $tip)
    }
    # The values of an option, behind what stands before the last comma; no words: names of files.
    function Get-Value($name, $typed, $prefix) {
        $head = if ($typed.Contains(',')) { $typed.Substring(0, $typed.LastIndexOf(',') + 1) } else { '' }
        $words = $options[$name].Values
        if ($words.Count -eq 0) {
            [System.Management.Automation.CompletionCompleters]::CompleteFilename($typed)
            return
        }
        foreach ($word in $words) {
            if ("$head$word".StartsWith($typed)) { New-Result "$prefix$head$word" $options[$name].Help }
        }
    }

    # The words before the cursor, without rprun itself.
    $elements = @($commandAst.CommandElements | Select-Object -Skip 1)
    $before = @($elements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition })
    $at = 0
    $dashes = $false
    while ($at -lt $before.Count) {
        $word = $before[$at].Extent.Text
        if ($word -ceq '--') { $dashes = $true; $at++; break }
        if ($word -notmatch '^-.') { break }
        $at++
        if ($options.Contains($word) -and $null -ne $options[$word].Values) {
            if ($at -ge $before.Count) { return Get-Value $word $wordToComplete '' }
            $at++
        }
    }

    # In the subcommand.
    if ($at -eq 0 -and $before.Count -gt 0 -and $subcommands.Contains($before[0].Extent.Text)) {
        $subcommands[$before[0].Extent.Text].Options | Where-Object { $_.StartsWith($wordToComplete) } |
            ForEach-Object { New-Result $_ $_ }
        return
    }
    # Among the options.
    if ($at -eq $before.Count -and -not $dashes -and $wordToComplete.StartsWith('-')) {
        if ($wordToComplete -match '^(--[a-z-]+)=(.*)$' -and $options.Contains($Matches[1])) {
            return Get-Value $Matches[1] $Matches[2] "$($Matches[1])="
        }
        $options.Keys | Where-Object { $_.StartsWith($wordToComplete) } |
            ForEach-Object { New-Result $_ $options[$_].Help }
        return
    }
    # In the command, or where it begins: what PowerShell itself says about the rest of the line.
    if ($before.Count -eq 0) {
        $subcommands.Keys | Where-Object { $_.StartsWith($wordToComplete) } |
            ForEach-Object { New-Result $_ $subcommands[$_].Help }
    }
    $start = if ($at -lt $elements.Count) { $elements[$at].Extent.StartOffset } else { $cursorPosition }
    $line = $commandAst.Extent.Text
    $base = $commandAst.Extent.StartOffset
    $rest = $line.Substring([Math]::Min($start - $base, $line.Length))
    $column = [Math]::Max(0, $cursorPosition - $start)
    (TabExpansion2 -inputScript $rest.PadRight($column) -cursorColumn $column).CompletionMatches
}

"""The PowerShell completion: a native argument completer that hands the command's part back to PowerShell."""

from __future__ import annotations

from rprun.cli import table

TEMPLATE = r"""# PowerShell completion for rprun(1)
# Generated from rprun/cli/app.py by `python -m rprun.cli.generate --write`; not to be edited.

Register-ArgumentCompleter -Native -CommandName rprun -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # Option: what it says and the values it takes; $null for a flag, an empty list for free text.
    # Not a hash literal: its keys ignore case, and -t and -T are two options.
    $options = [System.Collections.Specialized.OrderedDictionary]::new([System.StringComparer]::Ordinal)
@OPTIONS@
    $subcommands = [ordered]@{
@SUBCOMMANDS@
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
"""


def _quoted(text: str) -> str:
    """A single-quoted string."""
    return "'" + text.replace("'", "''") + "'"


def _option(option: table.Option) -> list[str]:
    """The entries of one option, one a name."""
    values = f"@({', '.join(_quoted(word) for word in option.words)})" if option.metavar else "$null"
    entry = f"@{{ Help = {_quoted(option.short_help)}; Values = {values} }}"
    return [f"    $options[{_quoted(name)}] = {entry}" for name in option.names]


def render() -> str:
    """The completion's source."""
    root = table.read()
    lines = []
    for sub in root.subcommands:
        names = ", ".join(_quoted(name) for option in sub.options for name in option.names)
        lines.append(
            f"        {_quoted(sub.name)} = @{{ Help = {_quoted(sub.help.rstrip('.'))}; Options = @({names}) }}"
        )
    options = [line for option in root.options for line in _option(option)]
    return TEMPLATE.replace("@OPTIONS@", "\n".join(options)).replace("@SUBCOMMANDS@", "\n".join(lines))

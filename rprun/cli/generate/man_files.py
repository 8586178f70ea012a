"""The part of the man page on what is installed and who finds it, as mdoc(7): see `man_prose`."""

from __future__ import annotations

FILES = r"""
.Sh FILES
Below the directory that
.Nm
is installed in, as
.Pa ~/.local
or a virtual environment; programs that do not look there by themselves can be told to, see
.Sx Finding them .
.Bl -tag -width Ds
.It Pa share/man/man1/rprun.1
This page.
.It Pa share/bash-completion/completions/rprun
Completion for bash.
.It Pa share/fish/vendor_completions.d/rprun.fish
Completion for fish.
.It Pa share/zsh/site-functions/_rprun
Completion for zsh.
.It Pa share/powershell/completions/rprun.ps1
Completion for PowerShell.
.El
.Ss Finding them
bash looks where
.Ev XDG_DATA_HOME
and
.Ev XDG_DATA_DIRS
say, and from version 2.12 of bash-completion on beside the program; fish looks in the same variables; the man of man-db
beside the directories of
.Ev PATH .
zsh looks in its
.Va fpath ,
and PowerShell reads what its
.Va $PROFILE
names.
Installers that put programs apart, as uv does, leave it to the user to link these files from
.Pa ~/.local/share .
"""

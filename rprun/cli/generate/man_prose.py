"""The parts of the man page that are written by hand, as mdoc(7).

One sentence a line. What the options do in a word stands in their help texts; here is what holds across them.
"""

from __future__ import annotations

TITLE = r"""
.Dd November 22, 2026
.Dt RPRUN 1
.Os
.Sh NAME
.Nm rprun
.Nd run a command untouched and say truthfully what it did
"""

SYNOPSIS = r"""
.Sh SYNOPSIS
.Nm
.Op Ar options
.Op Fl Fl
.Ar command
.Op Ar argument ...
"""

DESCRIPTION = r"""
.Sh DESCRIPTION
.Nm
runs
.Ar command
as if it had been run without
.Nm :
its bytes, exit status, signals, terminal state, descriptors, arguments and environment are what they would have
been, apart from what
.Sx BUGS
names.
On request it runs it in a terminal although nobody sits there, or on pipes although somebody does, and records
when it started and how it ended, and, on Linux, which programs it executed, which files it opened and which network
peers it named, all it started included.
.Pp
Options end at the first word that is not one, or at
.Ql \-\- .
That word is a subcommand if it names one and no
.Ql \-\-
came before it; else it is the command, and everything from there on is passed on byte for byte, including
.Fl Fl help ,
empty words and text that is not UTF-8.
.Pp
Options without a command run
.Ev $SHELL ,
as
.Xr script 1
does.
.Nm
alone prints help.
"""

OPTIONS = r"""
.Ar DUR
is a duration as
.Xr timeout 1
takes it: a decimal number and one of
.Ql s ,
.Ql m ,
.Ql h
and
.Ql d ,
or none for seconds.
.Ql ms
means milliseconds.
.Ar SIG
is a signal's name with or without SIG, in any case, its number, or
.Ql RTMIN+N .
Of an option that is given twice the last one holds, unless it may be repeated.
"""

ENVIRONMENT = r"""
.Sh ENVIRONMENT
.Nm
sets no variable, and passes on all of them as they are, except for
.Fl Fl env
and
.Fl Fl env-unset .
.Ev TERM ,
.Ev COLUMNS
and
.Ev LINES
are neither set nor changed.
.Bl -tag -width Ds
.It Ev PATH
Where the command is looked for, as
.Xr execvp 3
does.
It is the command's
.Ev PATH ,
if
.Fl Fl env
or
.Fl Fl env-unset
changes it, and relative directories in it are those of
.Fl Fl cwd .
.It Ev SHELL
What runs if there are options but no command;
.Pa /bin/sh
if it is empty or unset.
.It Ev LC_ALL , LC_CTYPE , LANG
The first of them that is set decides whether erasing a character on a terminal that stands in for none of the user's
erases a whole UTF-8 sequence.
.It Ev NO_COLOR
If set, help and tables have no colors.
.It Ev RPRUN_DEBUG
If set, an error inside
.Nm
comes with its Python traceback.
.El
"""

REST = r"""
.Sh EXIT STATUS
The command's own, or, if a signal ended the command, death by the same signal, which a shell shows as 128 and its
number.
Where that signal cannot kill
.Nm ,
as it cannot the first process of a container, that number is the exit status.
Else:
.Bl -tag -width Ds
.It 2
The options make no sense.
.It 124
A limit ended the command.
.It 125
.Nm
itself failed.
This includes output that could not be written, as to a full disk, although the command ran.
.It 126
The command was found and cannot be executed.
.It 127
There is no such command, or no such interpreter of a script.
.El
.Pp
Each failure of its own is one line on standard error that says what failed, why, and what to try.
.Sh EXAMPLES
Run a command in a terminal although its output goes to a file:
.Pp
.Dl $ rprun \-\-pty \-\- ls \-\-color=auto >listing
.Pp
Say on descriptor 3, as JSON, when it started and ended:
.Pp
.Dl $ rprun \-\-json \-\-events fd:3 \-\- make 3>events.jsonl
.Pp
End a test that hangs, quietly or not, and all it has started:
.Pp
.Dl $ rprun \-\-timeout 10m \-\-idle-timeout 30s \-\-orphans kill \-\- ./test
.Pp
Hash what is on a pipe inside of a terminal:
.Pp
.Dl $ head \-c 1000000 /dev/urandom | tee data | rprun \-\-pty \-\- sha256sum
.Pp
List what a build reads, directories included, with
.Xr jq 1 :
.Bd -literal -offset indent
$ rprun \-\-observe file \-\-json \-\-events files.jsonl \-\- make &&
  jq \-r \(aqselect(.access == "read" and
      (.exists or .result == "ok")).path\(aq files.jsonl |
  sort \-u
.Ed
.Pp
Fail a CI job that opens the network, on this host or beyond, that may have done so unseen, or that runs where it
could not be seen:
.Bd -literal -offset indent
$ rprun \-\-require network \-\-observe network \-\-json \e
    \-\-events net.jsonl \-\- make test &&
  jq \-es \(aqall(.family == "unix" or .family == "netlink")\(aq net.jsonl
.Ed
.Pp
Run a command that has the name of a subcommand:
.Pp
.Dl $ rprun \-\- capabilities
.Sh SEE ALSO
.Xr script 1 ,
.Xr strace 1 ,
.Xr timeout 1 ,
.Xr bpf 2 ,
.Xr seccomp_unotify 2 ,
.Xr capabilities 7 ,
.Xr pty 7 ,
.Xr signal 7
"""

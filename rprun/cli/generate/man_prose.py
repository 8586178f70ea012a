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
exactly as if it had been run without
.Nm :
its bytes, exit status, signals, terminal state, descriptors, arguments and environment are what they would have
been.
On request it runs it in a real terminal although nobody sits there, or on plain pipes although somebody does,
and gives a record of what happened.
The record says only what was seen, and says where something could not be seen.
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

REST = r"""
.Sh TRANSPORTS
Without
.Fl Fl pty
and
.Fl Fl pipe
each of the three standard streams is looked at by itself: one that is a terminal here is a terminal for the
command, and any other is passed on as it is.
So
.Ql rprun cmd <in | less
shows
.Ar cmd
what
.Ql cmd <in | less
would have shown it.
.Pp
With
.Fl Fl pty
all three are one new terminal.
Standard input that is not a terminal is delivered to it byte for byte, whatever bytes they are, and its end is
delivered too.
With
.Fl Fl pipe
standard output and standard error are two pipes.
.Pp
Everything the command wrote is read before its end is reported.
A descendant that still holds the terminal open can delay that by the time
.Fl Fl drain
gives.
.Pp
The size of the terminal is set before the command starts and is never 0x0; later changes are relayed.
.Sh EVENTS
.Fl Fl observe
names the categories of events to report, and
.Nm
.Cm capabilities
says which of them this host supports, by what means, and what is missing.
A category that cannot be observed gives one
.Ql unobserved
record that says why; the command runs all the same unless
.Fl Fl require
was given.
A reader of events that is slow, or gone, never delays the command: past a bound, events are dropped and counted
in a
.Ql lost
record.
.Pp
With
.Fl Fl json
each event is one JSON object on a line of its own, in UTF-8, never mixed with the command's output.
Each has
.Ql seq
(1, 2, 3 and so on),
.Ql category ,
.Ql kind ,
.Ql pid
and
.Ql timestamp_ms ,
the milliseconds since 1970.
The kinds are:
.Bl -tag -width Ds
.It Cm lifecycle
.Ql started ;
.Ql exited
with
.Ql exit_code ,
which is the negative number of the signal if one ended the command.
.It Cm process
.Ql descendant-started
with
.Ql ppid ;
.Ql exec
with
.Ql path ,
.Ql argv
and
.Ql cwd ;
.Ql descendant-exited
with
.Ql exit_code ,
null where it cannot be known.
.It Cm file
.Ql file-open
with
.Ql path ,
.Ql flags ,
.Ql access
and
.Ql create ;
.Ql file-unlink ,
.Ql file-mkdir ,
.Ql file-rmdir ,
.Ql file-truncate ,
.Ql file-chmod
and
.Ql file-chown
with
.Ql path ;
.Ql file-rename ,
.Ql file-link
and
.Ql file-symlink
with
.Ql from
and
.Ql to ;
.Ql file-write
and
.Ql file-close
where the means of observation sees them.
.It Cm network
.Ql net-connect ,
.Ql net-bind ,
.Ql net-listen ,
.Ql net-accept
and
.Ql net-send
with
.Ql family ,
.Ql protocol ,
.Ql address
and
.Ql port ,
or
.Ql path
for a Unix socket;
.Ql net-close
with
.Ql bytes_sent
and
.Ql bytes_received
where they are counted.
.It any category
.Ql lost
with
.Ql count ;
.Ql unobserved
with
.Ql backend
and
.Ql reason .
.El
.Pp
.Ql result
is
.Ql ok
or the name of an error such as
.Ql ENOENT ,
and is there exactly when the outcome was seen; a means that sees calls before the kernel acts says
.Ql attempt
instead.
A path that is not UTF-8 has its exact bytes in
.Ql path_base64 .
What could not be read is null.
.Sh SIGNALS
The command starts with the signal dispositions, the signal mask and the descriptors that
.Nm
was given.
If the command dies of a signal,
.Nm
dies of the same one, so that a shell sees the same status and ends its loop at ^C.
^Z suspends the command and
.Nm
together, and
.Ic fg
in the shell continues both.
Changes of the window's size are passed on.
.Pp
When a limit is reached, the command and all its descendants get
.Fl Fl signal ,
and after
.Fl Fl kill-after
.Dv SIGKILL .
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev PATH
Where the command is looked for, as
.Xr execvp 3
does.
.It Ev SHELL
What runs if there are options but no command.
.It Ev NO_COLOR
If set, help and tables have no colors.
.It Ev RPRUN_DEBUG
If set, an error inside
.Nm
comes with its Python traceback.
.El
.Sh EXIT STATUS
The command's own, or, if a signal ended the command, death by the same signal.
Else:
.Bl -tag -width Ds
.It 2
The options make no sense.
.It 124
A limit ended the command.
.It 125
.Nm
itself failed.
.It 126
The command was found and cannot be executed.
.It 127
There is no such command.
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
Refuse to run where file accesses cannot be observed:
.Pp
.Dl $ rprun \-\-require file \-\-observe file \-\-events files.log \-\- make
.Pp
Run a command that has the name of a subcommand:
.Pp
.Dl $ rprun \-\- capabilities
.Sh SEE ALSO
.Xr script 1 ,
.Xr strace 1 ,
.Xr timeout 1 ,
.Xr pty 7 ,
.Xr signal 7
.Sh BUGS
End of file cannot be expressed to a command that has put its terminal into raw mode: a terminal has no other way
to say it than a character, and in raw mode that character is data.
.Pp
If the caller of
.Nm
ignores
.Dv SIGPIPE
or
.Dv SIGXFSZ ,
the command gets their default instead: Python ignores both before
.Nm
can see what it was given.
.Pp
What is typed on the terminal before the command starts and is not read by it may be lost to the shell that
reads next, because
.Nm
has read it on the command's behalf.
"""

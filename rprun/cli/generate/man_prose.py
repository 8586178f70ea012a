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
when it started and how it ended.
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
command, with the same modes and size, and any other is passed on as it is, without
.Nm
in between.
So
.Ql rprun cmd <in | less
shows
.Ar cmd
what
.Ql cmd <in | less
would have shown it.
Where standard error is another terminal than standard output, the command gets two as well.
A command without a terminal of its own stays in the session and process group of
.Nm ;
one with a terminal leads a process group of its own in a new session, and that terminal is its
.Pa /dev/tty .
.Pp
With
.Fl Fl pty
all three are one new terminal.
What the command writes comes out with the line ends of a terminal, CR LF, also where it goes to a file.
With
.Fl Fl pipe
standard output and standard error are two pipes, which
.Nm
reads, and standard input is passed on as it is.
A stream that is closed here is closed for the command too, unless it becomes a terminal.
Descriptors from 3 on are passed on, except the one that
.Fl Fl events
names.
.Pp
Under
.Fl Fl pty ,
standard input that is not a terminal reaches the command's terminal byte for byte, whatever bytes they are, and
its end is told as often as the command asks.
For that the terminal starts without echo, signal characters and flow control, in the line mode in which a special
character can be quoted by the one before it; long lines arrive in pieces of at most 1024 bytes.
From when the command changes that mode, as for raw input, the bytes are no longer quoted.
.Pp
What the command has not read of such input when it ends is there for the next reader of the same standard input:
in a file all of it, in a pipe as
.Sx BUGS
says.
What was typed on the user's terminal and not read is put back as well, where the system allows it.
.Pp
Keys are the command's while standard input is a terminal and
.Nm
is in its foreground.
When standard input is something else, as in
.Ql ls | rprun less ,
other programs may want the terminal's keys.
They are left alone until the command turns line editing or echo of its own terminal off or on, as pagers, editors
and password prompts do.
Under
.Fl Fl pty
with such input they are never read.
.Pp
The user's terminal is in raw mode while its keys are the command's, and as it was found when the command has ended,
is stopped, or could not be started.
Output processing is only switched off where standard output is that terminal, as others may be writing to it.
.Pp
Everything the command wrote is read before its end is reported.
A descendant that still holds the terminal, or a pipe of
.Fl Fl pipe ,
open can delay that by the time
.Fl Fl drain
gives; if it is then still open, the record of the end says so.
A reader of the output that is slow slows the command down, and is waited for; one that is gone gives the command
.Dv SIGPIPE ,
or an error if it ignores that, as it would have without
.Nm .
.Pp
The size of the terminal is set before the command starts and is never 0x0.
Later changes of the user's terminal are relayed, unless
.Fl Fl size
was given.
.Sh EVENTS
.Fl Fl observe
names the categories of events to report, and
.Nm
.Cm capabilities
says which of them this host supports, by what means, and what is missing.
In this version only
.Cm lifecycle
is observed.
.Cm process ,
.Cm file
and
.Cm network
can be asked for and have nothing behind them: each is
.Ql unavailable ,
gives one
.Ql unobserved
record that says why, and never any other.
The command runs all the same, unless
.Fl Fl require
was given.
.Pp
A reader of events that is slow, or gone, never delays the command: past a bound, events are dropped and counted
in a
.Ql lost
record.
After the end a slow reader is waited for, for two seconds at most; then one line on standard error says how many
events were not written.
A file that
.Fl Fl events
names is emptied or made before the command starts.
.Pp
With
.Fl Fl json
each event is one JSON object on a line of its own, in UTF-8, and where the command's standard output or error goes
to the same place the lines of both stay whole.
Without it each is a readable line that starts with
.Ql rprun: .
On a terminal in raw mode lines end in CR LF.
Each event has
.Ql seq
(1, 2, 3 and so on),
.Ql category ,
.Ql kind ,
.Ql pid ,
the command's process id, and
.Ql timestamp_ms ,
the milliseconds since 1970.
These are all kinds that this version reports:
.Bl -tag -width Ds
.It Cm started
The command has started.
.It Cm exited
It has ended, and what it wrote has been read.
.Ql exit_code
is its exit status, or the negative number of the signal that ended it.
.Ql core
is true if it dumped core.
.Ql limit
is
.Ql timeout
or
.Ql idle-timeout
if that ended it.
.Ql drained
is false if reading was cut short because a descendant still held the terminal or pipe.
.Ql orphans
lists
.Ql pid
and
.Ql name
of the living descendants, with
.Fl Fl orphans Cm report .
.It Cm unobserved
A category that was asked for cannot be observed.
.Ql backend
is what was to observe it, or
.Ql none ;
.Ql reason
is why it does not.
.It Cm lost
.Ql count
events had no room.
.El
.Pp
The JSON Schema of an event, with the kinds of the other categories as they are planned, is
.Pa rprun/observe/event.schema.json
in the package.
.Sh SIGNALS
The command starts with the signal mask and the ignored signals that
.Nm
was given.
.Pp
A signal that
.Nm
gets is passed on as itself: HUP, INT, QUIT, ABRT, ALRM, TERM, USR1, USR2, TSTP, CONT, VTALRM, PROF, IO, PWR, STKFLT,
URG, WINCH, and the real-time signals.
One that was ignored when
.Nm
started stays ignored, there and in the command.
.Nm
goes on until the command has ended, and then ends as it did.
Who gets the signal depends on the command's terminal:
.Bl -bullet
.It
Without a terminal of its own the command is in the process group of
.Nm .
A signal to
.Nm
alone is passed on to the command; of one to the whole group, such as ^C, the command has its own already, and none is
passed on.
.It
With one, HUP, INT, QUIT and TSTP go to the foreground process group of that terminal, and any other to the command
itself; WINCH gives the terminal the size of the user's, and CONT continues a command that is stopped.
.El
.Pp
While
.Nm
reads on after the command's end, HUP, INT, QUIT and TERM end that.
.Pp
If the command dies of a signal,
.Nm
dies of the same one, without a core dump of its own, so that a shell sees the same status.
If
.Nm
is killed by
.Dv SIGKILL ,
so is the command.
.Pp
^C and ^\e typed at the user's terminal are bytes for
.Nm ,
and the command's terminal makes signals of them, or not.
Where it does so for the command's own process group, the process group of
.Nm
gets the same signal: so a script that runs
.Nm
in a loop hears of ^C, and ends.
^Z stops the command first; then the terminal is given back and the process group of
.Nm
is stopped, with the script that it belongs to.
.Ic fg
in the shell continues all of them with the terminal's size of that moment, and
.Ic bg
puts the command into the background of its own terminal as well, where it is stopped when it wants to read.
A command that is stopped in another way takes
.Nm
with it too.
.Sh LIMITS
.Fl Fl timeout
counts from the start, and
.Fl Fl idle-timeout
from the last byte of the command's output, or of its input as far as
.Nm
carries it: input that is passed on is not seen.
.Pp
When a limit is reached, the command and all its descendants, daemons in sessions of their own included, get
.Fl Fl signal ,
and
.Dv SIGCONT
so that those that are stopped hear of it.
After
.Fl Fl kill-after
all that are left get
.Dv SIGKILL ,
again and again for two seconds while there are any.
.Nm
then ends with 124, whatever the command made of the signal.
Processes of another user (setuid) cannot be reached.
No limit is left once the command itself has ended.
.Pp
With a limit
.Nm
does not stop together with a command that has been stopped, so that it can end it in time, unless
.Nm
is in the foreground of a terminal, where a shell waits for it to stop.
Time goes on during such a stop; a limit that was reached then is acted on at
.Ic fg .
.Sh ORPHANS
Descendants that outlive the command are left alone by
.Fl Fl orphans Cm leave .
Those that use the command's terminal find it hung up when
.Nm
has ended, without getting a signal.
.Cm report
names them in the
.Ql exited
event.
.Cm wait
goes on until the last of them has ended, and reads the terminal or pipes to the end of file, whatever
.Fl Fl drain
says.
.Cm kill
ends them as a limit would:
.Fl Fl signal ,
and after
.Fl Fl kill-after
.Dv SIGKILL .
The exit status is the command's in each case.
.Pp
With a limit, and with any of these but
.Cm leave ,
orphans become children of a process of
.Nm
instead of
.Xr init 1
as long as
.Nm
runs.
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
Refuse to run where file accesses cannot be observed, as everywhere in this version:
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
On Windows commands cannot be run yet.
.Ss Input
Under
.Fl Fl pty ,
the end of input that is not a terminal cannot be told to a command that has put its terminal into raw mode: a
terminal has no other way to say it than a character, and in raw mode that character is data.
A program that leaves line mode but keeps signal characters on, as line editors do, is sent the character once; one
that has switched them off as well gets no end of file, and may wait for ever.
.Pp
Input of that kind may arrive quoted, each special byte with a ^V before it, where it is written to the terminal at the
very moment in which the command switches to raw mode.
A command that discards the input of its terminal, by
.Xr tcflush 3
or by
.Xr tcsetattr 3
with
.Dv TCSAFLUSH ,
discards what has been fed to it.
.Pp
Of such input from a pipe, what the command leaves is only given back as long as the command has not read the first
4096 bytes, and only on Linux; what
.Nm
has read ahead after them is lost to the next reader.
From a socket, or a device other than a terminal, nothing is given back.
.Pp
Keys that the command did not read are given back only where the system allows putting them back
.Po
.Dv TIOCSTI :
since Linux 6.2 with
.Dv CAP_SYS_ADMIN
or the sysctl
.Va dev.tty.legacy_tiocsti
.Pc ;
elsewhere they are lost to the shell that reads next.
.Pp
When standard input is not the terminal, a command that reads
.Pa /dev/tty
without a change to line editing or echo gets no keys.
The change is noticed when the command next writes to the terminal: one that turns echo off without a prompt gets its
keys only then.
.Pp
Standard input that is a directory makes the Python interpreter fail before
.Nm
can start, with status 1.
.Ss Output
With
.Fl Fl pipe
the order between standard output and standard error is not kept where both go to one place.
Standard output and standard error that are not terminals become pipes for the command, whatever they are, under
.Fl Fl idle-timeout ;
and so does each of them that goes where the events go, as standard error does by default.
.Nm
has to see what is written there.
.Pp
A line of events of more than 4096 bytes can be interleaved with what others write to the same pipe by themselves; only
the command's standard output and error are kept apart from it.
.Ss Signals and the terminal
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
Where the command has a terminal of its own, a signal to the whole process group of
.Nm
reaches only whom one to
.Nm
alone reaches, and not the command's children in the background, which would have been in that group.
.Pp
After a
.Dv SIGKILL
to
.Nm
the user's terminal stays in raw mode.
Modes that a command has set by escape sequences, as for the alternate screen, the mouse or pasting, are its own
business: after a command that was killed they stay, as they would have without
.Nm .
Nobody answers a terminal query, as for the cursor's place, where no terminal of the user's stands behind the command's.
.Ss Environment
Python's variables, such as
.Ev PYTHONHOME ,
act on the interpreter that runs
.Nm
before they reach the command; what is in
.Ev PYTHONPATH
is searched last.
"""

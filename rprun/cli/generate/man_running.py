"""The part of the man page that says how a command runs, as mdoc(7): see `man_prose`."""

from __future__ import annotations

from rprun.cli.generate.man_events import EVENTS
from rprun.cli.generate.man_observing import OBSERVATION

TRANSPORTS = r"""
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
"""

ENDING = r"""
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
A limit that is reached when the command has ended by itself only ends the reading that
.Fl Fl drain
allows, and the status is the command's; with
.Fl Fl orphans Cm wait
it ends those that are waited for, with 124.
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
The exit status is the command's in each case, if no limit is reached.
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
"""

RUNNING = "\n".join(part.strip("\n") for part in (TRANSPORTS, EVENTS, OBSERVATION, ENDING))

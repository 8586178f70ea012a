"""The part of the man page that says what is different on Windows, as mdoc(7): see `man_prose`."""

from __future__ import annotations

WINDOWS = r"""
.Sh WINDOWS
What is said above holds on Windows too, apart from what follows.
.Ss The command
It is looked for as the system does: in the current directory first, unless
.Ev NoDefaultCurrentDirectoryInExePath
is set, then in
.Ev PATH ,
with the extensions of
.Ev PATHEXT .
Only programs and batch files are run; a script needs its interpreter named.
The command gets the end of
.Nm Ns 's
own command line as it was typed, so that a program with rules of its own, such as
.Ql cmd /c
or
.Ql msiexec ,
finds its quotes where they were.
A batch file is run by cmd.exe, to which an argument could become a command: arguments are quoted where they have to be,
and one with a quote, a percent sign or a line's end is refused with status 126.
Options without a command run
.Ev %COMSPEC% .
.Ss Transports
A stream that is a console is passed on as it is, also without
.Fl Fl pipe ,
unless
.Nm
has to see what goes there, for
.Fl Fl idle-timeout ,
or lest an event cuts a line: then, if all three streams are consoles, the command gets a console of its own, as with
.Fl Fl pty .
That is a pseudo console (Windows 10 1809), which takes all three streams;
.Fl Fl split-stderr
is refused.
What the command writes there is drawn anew by the system, and reaches
.Nm
as text: bytes that are no UTF-8, and now and then a character where two reads meet, become U+FFFD, NULs are gone, and
sequences come that the command did not write.
Where no terminal is there to answer, the questions of a console for the cursor, its state and its kind are answered and
not passed on.
Standard input that is no console is typed: any end of a line is Enter, a ^C in it is one, and at its end come ^Z and
Enter, after an Enter more if the last line has none.
What the command does not read of it is not given back.
Pipes carry bytes as they are.
.Ss Signals and the exit status
The exit status is the command's exit code, all 32 bits of it; there is no death by a signal.
A command that shares the console of
.Nm
gets ^C and ^Break itself, and
.Nm
waits for what it makes of them; one with a console of its own gets them passed on.
When the console is closed, the command has the seconds that the system gives
.Nm .
.Pp
For a limit, INT is ^C, typed into the command's own console, and anything else is ^Break, to all who are in it.
Without such a console, ^Break needs a process group of its own, in which ^C is not heard: the command gets one if there
is a limit and standard input is no console, and a ^C that
.Nm
hears is passed on as ^Break.
In every other case, and after
.Fl Fl kill-after ,
the tree is ended by
.Fn TerminateProcess
with exit code 1.
.Pp
The command and all it starts are in a job object: that is what limits and
.Fl Fl orphans
act on, and it ends with
.Nm
if that is killed.
A process that is started outside of the job, by a service or on purpose, is not found.
With a console of its own, descendants that are left in it are ended by the system when the run ends.
.Ss Files
.Fl Fl events Ar fd:N
works where the C runtime has handed a descriptor on.
"""

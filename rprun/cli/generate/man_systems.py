"""The part of the man page that says what is different on macOS, BSD and older Linux, as mdoc(7): see `man_prose`."""

from __future__ import annotations

SYSTEMS = r"""
.Sh OTHER SYSTEMS
What is said above holds on macOS, FreeBSD, OpenBSD and NetBSD too, and on kernels of Linux that lack the newer calls,
apart from what follows.
On macOS and the BSDs
.Nm
was never run.
.Ss macOS and BSD
Orphans become children of
.Xr init 1 ,
except on FreeBSD.
So with a limit, or an
.Fl Fl orphans
other than
.Cm leave ,
.Nm
looks at the tree of processes again and again, once a second at least, and who has been seen in it stays in it.
A descendant whose parent ended before it was seen is missed if it has left the session of the command's terminal, or
if there is none: it is neither named nor awaited, nor ended by a limit.
.Ql orphans
is therefore left out of the
.Ql exited
event where none was found.
.Pp
Data for a terminal are passed in pieces of at most 1021 bytes, as a line has room for no more there.
The end of a piece is a character that such a terminal keeps where a read ends just before it, and the next read takes
it for the end of file.
Pieces of longer data have odd sizes therefore; a program that reads such data byte by byte from its terminal, or in
another odd size that comes out even, stops too early.
.Pp
What is left in a pipe at standard input is not given back under
.Fl Fl pty :
it cannot be looked into without taking it out.
.Pp
A command whose standard input is not the terminal gets keys only once it changes line editing or echo: it is not known
who sleeps in a read.
.Pp
A pipe that was given to
.Nm
cannot be opened anew there: it is written to by 512 bytes at a time, and if others write to it as well,
.Nm
can be held up by its reader.
.Pp
On macOS no descriptor from 1024 on can be waited for, which matters to a program that uses the Python interface and has
as many open.
On OpenBSD nothing can be put back into a terminal's input.
On the BSDs inherited descriptors from 4096 on are kept open in
.Nm
itself until it ends.
.Ss Older kernels of Linux
Before Linux 3.4 what is said above of orphans holds there, too.
Without
.Xr pidfd_open 2 ,
or seccomp user notification (Linux 5.5), there is no observation but by snapshots; nothing else changes.
.Pp
Without
.Pa /proc ,
of a tree no more than the command itself is ended by a limit,
.Ql orphans
is left out, neither
.Ql ebpf
nor
.Ql psutil-poll
observes anything, and in a locale that Python replaces
.Ev LC_CTYPE
stays what it has made of it.
"""

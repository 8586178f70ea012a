"""BUGS of the man page: what cannot be done, or is done otherwise than one would think."""

from __future__ import annotations

BUGS = r"""
.Sh BUGS
For Windows see
.Sx WINDOWS ,
for macOS, BSD and older kernels
.Sx OTHER SYSTEMS .
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
When standard input is not the terminal, a command gets keys once it changes line editing or echo, or, on Linux, when a
line has been typed while it sleeps in
.Xr read 2
on
.Pa /dev/tty .
One that waits by
.Xr poll 2
or
.Xr select 2
without such a change gets none, and a change that comes more than half a second after the command's last output is
noticed with the next line.
.Pp
With
.Fl Fl split-stderr
no keys come from the terminal that standard error is.
.Xr less 1
and
.Xr more 1
read theirs there, and get none.
.Pp
Of a SIGTSTP and a SIGCONT that
.Nm
gets within a fraction of a millisecond it cannot always tell which came last: the command goes on, then.
.Pp
Standard input that is a directory makes the Python interpreter fail before
.Nm
can start, with status 1.
.Pp
So does a SIGINT in the first milliseconds, in which the interpreter itself starts: with its traceback in place of
the signal, and before the command has been started.
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
alone reaches: the foreground of that terminal, or, unless it is HUP, INT, QUIT or TSTP, the command without its
children,
all of whom would have been in that group.
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
.Ss Limits
.Nm
itself needs file descriptors, processes and memory: some 15 descriptors, 35 where files, processes or network are
observed, and one process more, or two.
Where limits
.Pq Xr getrlimit 2
leave less, a command that would run alone is not started, with status 125.
.Ss Observation
What it does to the command to be observed is said under
.Sx OBSERVATION .
.Pp
What is written, sent and received is counted by
.Ql ebpf
alone, and what is read from a file by none.
What is opened by
.Xr open_by_handle_at 2 ,
inherited, received over a socket, written through a mapping or done by a daemon on request is not seen.
Nor is what goes through an
.Xr io_uring 7 ;
that a process has set one up is, under
.Cm file
and
.Cm network ,
and told in an
.Ql unobserved
record.
.Pp
.Ql ..
and symbolic links in paths are not resolved.
.Ss Observation by ebpf
A call is reported when it returns.
One that a signal interrupts is so only if it is made again; one in which its process is killed, or that has not
returned when the run ends, is not.
.Pp
Names are read when the call returns, too.
Another thread can have changed them by then, or have closed or replaced a descriptor: what has been written then counts
for what has its number by that time.
What has been paged out meanwhile is null, and so can be what the kernel did not look at before it refused the call.
A directory that a relative path starts from has the name that it has by then; while somebody renames it, or one above
it, the path may be half old and half new.
If it has been removed, lies outside of the process's root directory, or is more than 64 directories and mounts below
that, the path is null.
.Pp
Of a
.Xr sendmmsg 2
16 peers are reported, and what is sent to more is counted in a
.Ql lost
record.
The same goes for processes beyond 65,536 at a time, and what those do is not seen, and for descriptors beyond 32,768
at a time, whose bytes are not counted; each number that a living process has used is one of them.
.Pp
Bytes are counted by the results of calls.
What is written through a mapping, an
.Xr io_uring 7
or
.Xr io_submit 2
has none, and is not counted.
What
.Xr close_range 2
or an exec closes is told late: when its number has become another file's, or the process has ended.
Before Linux 5.12, of threads that close and open the same number at the same moment an end may be missing, or told
twice, the second time without a path: fewer than one in ten thousand where two do nothing else.
Of threads that at the same moment are the first to use a descriptor that was not seen opened, one may have the bytes of
its call counted as lost, if the processor of another one stands still meanwhile, as a virtual machine's may.
Of processes that share their descriptors without being threads of one process
.Pq Dv CLONE_FILES ,
each one's are taken for its own.
.Pp
A process that is not in the pid namespace of
.Nm
or one below it, as after
.Xr setns 2 ,
has
.Ql pid
0.
.Pp
Before Linux 6.10, the first word of the
.Ql argv
of a script can be null.
.Ss Observation by seccomp-user-notify
A call is seen before the kernel acts on it, so its outcome is unknown, and a call that a signal stops after it was seen
may be reported and not have happened.
What is reported was read while the call waited.
Another thread of the process can change a path, or somebody else a directory, before the kernel looks.
.Pp
A process that makes no watched call is not seen, not even its start and end.
.Pp
In a chroot, paths are those inside of it.
.Pp
Whether a file exists is looked up while its caller waits, and all other callers of the tree with it.
Where a network file system, one in user space (FUSE) or an automounter's is mounted, or one of the tree has mounted
anything, what is not local is therefore looked up only as far as the kernel knows of it without asking anybody:
.Ql exists
is left out of all else, and a search along
.Ev PATH
is reported step by step there.
Before Linux 5.12 it is left out of everything then.
What is mounted over such a file system, as an overlay or a loop device, counts as local.
A call with a path on a page that is mapped from such a file system, and is not in memory, is waited for by all.
.Pp
Once one of the tree can provide pages itself
.Pq Xr userfaultfd 2 ,
what lies on a page that has yet to be provided is null.
If it can so by
.Pa /dev/userfaultfd ,
that is not noticed where files are not observed, or where the descriptor was received: there such a tree can wait for
ever.
.Pp
A symbolic link that leads to something below
.Pa /proc/self
is looked up as that of the supervisor:
.Ql exists
is left out where nothing is found, and can be true of a descriptor that only the supervisor has.
.Pp
The
.Ql ppid
of a process whose parent had ended before it was first seen is null, and before Linux 6.15 every
.Ql exit_code
of a descendant.
Who connected to a socket is not known, nor, before Linux 6.9, the
.Ql protocol
of a socket that a thread has in descriptors of its own
.Pq Xr unshare 2 .
.Pp
On aarch64 this backend was never run, and there calls of 32-bit programs are not watched.
.Ss Observation by psutil-poll
What comes and goes between two looks is missed, and with many processes there are seconds between them.
.Pp
On Linux a number that comes back to another process within a hundredth of a second is taken for the same process.
A process that execs a program between two looks and starts a child before it executes another one passes the former
on to the child as its own.
A connection that was accepted by a listener that is gone by the time it is seen is taken for one that was made, and a
file that another process has handed over for one that was opened.
Paths are those that
.Nm
would use, also of a process in a chroot.
Of a process whose first thread has ended, files and sockets are not seen.
.Pp
It was run on Linux only; what psutil is asked elsewhere was tried there too.
.Ss Environment
Python's variables, such as
.Ev PYTHONHOME ,
act on the interpreter that runs
.Nm
before they reach the command; what is in
.Ev PYTHONPATH
is searched last, and
.Ev PYTHONWARNINGS
shows nothing of
.Nm
itself.
"""

"""The parts of the man page about events, and what it does to a command to be observed, as mdoc(7): see `man_prose`."""

from __future__ import annotations

EVENTS = r"""
.Sh EVENTS
.Fl Fl observe
names the categories of events to report, and
.Nm
.Cm capabilities
says which of them this host supports, by what means, and what is missing.
.Cm lifecycle
is what
.Nm
does itself.
.Cm process ,
.Cm file
and
.Cm network
are observed on Linux, with privilege and without, as
.Sx OBSERVATION
says; where that leaves gaps they are
.Ql partial ,
and the reason names them.
Where a category is
.Ql unavailable ,
one
.Ql unobserved
record says why, and no other of it comes.
The command runs all the same, unless
.Fl Fl require
was given.
.Pp
Each category is observed by the backend that sees most of it here.
.Fl Fl backend
takes another: one that sees less, or none at all, is not replaced by a better one.
It is tried before the command starts, also for a category that
.Fl Fl observe
does not name, and where it sees nothing,
.Nm
fails with 125 and the reason.
.Fl Fl require
and the records of events are then about that backend.
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
the process that it happened to, and
.Ql timestamp_ms ,
the milliseconds since 1970 at which it was seen.
.Ql seq
is the order of the records, which need not be that of the times: the end of a process is told when its record has
been read, and the first
.Ql exec
of the command after
.Ql started .
.Pp
A field that could not be read, as of a process of another user, is null.
Text that is not UTF-8 has U+FFFD in place of what cannot be decoded, and its exact bytes in a second field:
.Ql path
in
.Ql path_base64 ,
and so for
.Ql argv ,
.Ql cwd ,
.Ql from
and
.Ql to .
Paths are absolute, as the process sees them: relative ones are joined to the directory they are relative to, and
otherwise stay as they were given, with
.Ql ..
and symbolic links.
.Pp
.Ql attempt
is true in each event of a call that was seen before the kernel acted on it: whether it succeeded is not known.
A backend that sees the outcome says it in
.Ql result
instead, which is
.Ql ok
or the name of the error, as
.Ql ENOENT .
By
.Ql ebpf
each call has a result, and by
.Ql proc-connector
.Cm exec
has; all others are attempts.
.Pp
These are all kinds that this version reports.
.Ss Lifecycle
.Bl -tag -width Ds
.It Cm started
The command has started.
.It Cm exited
It has ended, and what it wrote has been read.
.Ql exit_code
is its exit status, or the negative number of the signal that ended it; null if it could not be known.
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
.El
.Ss Process
Three backends see processes.
.Ql ebpf
and
.Ql proc-connector
are told by the kernel of each start, exec and end.
.Ql seccomp-user-notify
is what is left where neither can be had, such as in a container; what is said below of the first watched call, of
attempts and of exit statuses that are not known is about that one alone.
.Bl -tag -width Ds
.It Cm descendant-started
A process other than the command's has been started, or was seen for the first time, when it made its first watched
call.
.Ql ppid
is its parent; null if that had ended by then.
.It Cm exec
A process, the command's own included, has executed a program, or asked for it to be executed.
.Ql path
is the program,
.Ql argv
the list of its arguments, and
.Ql cwd
the working directory.
A last argument that is null stands for more than there was room for, some 240 kB;
.Ql ebpf
has room for all, unless it is not read fast enough.
An attempt is reported if
.Ql path
was a regular file with an execute bit, or if nothing could be found out about it: the steps of a search along
.Ev PATH
that find nothing are no events.
It can fail nevertheless, as for a script without
.Ql #! ,
which its caller then gives to
.Pa /bin/sh .
With a result, only what was executed is reported.
Of a script with
.Ql #! ,
the interpreter is not.
.It Cm descendant-exited
A process that was reported as started has ended.
.Ql exit_code
is its exit status, or the negative number of the signal that ended it; null if it could not be known, as before Linux
6.15, or where its parent had not waited for it when the run ended.
.El
.Ss File
Seen are the calls that open, make, remove, rename and link, and those that change size, mode and owner, also where they
fail; not those that look
.Pq Xr stat 2 ,
read, write, map or close.
.Bl -tag -width Ds
.It Cm file-open
.Ql path
is to be opened, or made.
.Ql flags
are those of
.Xr open 2 ,
as a number;
.Ql access
is
.Ql read ,
.Ql write
or
.Ql readwrite ;
.Ql create
says whether it is to be made if it is not there.
Of an attempt,
.Ql exists
says whether it was there just before; it is left out where that could not be found out, as in another mount namespace.
.It Cm file-unlink , file-mkdir , file-rmdir , file-truncate , file-chmod , file-chown
.Ql path
is what the call was for; where it was for an open descriptor, the file behind that.
.It Cm file-rename , file-link , file-symlink
.Ql from
and
.Ql to .
The
.Ql from
of a symbolic link is its text, as it was given.
.El
.Ss Network
Each has
.Ql family ,
which is
.Ql inet ,
.Ql inet6 ,
.Ql unix
or another, as
.Ql netlink ,
and
.Ql protocol ,
which is
.Ql tcp ,
.Ql udp
or another; outside of inet and inet6 it is the type of the socket, as
.Ql stream .
It is null where another process's sockets cannot be looked at, as in some containers.
Unix sockets have a
.Ql path ,
which starts with
.Ql @
where the name is abstract and is empty where there is none; all others have
.Ql address
and
.Ql port ,
null where the family has none that are known here.
.Bl -tag -width Ds
.It Cm net-connect
A socket is to be connected to this peer.
For UDP this sends nothing: looking up a name does it to compare addresses.
Where the socket does not wait for it, the result is
.Ql EINPROGRESS ,
and what came of it is no event.
.It Cm net-bind
A socket is to get this address.
Port 0 stands for any.
.It Cm net-listen
A socket, which has this address, is to accept connections.
A
.Ql path
is the name as it was given to the socket.
.It Cm net-accept
A connection from this peer has been accepted.
Of an attempt, or one that failed, it is not known whose: address, port and path are null.
.It Cm net-send
A message is to be sent to this peer, named with it.
What is sent to the peer of a connected socket is no event.
.El
.Ss Any category
.Bl -tag -width Ds
.It Cm unobserved
Something that was asked for cannot be observed.
.Ql backend
is what was to observe it, or
.Ql none ;
.Ql reason
is why it does not.
One that comes with the start is about the whole category.
A later one is about the process
.Ql pid ,
which has set up an
.Xr io_uring 7 ,
and comes once for each process and category.
.It Cm lost
.Ql count
events had no room, or were seen and could not be told.
.Ql ebpf
counts each category for itself.
Those of another backend are counted together: its
.Ql category
is one of those that this backend observes, and they may have been of any.
.El
.Pp
The JSON Schema of an event, with the kinds of the other categories as they are planned, is
.Pa rprun/observe/event.schema.json
in the package.
"""

OBSERVATION = r"""
.Sh OBSERVATION
On Linux there are three backends.
.Bl -tag -width Ds
.It Ql ebpf
sees
.Cm process ,
.Cm file
and
.Cm network
as the kernel acts, and needs privilege.
.It Ql proc-connector
sees
.Cm process ,
without privilege, in the initial namespaces of Linux 6.6 and later.
It learns from the next one what a program was started with, so what is said of that holds here too.
Its events come some 20 milliseconds late, in the order of their times.
.It Ql seccomp-user-notify
sees all three, without privilege, and before the kernel acts.
.El
.Pp
For each category the one that sees most here is taken, and of equals the first of this list.
.Nm
.Cm capabilities
says which that is, with
.Fl Fl all
what each of them would see or lacks, and
.Fl Fl backend
takes another.
.Ss ebpf
.Nm
loads programs into the kernel
.Pq Xr bpf 2 ,
which follow the command and all that it starts, and look at each call as it returns.
.Pp
It needs
.Dv CAP_BPF
and
.Dv CAP_PERFMON ,
or
.Dv CAP_SYS_ADMIN ,
in the initial user namespace, as root has them outside of most containers
.Pq Xr capabilities 7 .
It needs Linux 5.8 with BTF, the description of its own structures in
.Pa /sys/kernel/btf/vmlinux ;
before Linux 5.11 also a
.Dv RLIMIT_MEMLOCK
of some 32 MB.
A kernel that is locked down for confidentiality
.Pq Xr kernel_lockdown 7
forbids it.
On a real-time kernel
.Pq Dv PREEMPT_RT
it is not used.
It is made for x86_64, with 32-bit programs (i386) and x32 programs, and for aarch64 without 32-bit programs, where it
was never run.
Where something is missing,
.Nm
.Cm capabilities Fl Fl all
says what, and the other backends take over.
.Pp
The command has the privilege that
.Nm
has.
One without it is observed so:
.Pp
.Dl $ sudo rprun \-\-observe file \-\- sudo \-u \(dq$USER\(dq make
.Pp
Nobody waits, and no call fails for being seen.
Set-user-ID programs keep their privilege,
.Pa /proc/PID/status
is as it would have been,
.Xr ptrace 2 ,
filters and supervisors of others work, and so does
.Nm
within
.Nm .
But while
.Cm file
or
.Cm network
is observed, each call of every process of the host takes longer, by some 100 nanoseconds, and before Linux 6.10 also
with
.Cm process
alone.
.Pp
Records wait for
.Nm
in 16 MiB of the kernel's memory.
Where it does not read fast enough, what has no room is counted in
.Ql lost
records.
.Pp
Observation ends with the run, which
.Fl Fl orphans Cm wait
makes last until the descendants have ended, and leaves nothing behind.
If
.Nm
is killed, the kernel lets go of the programs.
.Ss seccomp-user-notify
Before the command's first instruction it is put under a
.Xr seccomp 2
filter, which all that it starts inherits.
A call that the filter names waits until a process of
.Nm Ns 's ,
the supervisor, has read what it is about and has let it go on
.Pq Xr seccomp_unotify 2 .
No call is refused or changed.
Calls of 32-bit programs (i386) and of x32 programs on x86_64 are watched and understood like others.
It needs Linux 5.5, and some of it later ones, as the reasons of
.Nm
.Cm capabilities
say.
.Pp
Only what the chosen categories need is watched, so they also decide when a process is first seen.
With
.Cm process
alone that is when it executes a program; with
.Cm file
as well, when it opens a file.
.Pp
The command can notice some of it:
.Bl -bullet
.It
.Pa /proc/PID/status
says
.Ql Seccomp: 2
and one more in
.Ql Seccomp_filters .
Unless
.Nm
has
.Dv CAP_SYS_ADMIN ,
as root has outside of most containers, it also says
.Ql NoNewPrivs: 1 ,
and set-user-ID and set-group-ID programs, and those with file capabilities, start without what they would gain:
.Xr sudo 8 ,
.Xr su 1
and the like do not work.
Each set-user-ID or set-group-ID program that was started so is named in a warning at the end.
With the capability they do work.
.It
A signal with a handler that comes while a call waits for the supervisor makes that call fail with
.Er EINTR ,
unless the handler was installed with
.Dv SA_RESTART ;
that holds also for calls that otherwise do not fail so, such as the opening of a regular file.
From Linux 5.19 on this ends when the supervisor has received the call, which is mostly at once: with a signal every
millisecond, 5 to 21 of 5,000 opens failed so.
Calls that programs never expect to fail so,
.Xr fork 2 ,
.Xr clone 2 ,
.Xr close 2
and
.Xr exit 2 ,
are not watched for this reason.
.It
There can be one supervisor only.
Inside,
.Nm
finds the categories
.Ql unavailable ,
and a program that wants to be a supervisor itself gets
.Er EBUSY .
In the same way
.Nm
finds them unavailable in what another one supervises already.
Filters without a supervisor, as sandboxes install them, work.
A call that such a filter refuses is not reported.
.It
.Xr ptrace 2
works, and so do debuggers and
.Ql strace -f .
.Ql strace --seccomp-bpf
reports none of the calls that are watched: of two filters the one that notifies goes first.
.El
.Pp
The supervisor is started before the command, in a session of its own, and is neither its parent nor its child.
It stays for as long as any process is under the filter, since without it their watched calls would fail with
.Er ENOSYS .
Observation ends with the run: descendants that go on after it are not reported further, and make their calls as
before, with the supervisor as their only trace of
.Nm .
With
.Fl Fl orphans Cm wait
the run goes on, and with it the observation, until they have ended.
If
.Nm
is killed, so is the command, and the descendants that are left go on in the same way.
If the supervisor is killed,
.Nm
lets the call that was waiting go on, starts another, and counts that call in a
.Ql lost
record.
"""

"""The part of the man page about events, as mdoc(7): see `man_prose`."""

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
are observed on Linux, with privilege and without, and elsewhere by snapshots, as
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
Of calls that processes make at the same time on two processors either may come first, and the times of the two be the
other way round.
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
has; by
.Ql psutil-poll
none has either, as no call was seen but what came of it; all others are attempts.
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
.Fl Fl orphans Cm report ;
it is left out where they cannot be known.
.El
.Ss Process
Four backends see processes.
.Ql ebpf
and
.Ql proc-connector
are told by the kernel of each start, exec and end.
.Ql seccomp-user-notify
is what is left where neither can be had, such as in a container; what is said below of the first watched call and of
attempts is about that one alone.
.Ql psutil-poll
sees those that live when it looks.
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
6.15, of another user's process for which its parent had not waited when the run ended, or by
.Ql psutil-poll .
Its time, by
.Ql seccomp-user-notify ,
is when that was heard of, as the kernel keeps none: at the next watched call that somebody makes, else as a rule within
20 milliseconds, and not before the last event of the process.
.El
.Ss File
Seen are the calls that open, make, remove, rename and link, and those that change size, mode and owner, also where they
fail; not those that look
.Pq Xr stat 2 ,
read or map.
What is written, and that a file is closed, is seen by
.Ql ebpf
alone.
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
By
.Ql psutil-poll ,
a file was seen open;
.Ql flags
and
.Ql create
are null.
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
.It Cm file-write
Through a descriptor that has been closed since, a process has written
.Ql byte_count
bytes to
.Ql path :
the sum of what
.Xr write 2
and the like,
.Xr sendfile 2 ,
.Xr splice 2
and
.Xr copy_file_range 2
have returned.
It comes right before the
.Cm file-close
of that descriptor, unless nothing was written.
What has been written to a file that is open still when observation ends is told too, without a
.Cm file-close .
.It Cm file-close
A process has closed a descriptor of
.Ql path ,
which is as it was given when that process opened it.
.El
.Pp
Each
.Cm file-write ,
.Cm file-close
and
.Cm net-close
is about one process and one descriptor.
It comes when the process closes that by
.Xr close 2 ,
or
.Xr dup2 2
puts another one in its place; when the process has ended, after its
.Cm descendant-exited ;
or, after a
.Xr close_range 2
or an exec, when something else is written, opened or connected under its number, at the latest with the end of the
process.
A descriptor that the process has not opened itself, but inherited, duplicated or received, is told of only if that
process has written to it, or sent or received through it;
.Ql path
is then the file's name as it was at the first write.
Such a pipe or FIFO is no file here.
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
.It Cm net-close
A process has closed a descriptor of a socket through which it had sent
.Ql bytes_sent
and received
.Ql bytes_received
bytes: the sums of what
.Xr send 2 ,
.Xr recv 2 ,
.Xr write 2 ,
.Xr read 2
and the like have returned.
What was only looked at
.Pq Dv MSG_PEEK
was not received.
The address is the peer that the last
.Cm net-connect
or
.Cm net-accept
named, where one that failed does not take the place of one that did not; without one the socket's own, if
.Cm net-listen
or
.Cm net-bind
named it; else the peer that the kernel knows, or null.
When it comes, and of which descriptors, is as for
.Cm file-close .
A socket that is open still when observation ends has none.
By
.Ql psutil-poll ,
a connection that was seen is gone, and the counts are null.
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
.Xr io_uring 7
or cannot be looked into, and comes once for each process and category.
.It Cm lost
.Ql count
events had no room, or were seen and could not be told.
.Ql ebpf
counts each category for itself.
.Ql seccomp-user-notify
does not know of what category they would have been: so there is one record for each that it observes, with the same
.Ql count ,
and no category lacks more than its own records say.
Ends of processes that it cannot hear of are counted as
.Cm process
alone.
.El
.Pp
The JSON Schema of an event is
.Pa rprun/observe/event.schema.json
in the package.
"""

"""The part of the man page about what sees the command, and what that does to it, as mdoc(7): see `man_prose`."""

from __future__ import annotations

OBSERVATION = r"""
.Sh OBSERVATION
There are four backends, three of them for Linux alone.
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
.It Ql psutil-poll
sees of all three what there is at the moments at which it looks, on every system.
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
lets the calls that it had in hand, one or two, go on, starts another, and counts them in a
.Ql lost
record.
.Ss psutil-poll
A thread of
.Nm Ns 's
looks at the table of processes, and into those of the command's tree, again and again.
It needs nothing but leave to look, takes part in nothing, and the command cannot notice it.
What lasts for less than the time between two looks is missed, and no record says so; what was seen was so.
.Pp
The first look is when the command has started, and the last when it has ended.
Between two looks there are 5 milliseconds at least, and as much more as it takes to use no more than 8% of one
processor while looks show something new, and 2% while they do not.
While nothing happens that is 20 to 60 milliseconds with a few processes, and some seconds with 2,000.
New processes are looked into at once, others in turns.
.Pp
Of a build of 160 files in C by
.Ql make \-j2
it told 76% of the processes, 72% of the programs and 2% of the files that
.Ql ebpf
saw being opened, and 5% of the connections of a web server, most of which last for a few milliseconds.
It told nothing that
.Ql ebpf
had not seen.
.Bl -bullet
.It
A process is known by its number and the time of its creation, and is followed also when its parent has ended.
One whose parent ended before either was seen is found where orphans are the monitor's
.Pq see Fl Fl orphans ,
and else missed.
Exit statuses are not known.
.It
A program is told where a process is seen to run another one than it did, or than its parent did.
It is the file that is executed: of a script, the interpreter.
On systems other than Linux a process that executes its own program once more is not seen to.
.It
Of files, those are seen that are regular and open; not with which flags.
What a process has from its parent, or from
.Nm ,
it has not opened, nor what has got a new name.
A file that is open no more is no event: it may have been removed.
.It
Of sockets, TCP and, with a fixed peer, UDP are seen.
A socket that several processes hold is told of the one that was seen with it first.
A connection was accepted where somebody listens at its own address, and made by its process else.
It is gone when no process of the tree has it any more.
.El
"""

"""The supervisor: a process that answers every trapped call of the command's tree, and notes what it was.

Some facts that give it its shape:

- Until a notification has been received, a signal can make the trapped call fail with EINTR. So there is nothing here
  but to receive, to read what will not be there any more once the call goes on, and to answer; what it all means is
  worked out in rprun.
- A filter without a listener fails every trapped call with ENOSYS, for ever. So the supervisor outlives rprun: it ends
  when the last process under the filter has ended. It has a session of its own and takes no signals.
- It is single-threaded and a process of its own: beside another Python thread an answer would take 50 times as long.
- The kernel writes each request into memory that rprun shares; rprun answers it, should the supervisor be killed.
- A number of a thread or process may come back for another one. What is known of a process is forgotten as soon as
  its pidfd says that it has ended, which is looked at before each use.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import resource
import select
import socket
import struct
from _signal import SIG_BLOCK, pthread_sigmask, valid_signals
from errno import EMFILE
from fcntl import ioctl
from time import time_ns

from rprun.backends.seccomp.capture import Capture
from rprun.backends.seccomp.record import pack
from rprun.linux import pidfd, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from rprun.backends.seccomp.ring import Ring

# A message to rprun that carries the pidfd of a process: its number, and the time of its record, which tell it from
# another one that gets the same number.
PROCESS = struct.Struct("=iq")
_DESCRIPTOR = struct.Struct("=i")
# A message to rprun: there is nothing to supervise.
NOBODY = b"nobody"
# A record in the ring: a process, its parent (-1: not known), and the time in nanoseconds since the Unix epoch.
PROCESS_STARTED = struct.Struct("=iiq")


def serve(ring: Ring, channel: int, control: int, wake: int) -> NoReturn:
    """Be the supervisor: get the listener, answer until nobody is left who could ask.

    Must be called in a process of its own, single-threaded.

    Args:
        ring: shared with rprun.
        channel: where the listener comes from (see `rprun.linux.listener`).
        control: SOCK_SEQPACKET socket to rprun: the listener, the word on how it was installed, and pidfds.
        wake: eventfd of rprun's that is written to when the reader of the ring sleeps.
    """
    status = 1
    try:
        detach((ring.fd, channel, control, wake))
        listener = _pass_on_listener(channel, control)
        if listener >= 0:
            Supervisor(ring, listener, control, wake).run()
        status = 0
    finally:
        os._exit(status)


def resume(ring: Ring, listener: int, control: int, wake: int, known: Mapping[int, int]) -> NoReturn:
    """Be the supervisor that takes over from one that was killed.

    Args:
        ring: as for `serve`.
        listener: rprun's.
        control: as for `serve`.
        wake: the same.
        known: descriptors, as pidfds, of the processes that rprun knows of, and their numbers.
    """
    status = 1
    try:
        detach((ring.fd, listener, control, wake, *known))
        # What the other one had placed and not published is not there.
        ring.take_back()
        supervisor = Supervisor(ring, listener, control, wake)
        for descriptor, process in known.items():
            supervisor.watch(descriptor, process)
        supervisor.run()
        status = 0
    finally:
        os._exit(status)


def detach(kept: tuple[int, ...]) -> None:
    """Leave the terminal, the process group, the directory and every descriptor that is not needed here."""
    pthread_sigmask(SIG_BLOCK, valid_signals())
    os.setsid()
    os.chdir("/")
    before = 0
    for descriptor in sorted({*kept, 1 << 30}):
        if descriptor > before:
            os.closerange(before, min(descriptor, 1 << 20))
        before = descriptor + 1
    # So that a number below 3 is never one of ours.
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        if number not in (null, *kept):
            os.dup2(null, number, inheritable=False)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One pidfd for each living process of the tree.
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _pass_on_listener(channel: int, control: int) -> int:
    """Receive the listener and send it, and the word that came with it, on to rprun; -1 when there is none."""
    with socket.socket(fileno=channel) as source, socket.socket(fileno=os.dup(control)) as to_rprun:
        # Only looked at, not taken: should this process be killed here, the next one finds it where it was.
        # By recvmsg, as recv_fds pays no attention to its flags.
        word, control_messages, _, _ = source.recvmsg(256, socket.CMSG_LEN(_DESCRIPTOR.size), socket.MSG_PEEK)
        descriptors = [
            _DESCRIPTOR.unpack(data)[0]
            for level, kind, data in control_messages
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS) and len(data) == _DESCRIPTOR.size
        ]
        if not word:
            # The command was never started.
            to_rprun.send(NOBODY)
            return -1
        socket.send_fds(to_rprun, [word], descriptors)
    return descriptors[0] if descriptors else -1


class Supervisor:
    """Answers a listener's notifications."""

    def __init__(self, ring: Ring, listener: int, control: int, wake: int) -> None:
        self._ring = ring
        self._listener = listener
        self._wake = wake
        self._control = socket.socket(fileno=control)
        self._control.setblocking(False)  # noqa: FBT003 - the call takes it so
        capture = Capture()
        self._capture, self._forget_captured = capture.capture, capture.forget
        # Descriptor of a process's pidfd by its number, and what ended says of itself.
        self._pidfds: dict[int, int] = {}
        self._processes: dict[int, int] = {}
        self._ended = select.epoll()
        self._unwatched: set[int] = set()
        self._filters = -1  # how many filters the first process of the tree is under
        # From Linux 6.11 on RECV ends with the last process; PIDFD_GET_INFO has been there from 6.13 on.
        self._receive_ends = _tells_numbers()
        seccomp.set_sync_wake_up(listener)

    def run(self) -> None:
        """Answer until the last process under the filter has ended."""
        listener, ring, note = self._listener, self._ring, self._note
        request = ring.request()
        zeros = bytes(seccomp.NOTIF_SIZE)
        size = len(zeros)
        response = bytearray(seccomp.RESP_SIZE)
        unpack, pack_into = seccomp.NOTIFICATION.unpack_from, seccomp.RESPONSE.pack_into
        receive, send, go_on = seccomp.RECV, seccomp.SEND, seccomp.FLAG_CONTINUE
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        waits = not self._receive_ends
        while True:
            request[:size] = zeros
            if waits and poller.poll()[0][1] & select.POLLHUP:
                return
            try:
                ioctl(listener, receive, request)
            except OSError:
                # The call was given up before it was received; or nobody is left.
                if seccomp.is_deserted(listener):
                    return
                continue
            notification, tid, _flags, number, arch, _ip, *arguments = unpack(request)
            try:
                noted = note(arch, number, arguments, tid)
            except Exception:  # noqa: BLE001 - whatever it is, the call must be answered
                noted = False
                ring.lose()
            pack_into(response, 0, notification, 0, 0, go_on)
            try:
                ioctl(listener, send, response)
            except OSError:
                # It was interrupted and has not happened; if it is restarted, there is a second notification.
                ring.take_back()
                continue
            if noted and ring.publish():
                os.eventfd_write(self._wake, 1)

    def _note(self, arch: int, number: int, arguments: list[int], tid: int) -> bool:
        """Place a record of the call in the ring; False where there is none to be published."""
        if self._ring.is_closed():
            return False
        process = self._process_of(tid)
        captured = self._capture(arch, number, arguments, tid, process)
        return self._ring.put(pack(arch, number, tid, process, time_ns(), arguments, captured))

    # -- processes

    def _process_of(self, tid: int) -> int:
        """Return the process that a thread belongs to; a process that is new is told of first."""
        for descriptor, _ in self._ended.poll(0):
            self._forget(descriptor)
        return tid if tid in self._pidfds else self._identify(tid)

    def _forget(self, descriptor: int) -> None:
        self._ended.unregister(descriptor)
        os.close(descriptor)
        process = self._processes.pop(descriptor)
        del self._pidfds[process]
        self._forget_captured(process)

    def _identify(self, tid: int) -> int:
        """Find out about a number that is no known process: a new one, or a thread that is not its first."""
        try:
            descriptor = pidfd.open_process(tid)
        except OSError as error:
            if error.errno == EMFILE:
                self._tell_without_pidfd(tid)
                return tid
            process = _leader_of(tid)
            if process not in self._pidfds and process != tid:
                self._identify(process)
            return process
        information = pidfd.info(descriptor)
        parent = information.ppid if information is not None else _status(tid, "PPid")
        self.watch(descriptor, tid)
        now = time_ns()
        if self._ring.put(PROCESS_STARTED.pack(tid, self._true_parent(parent), now)):
            # Before it is published: should this process be killed in between, the next one tells of it again.
            try:
                socket.send_fds(self._control, [PROCESS.pack(tid, now)], [descriptor])
            except OSError:
                # rprun is gone or far behind: nobody will learn how this process ends.
                self._ring.lose()
            self._publish()
        else:
            # Nor will its end be told.
            self._ring.lose()
        return tid

    def _publish(self) -> None:
        if self._ring.publish():
            os.eventfd_write(self._wake, 1)

    def _tell_without_pidfd(self, process: int) -> None:
        """Tell of a process for which no descriptor is left here (see ulimit -n): how it ends is lost."""
        if process not in self._unwatched:
            self._unwatched.add(process)
            self._ring.lose()
            if self._ring.put(PROCESS_STARTED.pack(process, -1, time_ns())):
                self._publish()

    def watch(self, descriptor: int, process: int) -> None:
        """Know a process by its pidfd, which is closed here once it has ended."""
        self._pidfds[process] = descriptor
        self._processes[descriptor] = process
        self._ended.register(descriptor, select.EPOLLIN)

    def _true_parent(self, parent: int) -> int:
        """Return the parent, or -1 where that has ended already and somebody else has taken its place.

        Only what the filter was installed in, and what came of that, is under a filter of its depth.
        """
        if parent in self._pidfds:
            return parent
        return parent if parent > 1 and _status(parent, "Seccomp_filters") >= self._depth() else -1

    def _depth(self) -> int:
        if self._filters < 0:
            self._filters = min((_status(process, "Seccomp_filters") for process in self._pidfds), default=0)
        return self._filters


def _tells_numbers() -> bool:
    descriptor = pidfd.open_process(os.getpid())
    try:
        return pidfd.info(descriptor) is not None
    finally:
        os.close(descriptor)


def _leader_of(tid: int) -> int:
    """Return the process of a thread; the thread itself where that cannot be found out."""
    try:
        descriptor = pidfd.open_process(tid, thread=True)
    except OSError:
        leader = _status(tid, "Tgid")
        return leader if leader > 0 else tid
    try:
        information = pidfd.info(descriptor)
    finally:
        os.close(descriptor)
    return information.tgid if information is not None else tid


def _status(process: int, field: str) -> int:
    """Return a number of /proc/PID/status (proc_pid_status(5)), -1 where it cannot be read."""
    try:
        with open(f"/proc/{process}/status", "rb") as stream:
            for line in stream:
                name, _, value = line.partition(b":")
                if name == field.encode():
                    return int(value.split()[0])
    except (OSError, ValueError, IndexError):
        pass
    return -1

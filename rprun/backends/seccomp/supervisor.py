"""The supervisor: a process that answers every trapped call of the command's tree, and notes what it was.

Some facts that give it its shape:

- Until a notification has been received, a signal can make the trapped call fail with EINTR. So there is nothing here
  but to receive, to read what will not be there any more once the call goes on, and to answer; what it all means is
  worked out in rprun.
- A filter without a listener fails every trapped call with ENOSYS, for ever. So the supervisor outlives rprun: it ends
  when the last process under the filter has ended. It has a session of its own and takes no signals.
- It is single-threaded and a process of its own: beside another Python thread an answer would take 50 times as long.
- The kernel writes each request into memory that rprun shares; rprun answers it, should the supervisor be killed.
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
from fcntl import ioctl
from time import time_ns

from rprun.backends.seccomp.capture import Capture
from rprun.backends.seccomp.processes import Processes
from rprun.backends.seccomp.record import pack
from rprun.linux import pidfd, seccomp
from rprun.linux.descriptors import close_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from rprun.backends.seccomp.ring import Ring

# What goes along with a message of SCM_RIGHTS.
_DESCRIPTOR = struct.Struct("=i")
# Nanoseconds: how long it takes to receive a call that waits already, at most; and between two looks at who has ended,
# which is less than it takes a process to end, to be waited for, and another to be forked.
_AT_ONCE = 4_000
_LOOK_AROUND = 25_000
# A message to rprun: there is nothing to supervise.
NOBODY = b"nobody"


def serve(ring: Ring, channel: int, control: int) -> NoReturn:
    """Be the supervisor: get the listener, answer until nobody is left who could ask.

    Must be called in a process of its own, single-threaded.

    Args:
        ring: shared with rprun.
        channel: where the listener comes from (see `rprun.linux.listener`).
        control: SOCK_SEQPACKET socket to rprun: the listener, the word on how it was installed, and pidfds.
    """
    status = 1
    try:
        detach((ring.fd, ring.bell, channel, control))
        listener = _pass_on_listener(channel, control)
        if listener >= 0:
            Supervisor(ring, listener, control).run()
        status = 0
    finally:
        os._exit(status)


def resume(ring: Ring, listener: int, control: int, known: Mapping[int, int]) -> NoReturn:
    """Be the supervisor that takes over from one that was killed.

    Args:
        ring: as for `serve`.
        listener: rprun's.
        control: as for `serve`.
        known: descriptors, as pidfds, of the processes that rprun knows of, and their numbers.
    """
    status = 1
    try:
        detach((ring.fd, ring.bell, listener, control, *known))
        # What the other one had placed and not published is not there.
        ring.take_back()
        supervisor = Supervisor(ring, listener, control)
        for descriptor, process in known.items():
            supervisor.processes.watch(descriptor, process)
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
        close_range(before, descriptor)
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
    """Answers a listener's notifications.

    Attributes:
        processes: those of the tree.
    """

    def __init__(self, ring: Ring, listener: int, control: int) -> None:
        self._ring = ring
        self._listener = listener
        to_rprun = socket.socket(fileno=control)
        to_rprun.setblocking(False)  # noqa: FBT003 - the call takes it so
        self._capture = Capture()
        self.processes = Processes(ring, to_rprun, self._capture.forget)
        # From Linux 6.11 on RECV ends with the last process; PIDFD_GET_INFO has been there from 6.13 on.
        self._receive_ends = _tells_numbers()
        self._is_sync = seccomp.set_sync_wake_up(listener)
        self._look_at = 0  # when to look around again, as `time_ns`
        self._closed = False

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
        is_sync, last = self._is_sync, 0
        while True:
            request[:size] = zeros
            if waits and poller.poll()[0][1] & select.POLLHUP:
                return
            before = time_ns()
            try:
                ioctl(listener, receive, request)
            except OSError:
                # The call was given up before it was received; or nobody is left.
                if seccomp.is_deserted(listener):
                    return
                continue
            now = time_ns()
            notification, tid, _flags, number, arch, _ip, *arguments = unpack(request)
            try:
                noted = note(arch, number, arguments, tid, now)
            except Exception:  # noqa: BLE001 - whatever it is, the call must be answered
                noted = False
                ring.lose()
            pack_into(response, 0, notification, 0, 0, go_on)
            # Where the call waited for this process, and not this process for it, its thread was trapped on another
            # processor. To have it go on here would leave that one idle.
            elsewhere = is_sync and tid != last and now - before < _AT_ONCE
            last = tid
            try:
                if elsewhere:
                    seccomp.set_sync_wake_up(listener, on=False)
                ioctl(listener, send, response)
            except OSError:
                # It was interrupted and has not happened; if it is restarted, there is a second notification.
                ring.take_back()
                noted = False
            if elsewhere:
                seccomp.set_sync_wake_up(listener)
            if noted:
                ring.publish()

    def _note(self, arch: int, number: int, arguments: list[int], tid: int, now: int) -> bool:
        """Place a record of the call in the ring; False where there is none to be published."""
        # Both ways: the clock may be set.
        if not self._look_at - _LOOK_AROUND <= now < self._look_at:
            self._look_at = now + _LOOK_AROUND
            self._closed = self._ring.is_closed()
            self.processes.forget_ended()
        if self._closed:
            return False
        process = self.processes.of(tid)
        captured = self._capture.capture(arch, number, arguments, tid, process)
        return self._ring.put(pack(arch, number, tid, process, now, arguments, captured))


def _tells_numbers() -> bool:
    descriptor = pidfd.open_process(os.getpid())
    try:
        return pidfd.info(descriptor) is not None
    finally:
        os.close(descriptor)

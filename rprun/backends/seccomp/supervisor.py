"""The supervisor: a process that answers every trapped call of the command's tree, and notes what it was.

Some facts that give it its shape:

- Until a notification has been received, a signal can make the trapped call fail with EINTR. So there is nothing here
  but to receive, to read what will not be there any more once the call goes on, and to answer; what it all means is
  worked out in rprun.
- A filter without a listener fails every trapped call with ENOSYS, for ever. So the supervisor outlives rprun: it ends
  when the last process under the filter has ended. It has a session of its own and takes no signals.
- It is single-threaded and a process of its own: beside another Python thread an answer would take 50 times as long.
  Only if rprun does not read is there a second one, which waits for that (`outbox`).
- The usual call is answered by machine code, where there is some for this machine (`rprun.linux.answering`). What that
  does is what is written here for every call; here is also what it cannot do.
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

from rprun.backends.seccomp import calls
from rprun.backends.seccomp.capture import Capture
from rprun.backends.seccomp.processes import Processes
from rprun.backends.seccomp.record import pack
from rprun.backends.seccomp.ring import DATA_OFFSET, REQUEST_OFFSET
from rprun.linux import answering, pidfd, seccomp, syscalls
from rprun.linux.descriptors import close_range
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import NoReturn

    from rprun.backends.seccomp.ring import Ring

# What goes along with a message of SCM_RIGHTS.
_DESCRIPTOR = struct.Struct("=i")
# Nanoseconds: how long it takes to receive a call that waits already, at most; and between two looks at who has ended,
# which is less than it takes a process to end, to be waited for, and another to be forked.
_AT_ONCE = 4_000
_LOOK_AROUND = 25_000
# What the machine code is told of where a path is, and of what becomes of it.
_PLACES = {(calls.CWD, 0): answering.PATH_FIRST, (0, 1): answering.AT}
_WAYS = {ObserverEventKind.FILE_OPEN: answering.OPENS, ObserverEventKind.EXEC: answering.EXECUTES}
# Flags in memory, or none; a path that may be empty and is executed then.
_NOT_SO_PLAIN = ("openat2", "creat", "execveat")
_ZEROS = bytes(seccomp.NOTIF_SIZE)
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
            supervisor = Supervisor(ring, listener, control)
            supervisor.run()
            supervisor.processes.tell_all()
        status = 0
    finally:
        os._exit(status)


def resume(ring: Ring, listener: int, control: int, known: Mapping[int, int], told: Mapping[int, int]) -> NoReturn:
    """Be the supervisor that takes over from one that was killed.

    Args:
        ring: as for `serve`.
        listener: rprun's.
        control: as for `serve`.
        known: descriptors, as pidfds, of the processes that rprun knows of, and their numbers.
        told: the numbers of others that it has been told of, and the times of the records.
    """
    status = 1
    try:
        detach((ring.fd, ring.bell, listener, control, *known))
        # What the other one had placed and not published is not there.
        ring.take_back()
        # What has ended the other one may have been the machine code: this one does without.
        supervisor = Supervisor(ring, listener, control, by_machine_code=False)
        supervisor.distrust(known.values())
        for descriptor, process in known.items():
            supervisor.processes.watch(descriptor, process)
        supervisor.processes.unwatched.update(told)
        supervisor.run()
        supervisor.processes.tell_all()
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

    def __init__(self, ring: Ring, listener: int, control: int, *, by_machine_code: bool = True) -> None:
        self._ring = ring
        self._listener = listener
        to_rprun = socket.socket(fileno=control)
        to_rprun.setblocking(False)  # noqa: FBT003 - the call takes it so
        self.processes = Processes(ring, to_rprun, self._forget)
        # From Linux 6.11 on RECV ends with the last process; PIDFD_GET_INFO has been there from 6.13 on.
        self._receive_ends = _tells_numbers()
        self._is_sync = seccomp.set_sync_wake_up(listener)
        self._look_at = 0  # when to look around again, as `time_ns`
        self._closed = False
        self._before = self._now = 0  # when the last RECV began and ended
        self._last = 0  # the thread whose call came last
        self._request = ring.request()
        self._poller = select.poll()
        self._poller.register(listener, select.POLLIN)
        self._machine_code = self._load() if by_machine_code else None
        self._capture = Capture()
        self.processes.wake_for(self._capture.views.looking.mounts.fileno())

    def _load(self) -> answering.Answering | None:
        try:
            return answering.Answering(
                self._ring.memory,
                _plans(),
                listener=self._listener,
                ended=self.processes.fileno(),
                bell=self._ring.bell,
                window=_LOOK_AROUND,
                receive_ends=self._receive_ends,
                is_sync=self._is_sync,
                request=REQUEST_OFFSET,
                data=DATA_OFFSET,
            )
        except OSError:
            return None

    def distrust(self, processes: Iterable[int]) -> None:
        """Take over from one that knew more of these processes."""
        self._capture.distrust(processes)

    def run(self) -> None:
        """Answer until the last process under the filter has ended."""
        listener, ring, note, request = self._listener, self._ring, self._note, self._request
        response = bytearray(seccomp.RESP_SIZE)
        unpack, pack_into = seccomp.NOTIFICATION.unpack_from, seccomp.RESPONSE.pack_into
        send, go_on = seccomp.SEND, seccomp.FLAG_CONTINUE
        is_sync = self._is_sync
        while True:
            if not (self._receive() if self._machine_code is None else self._answer_the_usual(self._machine_code)):
                if seccomp.is_deserted(listener):
                    return
                continue
            notification, tid, _flags, number, arch, _ip, *arguments = unpack(request)
            try:
                noted = note(arch, number, arguments, tid, self._now)
            except Exception:  # noqa: BLE001 - whatever it is, the call must be answered
                noted = False
                ring.lose()
            pack_into(response, 0, notification, 0, 0, go_on)
            # Where the call waited for this process, and not this process for it, its thread was trapped on another
            # processor. To have it go on here would leave that one idle.
            elsewhere = is_sync and self._is_to_go_elsewhere(tid)
            self._last = tid
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

    def _receive(self) -> bool:
        """Wait for the next call; False when it was given up before it was received, or nobody is left."""
        self._request[: seccomp.NOTIF_SIZE] = _ZEROS
        # fcntl.ioctl gives no other thread its turn while it waits, poll does.
        if (not self._receive_ends or self.processes.are_owed()) and self._poller.poll()[0][1] & select.POLLHUP:
            return False
        self._before = time_ns()
        try:
            ioctl(self._listener, seccomp.RECV, self._request)
        except OSError:
            return False
        self._now = time_ns()
        return True

    def _answer_the_usual(self, machine_code: answering.Answering) -> bool:
        """Answer, and wait for the next call that has to be looked at here; False as in `_receive`."""
        machine_code.last = self._last
        outcome = machine_code.answer()
        # It has published records.
        self._ring.take_back()
        self._last = machine_code.last
        self._before, self._now = machine_code.times()
        if outcome == answering.LOOK_AROUND:
            self._look_at = 0
        return outcome in (answering.RECEIVED, answering.LOOK_AROUND)

    def _is_to_go_elsewhere(self, tid: int) -> bool:
        """Tell whether a thread was trapped on another processor, as far as that can be told in no time."""
        if self._machine_code is None:
            return tid != self._last and self._now - self._before < _AT_ONCE
        return self._machine_code.is_to_go_elsewhere()

    def _forget(self, process: int) -> None:
        """Forget a process, which has ended."""
        self._capture.forget(process)
        if self._machine_code is not None:
            self._machine_code.forget(process)

    def _note(self, arch: int, number: int, arguments: list[int], tid: int, now: int) -> bool:
        """Place a record of the call in the ring; False where there is none to be published."""
        # Both ways: the clock may be set.
        if not self._look_at - _LOOK_AROUND <= now < self._look_at:
            self._look_at = now + _LOOK_AROUND
            self._closed = self._ring.is_closed()
            self.processes.forget_ended(now)
            self._capture.views.looking.look_again()
        if self._closed:
            return False
        process = self.processes.of(tid, now)
        captured = self._capture.capture(arch, number, arguments, tid, process)
        if self._machine_code is not None:
            self._machine_code.is_careful = self._capture.views.looking.is_careful
            if self._capture.views.is_unsettled or self._capture.serves_pages:
                self._machine_code.close()
                self._machine_code = None
            elif tid == process and self.processes.has(process) and self._capture.views.shared.get(process):
                self._machine_code.know(process)
            else:
                self._machine_code.forget(process)
        return captured is not None and self._ring.put(pack(arch, number, tid, process, now, arguments, captured))


def _plans() -> dict[int, int]:
    """Return how the machine code is to do calls of this process's own ABI: those with one path, by their numbers."""
    own = syscalls.AUDIT_ARCH.get(syscalls.native() or "")
    plans: dict[int, int] = {}
    for (arch, number), call in calls.BY_NUMBER.items():
        if arch != own or call is None or len(call.paths) != 1 or call.kind is ObserverEventKind.UNOBSERVED:
            continue
        plan = _PLACES.get(call.paths[0])
        if plan is not None and call.name not in _NOT_SO_PLAIN:
            plans[number] = plan | _WAYS.get(call.kind, 0)
    return plans


def _tells_numbers() -> bool:
    descriptor = pidfd.open_process(os.getpid())
    try:
        return pidfd.info(descriptor) is not None
    finally:
        os.close(descriptor)

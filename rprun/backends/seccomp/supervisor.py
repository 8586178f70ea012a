"""The supervisor: a process that answers every trapped call of the command's tree, and notes what it was.

Some facts that give it its shape:

- Until a notification has been received, a signal can make the trapped call fail with EINTR. So there is nothing here
  but to receive, to read what will not be there any more once the call goes on, and to answer; what it all means is
  worked out in rprun.
- A filter without a listener fails every trapped call with ENOSYS, for ever. So the supervisor outlives rprun: it ends
  when the last process under the filter has ended. It has a session of its own and takes no signals.
- It is a process of its own, and one thread of it answers: beside another one in Python an answer would take 50 times
  as long. Only if rprun does not read is there another one, which waits for that (`outbox`).
- The usual call is answered by machine code, where there is some for this machine (`rprun.linux.answering`). What that
  does is what is written here for every call; here is also what it cannot do.
- By machine code two threads answer where there are two processors, while calls of several threads come mixed. With
  one, a quarter of the calls in a build by make -j2 wait until another's is answered, while their processor idles, and
  the scheduler gathers on one processor whoever is answered from there. Each of the two stays on its own processor, and
  by SCHED_BATCH preempts nobody: from Linux 6.11 on the kernel wakes all who wait for a call, and who is woken where
  somebody computes is to wait there for his turn, or his call.
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
import threading
from _signal import SIG_BLOCK, pthread_sigmask, valid_signals
from fcntl import ioctl
from time import sleep, time_ns

from rprun.backends.seccomp import calls
from rprun.backends.seccomp.capture import Capture
from rprun.backends.seccomp.processes import Processes
from rprun.backends.seccomp.record import pack
from rprun.backends.seccomp.ring import DATA_OFFSET, REQUEST_OFFSET, REQUEST_SIZE
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
# Seconds between two looks at what another thread does, which takes microseconds.
_GLANCE = 0.0002
# What the machine code is told of where a path is, and of what becomes of it.
_PLACES = {(calls.CWD, 0): answering.PATH_FIRST, (0, 1): answering.AT}
_WAYS = {ObserverEventKind.FILE_OPEN: answering.OPENS, ObserverEventKind.EXEC: answering.EXECUTES}
_EXECS = {key for key, call in calls.BY_NUMBER.items() if call is not None and call.kind is ObserverEventKind.EXEC}
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
        ring.take_over()
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
        self._closed = False
        self._is_single = False  # there will be no second thread
        self._lock = threading.Lock()  # of all that only the interpreter uses
        self._poller = select.poll()
        self._poller.register(listener, select.POLLIN)
        self._lane = _Lane(ring, 0, self._load() if by_machine_code else None)
        if self._lane.machine_code is not None:
            ring.share(self._lane.machine_code.reserve)
        self._capture = Capture()
        self.processes.wake_for(self._capture.views.looking.mounts.fileno())

    def _load(self, beside: answering.Answering | None = None) -> answering.Answering | None:
        try:
            return answering.Answering(
                self._ring.memory,
                _plans() if beside is None else {},
                listener=self._listener,
                ended=self.processes.fileno(),
                bell=self._ring.bell,
                window=_LOOK_AROUND,
                receive_ends=self._receive_ends,
                is_sync=self._is_sync,
                request=REQUEST_OFFSET if beside is None else REQUEST_OFFSET + REQUEST_SIZE,
                data=DATA_OFFSET,
                beside=beside,
            )
        except OSError:
            return None

    def distrust(self, processes: Iterable[int]) -> None:
        """Take over from one that knew more of these processes."""
        self._capture.distrust(processes)

    def run(self) -> None:
        """Answer until the last process under the filter has ended."""
        self._answer(self._lane)
        # The second thread may have a call in hand whose caller was killed.
        while self._ring.in_hand():
            sleep(_GLANCE)

    def _answer(self, lane: _Lane) -> None:
        listener, ring, note, request = self._listener, self._ring, self._note, lane.request
        response = bytearray(seccomp.RESP_SIZE)
        unpack, pack_into = seccomp.NOTIFICATION.unpack_from, seccomp.RESPONSE.pack_into
        send, go_on = seccomp.SEND, seccomp.FLAG_CONTINUE
        is_sync = self._is_sync
        while True:
            if not (self._receive(lane) if lane.machine_code is None else lane.answer_the_usual()):
                if seccomp.is_deserted(listener):
                    return
                continue
            notification, tid, _flags, number, arch, _ip, *arguments = unpack(request)
            with self._lock:
                try:
                    place = note(lane, arch, number, arguments, tid)
                except Exception:  # noqa: BLE001 - whatever it is, the call must be answered
                    place = -1
                    ring.lose()
            pack_into(response, 0, notification, 0, 0, go_on)
            # Where the call waited for this process, and not this process for it, its thread was trapped on another
            # processor. To have it go on here would leave that one idle.
            # A program that is executed the kernel places anew.
            elsewhere = is_sync and (arch, number) not in _EXECS and lane.is_to_go_elsewhere(tid)
            lane.last = tid
            try:
                if elsewhere:
                    seccomp.set_sync_wake_up(listener, on=False)
                # Not while the lock is held: whom it wakes may preempt this thread.
                ioctl(listener, send, response)
            except OSError:
                # It was interrupted and has not happened; if it is restarted, there is a second notification.
                if place >= 0:
                    ring.withdraw(place)
                place = -1
            if elsewhere:
                seccomp.set_sync_wake_up(listener)
            if place >= 0:
                ring.publish(place)
            if lane.wants_another:
                self._answer_by_two(lane)

    def _receive(self, lane: _Lane) -> bool:
        """Wait for the next call; False when it was given up before it was received, or nobody is left."""
        lane.request[: seccomp.NOTIF_SIZE] = _ZEROS
        # fcntl.ioctl gives no other thread its turn while it waits, poll does.
        if (not self._receive_ends or self.processes.are_owed()) and self._poller.poll()[0][1] & select.POLLHUP:
            return False
        lane.before = time_ns()
        try:
            ioctl(self._listener, seccomp.RECV, lane.request)
        except OSError:
            return False
        lane.now = time_ns()
        return True

    def _answer_by_two(self, lane: _Lane) -> None:
        """Have a second thread answer too from now on, whenever that is better."""
        lane.wants_another = False
        first = lane.machine_code
        # Before Linux 6.11 a call wakes one of those who wait: any.
        if self._is_single or first is None or not (self._is_sync and self._receive_ends):
            return
        self._is_single = True
        second = self._load(first)
        if second is None or not first.can_be_two():
            return
        try:
            threading.Thread(target=self._answer_as_second, args=(second,), daemon=True).start()
        except RuntimeError:
            # No more processes (see ulimit -u). `can_be_two` harms nothing without one.
            return

    def _answer_as_second(self, machine_code: answering.Answering) -> None:
        try:
            self._answer(_Lane(self._ring, 1, machine_code))
        except BaseException:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            # As `serve`: rprun answers what is in hand, and starts another supervisor.
            os._exit(1)

    def _forget(self, process: int) -> None:
        """Forget a process, which has ended."""
        self._capture.forget(process)
        if self._lane.machine_code is not None:
            self._lane.machine_code.forget(process)

    def _note(self, lane: _Lane, arch: int, number: int, arguments: list[int], tid: int) -> int:
        """Place a record of the call in the ring; return where it is, -1 where there is none to be published."""
        now = lane.now
        # Both ways: the clock may be set.
        if not lane.look_at - _LOOK_AROUND <= now < lane.look_at:
            lane.look_at = now + _LOOK_AROUND
            self._closed = self._ring.is_closed()
            self.processes.forget_ended(now)
            self._capture.views.looking.look_again()
        if self._closed:
            return -1
        process = self.processes.of(tid, now)
        captured = self._capture.capture(arch, number, arguments, tid, process)
        machine_code = lane.machine_code
        if machine_code is not None:
            machine_code.is_careful = self._capture.views.looking.is_careful
            if self._capture.views.is_unsettled or self._capture.serves_pages:
                machine_code.turn_off()
            elif tid == process and self.processes.has(process) and self._capture.views.shared.get(process):
                machine_code.know(process)
            else:
                machine_code.forget(process)
        return -1 if captured is None else self._ring.put(pack(arch, number, tid, process, now, arguments, captured))


class _Lane:
    """What a thread that answers has to itself.

    Attributes:
        machine_code: what answers the usual calls; None where there is none.
        request: where the kernel writes its requests.
        before: when the last RECV began, in nanoseconds since the Unix epoch.
        now: when it ended.
        look_at: when to look again at who has ended.
        last: the thread whose call came last.
        wants_another: there is more to do than one thread can do.
    """

    def __init__(self, ring: Ring, place: int, machine_code: answering.Answering | None) -> None:
        self.machine_code = machine_code
        self.request = ring.request(place)
        self.before = self.now = self.look_at = self.last = 0
        self.wants_another = False

    def answer_the_usual(self) -> bool:
        """Answer, and wait for the next call that has to be looked at by the interpreter; False where there is none."""
        machine_code = self.machine_code
        assert machine_code is not None
        machine_code.last = self.last
        outcome = machine_code.answer()
        self.last = machine_code.last
        self.before, self.now = machine_code.times()
        if outcome == answering.LOOK_AROUND:
            self.look_at = 0
        self.wants_another = outcome == answering.WANTED
        return outcome in (answering.RECEIVED, answering.LOOK_AROUND, answering.WANTED)

    def is_to_go_elsewhere(self, tid: int) -> bool:
        """Tell whether a thread was trapped on another processor, as far as that can be told in no time."""
        if self.machine_code is None:
            return tid != self.last and self.now - self.before < _AT_ONCE
        return self.machine_code.is_to_go_elsewhere()


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

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
  somebody computes is to wait there for his turn, or his call. Whom they answer they do not wake synchronously: that
  would bring to the one processor who has been answered from there, and leave idle the other, where he was.
- The kernel writes each request into memory that rprun shares; rprun answers it, should the supervisor be killed.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import select
import threading
from fcntl import ioctl
from time import sleep, time_ns

from rprun.backends.seccomp import calls
from rprun.backends.seccomp.capture import Capture
from rprun.backends.seccomp.lane import Lane, plans
from rprun.backends.seccomp.processes import Processes
from rprun.backends.seccomp.record import pack
from rprun.backends.seccomp.ring import DATA_OFFSET, REQUEST_OFFSET, REQUEST_SIZE
from rprun.linux import answering, pidfd, seccomp, seqpacket
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rprun.backends.seccomp.ring import Ring

# Nanoseconds between two looks at who has ended, which is less than it takes a process to end, to be waited for, and
# another to be forked.
_LOOK_AROUND = 25_000
# Seconds between two looks at what another thread does, which takes microseconds.
_GLANCE = 0.0002
_EXECS = {key for key, call in calls.BY_NUMBER.items() if call is not None and call.kind is ObserverEventKind.EXEC}
_ZEROS = bytes(seccomp.NOTIF_SIZE)


class Supervisor:
    """Answers a listener's notifications.

    Attributes:
        processes: those of the tree.
    """

    def __init__(self, ring: Ring, listener: int, control: int, *, by_machine_code: bool = True) -> None:
        self._ring = ring
        self._listener = listener
        to_rprun = seqpacket.Socket(fileno=control)
        to_rprun.setblocking(False)  # noqa: FBT003 - the call takes it so
        self.processes = Processes(ring, to_rprun, self._forget)
        # From Linux 6.11 on RECV ends with the last process; PIDFD_GET_INFO has been there from 6.13 on.
        self._receive_ends = _tells_numbers()
        self._is_sync = seccomp.set_sync_wake_up(listener)
        self._closed = False
        self._has_asked_for_two = False  # a second thread is there, or cannot be
        self._lock = threading.Lock()  # of all that only the interpreter uses
        self._poller = select.poll()
        self._poller.register(listener, select.POLLIN)
        self._lane = Lane(ring, 0, self._load() if by_machine_code else None)
        if self._lane.machine_code is not None:
            ring.share(self._lane.machine_code.reserve)
        self._capture = Capture()
        self.processes.wake_for(self._capture.views.looking.mounts.fileno())

    def _load(self, beside: answering.Answering | None = None) -> answering.Answering | None:
        try:
            return answering.Answering(
                self._ring.memory,
                plans() if beside is None else {},
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

    def _answer(self, lane: Lane) -> None:
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

    def _receive(self, lane: Lane) -> bool:
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

    def _answer_by_two(self, lane: Lane) -> None:
        """Have a second thread answer too from now on, whenever that is better."""
        lane.wants_another = False
        first = lane.machine_code
        # Before Linux 6.11 a call wakes one of those who wait: any.
        if self._has_asked_for_two or first is None or not (self._is_sync and self._receive_ends):
            return
        self._has_asked_for_two = True
        second = self._load(first)
        if second is None or not first.can_be_two():
            return
        try:
            threading.Thread(target=self._answer_as_second, args=(second,), daemon=True).start()
        except RuntimeError:
            # No more processes: see ulimit -u.
            first.is_one()

    def _answer_as_second(self, machine_code: answering.Answering) -> None:
        try:
            self._answer(Lane(self._ring, 1, machine_code))
        except BaseException:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            # As `serve`: rprun answers what is in hand, and starts another supervisor.
            os._exit(1)

    def _forget(self, process: int) -> None:
        """Forget a process, which has ended."""
        self._capture.forget(process)
        if self._lane.machine_code is not None:
            self._lane.machine_code.forget(process)

    def _note(self, lane: Lane, arch: int, number: int, arguments: list[int], tid: int) -> int:
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


def _tells_numbers() -> bool:
    descriptor = pidfd.open_process(os.getpid())
    try:
        return pidfd.info(descriptor) is not None
    finally:
        os.close(descriptor)

"""rprun's side of a supervisor: reads the ring, and stands in if the supervisor is killed.

Some facts about the waiting:

- While many records come, they are read by the clock, some milliseconds after each other: to be woken for each would
  cost the supervisor, and so the command, a system call a record; and here, whatever the number of records, a quarter
  of a millisecond.
- When none has come for that long, the reader says that it sleeps, and looks once more after a while: a record that
  was published at that very moment may not have been seen, nor the reader's word by the supervisor (see `ring.py`).
- What a process did is emitted before its end is. A call is answered before its record is published, so its process
  may have ended in between: an end is told only once the call that the supervisor had in hand when the end was heard of
  is no longer that.
- Each living process takes a descriptor here. Where few are left, what brings more is not read: it waits, at last in
  the supervisor (see `outbox.py`), until others have ended.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import select
from time import monotonic, sleep, time_ns

from rprun.backends.seccomp import probing, spawn
from rprun.backends.seccomp.lives import Lives
from rprun.backends.seccomp.processes import PROCESS
from rprun.backends.seccomp.records import Records
from rprun.backends.seccomp.ring import Ring
from rprun.linux import procfs, seccomp, seqpacket
from rprun.linux.listener import FAILED
from rprun.linux.timer import Timer
from rprun.observe.categories import EventCategory
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rprun.backends.seccomp.lives import Process
    from rprun.observe.emitter import Emitter

# Seconds: how long records may gather before they are read, and how long a sleeping reader looks back.
_GATHER = 0.02
_LOOK_BACK = 0.01
# Seconds between two looks at what the supervisor has in hand, at the end.
_GLANCE = 0.0002
# Messages that are read before it is looked who of those that they were about has ended; and how often in a row.
_MESSAGES, _ROUNDS = 64, 8
_MANY = 1024
# No notification has this id, not even the one that is not there.
_NO_CALL: frozenset[int] = frozenset()
_K = ObserverEventKind


class Watch:
    """The supervisor of one run, and what it tells.

    Attributes:
        channel: the end of a socket that the command's process sends its listener to; closed by `begin`.
    """

    def __init__(self, emitter: Emitter, categories: Sequence[EventCategory], *, tells_lives: bool = True) -> None:
        """Start the supervisor.

        Args:
            emitter: where events go.
            categories: what is observed.
            tells_lives: whether starts and ends of processes are told, where `process` is observed.

        Raises:
            OSError: no more processes, descriptors or memory.
        """
        self._emitter = emitter
        self._categories = tuple(categories)
        self._tells_lives = tells_lives and EventCategory.PROCESS in categories
        self._command = 0
        self._listener = -1
        self._vacant = False  # the supervisor was killed, and there has been no process to be had for the next
        self._asleep = False
        self._cut_short = 0  # calls that a supervisor had in hand when it was killed
        self._refused = 0  # errno with which the kernel refused the filter
        self._supervisor = 0
        self._control: seqpacket.Socket | None = None
        self._takes_all = False  # the supervisor is gone, whatever it may have sent before, or the run is over
        self._has_messages = False  # which have not been read for want of descriptors, or of time
        # Those who have ended, which is not told yet, and the calls in hand when that was heard of.
        self._ended: list[tuple[Process, frozenset[int]]] = []
        self._opened: list[Callable[[], None]] = []
        try:
            self._open()
        except OSError:
            self._close_opened()
            raise

    def _open(self) -> None:
        self._ring = Ring()
        if self._tells_lives:
            self._ring.want_lives()
        self._opened.append(self._ring.close)
        self._timer = Timer()
        self._opened.append(self._timer.close)
        self._epoll = select.epoll()
        self._opened.append(self._epoll.close)
        # The supervisor's word and the ends of processes: looked at by the clock too while records come.
        self._others = select.epoll()
        self._opened.append(self._others.close)
        self._epoll.register(self._others, select.EPOLLIN)
        self._hears_others = True
        self._lives = Lives(self._emitter, self._others)
        self._opened.append(self._lives.close)
        self._records = Records(
            self._ring,
            self._emitter,
            self._lives,
            self._categories,
            tells_lives=self._tells_lives,
            take_messages=self._take_messages,
        )
        self._epoll.register(self._ring.bell, select.EPOLLIN)
        self._epoll.register(self._timer.fd, select.EPOLLIN)
        # The supervisor's end stays open here until the listener has arrived: it waits there for whoever is the
        # supervisor by then.
        self._source, self.channel = seqpacket.pair()
        self._opened += (self._source.close, self.channel.close)
        self._start_supervisor()

    def _close_opened(self) -> None:
        while self._opened:
            self._opened.pop()()

    def _start_supervisor(self) -> None:
        source, known = self._source.fileno(), None
        if self._listener >= 0:
            source, known = self._listener, (self._lives.known(), self._lives.given_up())
        theirs, ours = seqpacket.pair()
        ours.setblocking(False)  # noqa: FBT003 - the call takes it so
        try:
            try:
                self._supervisor = spawn.start(self._ring, source, theirs.fileno(), known)
            finally:
                theirs.close()
            # Edge-triggered: see `_has_messages`.
            self._others.register(ours, select.EPOLLIN | select.EPOLLET)
        except OSError:
            ours.close()
            raise
        self._control, self._takes_all = ours, False

    def while_starting(self) -> tuple[int, Callable[[], None]] | None:
        """Return what to look at until `begin`, and what to do about it."""
        return None if self._control is None else (self._control.fileno(), self._take_messages)

    def begin(self, pid: int) -> None:
        """Take note of the command. It has been started, so its listener has arrived."""
        self._command = self._lives.command = pid
        self.channel.close()
        self._take_messages()
        self._source.close()
        self._timer.set(_GATHER)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `deliver` has something to do."""
        return self._epoll.fileno()

    def deliver(self, limit: int) -> bool:
        """Emit at most so many records; True when there are more."""
        for descriptor, _ in self._epoll.poll(0):
            if descriptor == self._ring.bell:
                self._asleep = False
                self._ring.silence()
            elif descriptor == self._timer.fd:
                self._timer.clear()
                self._fill_vacancy()
        heard = self._hear()
        in_hand = self._ring.in_hand()
        ready = [each for each in self._ended if not each[1] & in_hand]
        waiting = [each for each in self._ended if each[1] & in_hand]
        (waiting if in_hand else ready).extend((process, in_hand) for process in heard)
        if self._refused:
            self._emit_refusal()
        delivered = self._deliver_records(limit)
        # Not: whether there are records by now. Of a busy tree there always are, and to wait for more is cheaper.
        has_more = bool(self._records.backlog) or delivered >= limit
        told = 0 if has_more else min(len(ready), limit - delivered)
        for process, _ in ready[:told]:
            self._lives.tell(process)
        self._ended = [*waiting, *((process, _NO_CALL) for process, _ in ready[told:])]
        if has_more or told < len(ready) or (self._has_messages and self._may_take()):
            return True
        self._rest(busy=delivered > 0 or bool(waiting))
        return False

    def _hear(self) -> list[Process]:
        """Hear of ends and of what the supervisor says; return those of whose end is heard now."""
        ended: list[Process] = []
        for _ in range(_ROUNDS):
            found, now = self._others.poll(0), time_ns()
            control, has_word = -1 if self._control is None else self._control.fileno(), self._has_messages
            # Those that have ended first: a message brings descriptors, whose numbers may be those of others before.
            for descriptor, events in found:
                if descriptor == control:
                    has_word = True
                    self._takes_all |= bool(events & select.EPOLLHUP)
                    continue
                process = self._lives.hear(descriptor, now, was_reaped=bool(events & select.EPOLLHUP))
                if process is not None:
                    ended.append(process)
            if not has_word or not self._may_take():
                break
            self._take_messages(_MESSAGES)
        return ended

    def _rest(self, *, busy: bool) -> None:
        """See to it that the next record is heard of."""
        if busy or self._vacant:
            self._ring.sleep(asleep=False)
            self._asleep = False
            self._timer.set(_GATHER)
            self._hear_others(on=False)
        elif not self._asleep:
            self._ring.sleep(asleep=True)
            self._asleep = True
            self._timer.set(_LOOK_BACK)
            self._hear_others(on=True)

    def _hear_others(self, *, on: bool) -> None:
        if on is not self._hears_others:
            self._hears_others = on
            self._epoll.modify(self._others, select.EPOLLIN if on else 0)

    def _deliver_records(self, limit: int) -> int:
        delivered = self._records.deliver(limit)
        lost, self._cut_short = self._cut_short + self._ring.newly_lost(), 0
        # Each may have been of any of them.
        for category in self._categories if lost else ():
            self._emit(_K.LOST, category, count=lost)
        self._emit_unheard(self._ring.newly_lost_ends())
        return delivered

    def _emit_unheard(self, more: int) -> None:
        """Say of how many processes nobody will hear how they ended."""
        count, self._lives.unheard = self._lives.unheard + more, 0
        if count and self._tells_lives:
            self._emit(_K.LOST, EventCategory.PROCESS, count=count)

    # -- what the supervisor says: the listener, the pidfd of each process, its own end

    def _may_take(self) -> bool:
        """Tell whether to read what the supervisor has sent; what no pidfd is kept of then is counted."""
        return self._takes_all or self._lives.has_room()

    def _take_messages(self, most: int = sys.maxsize) -> None:
        """Read what the supervisor has sent, at most so many of its messages."""
        self._has_messages = False
        while self._control is not None:
            if most <= 0 or not self._may_take():
                self._has_messages = True
                return
            most -= 1
            try:
                word, descriptor = seqpacket.receive(self._control)
            except BlockingIOError:
                return
            except OSError:
                word, descriptor = b"", -1
            if not word:
                self._on_supervisor_gone(self._control)
            elif len(word) == PROCESS.size and descriptor >= 0:
                self._lives.add_pidfd(descriptor, PROCESS.unpack(word))
            elif descriptor >= 0:
                self._listener = descriptor
                # The filter needed no_new_privs.
                self._records.takes_privilege = word.split()[1] == b"1"
            elif len(word) == PROCESS.size:
                # No descriptor was left for it here (see ulimit -n).
                self._lives.give_up(PROCESS.unpack(word))
            else:
                self._source.close()
                if word.startswith(FAILED.encode()):
                    self._refused = int(word.split()[1])

    def _emit_refusal(self) -> None:
        """The kernel refused the filter after all, which the probe had not foreseen."""
        reason, self._refused = probing.refusal(self._refused), 0
        for category in self._categories:
            self._emit(_K.UNOBSERVED, category, backend="seccomp-user-notify", reason=reason)

    def _emit(self, kind: ObserverEventKind, category: EventCategory, **fields: object) -> None:
        """Emit a record that is about the whole tree."""
        self._emitter.emit_all([(kind, self._command, time_ns(), {"category": category, **fields})])

    def _on_supervisor_gone(self, control: seqpacket.Socket) -> None:
        self._others.unregister(control)
        control.close()
        self._control = None
        spawn.reap(self._supervisor)
        is_deserted = self._listener >= 0 and seccomp.is_deserted(self._listener)
        # If it was killed, what it was about to tell hides what comes behind.
        self._ring.withdraw_all()
        if is_deserted:
            self._lives.unheard += self._ring.owed()
            self._ring.owe(0)
        else:
            self._keep_what_was_told()
        in_hand = self._ring.in_hand()
        if in_hand and self._listener >= 0:
            # It was killed. The calls that it had in hand are answered here: their callers wait for that.
            for notification in in_hand:
                try:
                    seccomp.respond_continue(self._listener, notification)
                except OSError:
                    # It had been answered, or its caller was killed too.
                    pass
            self._cut_short += len(in_hand)
            # Ends wait for them no longer, also if there is no next supervisor who would take others into its hand.
            self._ring.forget_requests()
        self._vacant = not is_deserted and (self._listener >= 0 or self._source.fileno() >= 0)
        self._fill_vacancy()

    def _keep_what_was_told(self) -> None:
        """Take over the records of a supervisor that was killed, and make up for what it had no time to tell."""
        self._ring.owe(0)
        self._lives.adopt(self._records.keep())

    def _fill_vacancy(self) -> None:
        """Start a supervisor where there should be one; if that cannot be done now, it is tried again later."""
        if self._vacant:
            try:
                self._start_supervisor()
            except OSError:
                self._timer.set(_LOOK_BACK)
            else:
                self._vacant = False

    # -- the end

    def finish(self, seconds: float) -> None:
        """Emit what has been done up to now; wait so long at most for what has been answered and not yet noted."""
        deadline = monotonic() + seconds
        self._takes_all = True
        before = self._ring.in_hand()
        while self._control is not None and monotonic() < deadline:
            if not self._ring.owed() and not before & self._ring.in_hand():
                break
            self.deliver(_MANY)
            sleep(_GLANCE)
        # Descendants may go on for ever, and faster than they can be told of.
        self._ring.close_for_reading()
        while self.deliver(_MANY) or self._ring.has_records():
            pass
        self._lives.end_those_that_have(by_proc=probing.found().exit_status and procfs.is_own())
        self._emit_unheard(self._ring.owed())

    def close(self) -> None:
        """Let go of everything; the supervisor notes nothing any more."""
        self._ring.close_for_reading()
        self._fill_vacancy()
        if self._listener >= 0:
            os.close(self._listener)
            self._listener = -1
        if self._control is not None:
            self._control.close()
        self._close_opened()
        spawn.reap(self._supervisor)

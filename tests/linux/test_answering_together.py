"""Two that answer the same listener by machine code: when they do, and what both of them know."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("Linux is what this is about", allow_module_level=True)
if os.uname().machine != "x86_64":
    pytest.skip("there is machine code for x86_64 only", allow_module_level=True)

from children import watched

from rprun.linux import answering, seccomp, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ARCH, NUMBERS = syscalls.AUDIT_ARCH["x86_64"], syscalls.NUMBERS["x86_64"]
REQUEST, TURNS = 1024, 200
_IS_TWO = 3
# Calls, at most, until it is found that they come mixed. Of those after that some are elsewhere on a busy machine.
BEFORE_TWO = 15


def of_open(_channel: int) -> bytes:
    """Return a filter that traps what opens a file."""
    return seccomp.build_filter({ARCH: {NUMBERS["openat"]}})


def take_turns(before: Callable[[], object] = bool, after: Callable[[], object] = bool) -> None:
    """Have two processes open a file, each after the other one's turn; call `before` and `after` around that."""
    down, up = os.pipe(), os.pipe()
    if other := os.fork():
        source, sink = up[0], down[1]
        os.write(up[1], b"x")
    else:
        source, sink = down[0], up[1]
    for _ in range(TURNS):
        os.read(source, 1)
        before()
        file = os.open("/dev/null", os.O_RDONLY)
        after()
        os.close(file)
        os.write(sink, b"x")
    if not other:
        os._exit(0)
    os.waitpid(other, 0)


@contextmanager
def affinity_kept() -> Iterator[None]:
    """Undo what answering by two does to this thread."""
    processors = os.sched_getaffinity(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class Together:
    """What answers a listener, up to its end; what is left to its caller is answered by the caller."""

    def __init__(self, listener: int = -1, beside: answering.Answering | None = None, *, is_sync: bool = False) -> None:
        self._listener, self._ended = listener, select.epoll()
        self.memory = mmap.mmap(-1, (1 << 20) + mmap.PAGESIZE)
        self.code = answering.Answering(
            self.memory,
            {NUMBERS["openat"]: answering.AT | answering.OPENS},
            listener=listener,
            ended=self._ended.fileno(),
            bell=-1,
            window=1 << 62,
            receive_ends=False,
            is_sync=is_sync,
            request=REQUEST,
            data=mmap.PAGESIZE,
            beside=beside,
        )

    def answer(self, *, knows: bool, see: Callable[[int], object]) -> None:
        """Answer until nobody is left, of known processes or of unknown ones; tell `see` each outcome."""
        while (outcome := self.code.answer()) != answering.DESERTED:
            see(outcome)
            if outcome == answering.FAILED:
                continue
            notification, pid = seccomp.NOTIFICATION.unpack_from(self.memory, REQUEST)[:2]
            if knows:
                self.code.know(pid)
            seccomp.respond_continue(self._listener, notification)

    def is_two(self) -> bool:
        """Whether the second thread is wanted."""
        return bool(self.code.common.numbers[_IS_TWO])


def test_a_second_thread_is_asked_for_once() -> None:
    """Where there can be none, the calls that come mixed are answered all the same, and are not the caller's."""
    outcomes: Counter[int] = Counter()
    with watched(of_open, take_turns) as child:
        Together(child.listener).answer(knows=True, see=lambda outcome: outcomes.update((outcome,)))
    assert outcomes[answering.WANTED] == 1
    # The first call of each process, of which nothing is known yet.
    assert outcomes[answering.RECEIVED] == 2


def test_the_callers_own_calls_are_no_reason_for_two() -> None:
    """However mixed they come: two would have to wait there for each other."""
    outcomes: Counter[int] = Counter()
    with watched(of_open, take_turns) as child:
        Together(child.listener).answer(knows=False, see=lambda outcome: outcomes.update((outcome,)))
    assert outcomes[answering.RECEIVED] >= 2 * TURNS
    assert not outcomes[answering.WANTED]


def test_there_is_one_once_every_call_is_the_callers() -> None:
    """The second thread is wanted no longer."""
    with watched(of_open, take_turns) as child, affinity_kept():
        together = Together(child.listener)
        if not together.code.can_be_two():
            pytest.skip("needs just two processors")
        wanted: list[bool] = []
        # As it is while calls come mixed.
        together.code.common.numbers[_IS_TWO] = True
        together.code.turn_off()
        together.answer(knows=True, see=lambda _: wanted.append(together.is_two()))
    assert len(wanted) >= 2 * TURNS
    assert not any(wanted)


def test_who_is_answered_from_another_processor_is_not_brought_to_it() -> None:
    """While two answer; here the one that answers is never where the call is made."""
    stayed = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("I")
    both = os.sched_getaffinity(0)
    if len(both) != 2:
        pytest.skip("needs just two processors")
    here, there = both
    processor = ctypes.CDLL(None).sched_getcpu

    def come_there() -> None:
        os.sched_setaffinity(0, {there})
        os.sched_setaffinity(0, both)

    def count() -> None:
        if processor() == there:
            stayed[0] += 1

    with watched(of_open, lambda: take_turns(come_there, count)) as child, affinity_kept():
        assert seccomp.set_sync_wake_up(child.listener)
        together = Together(child.listener, is_sync=True)
        assert together.code.can_be_two()
        os.sched_setaffinity(0, {here})
        together.answer(knows=True, see=lambda _: None)
    assert stayed[0] > 2 * BEFORE_TWO


def test_both_are_careful() -> None:
    """What one thread has heard of a mount the other one knows too, also if it is there only after that."""
    first = Together()
    first.code.is_careful = True
    second = Together(beside=first.code)
    assert second.code.is_careful
    second.code.is_careful = False
    assert not first.code.is_careful

"""A subscriber waits in every way a program can wait, and loses nothing without saying so."""

from __future__ import annotations

import gc
import os
import select
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rprun.observe.backlog import Backlog
from rprun.observe.capabilities import CategoryCapability, ObserverCapabilities
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import Emitter
from rprun.observe.events import ObserverEvent
from rprun.observe.subscriber import ObserverSubscriber

ALL_SEEN = ObserverCapabilities(
    CategoryCapability(category, "supported", "some", "here")
    for category in ("lifecycle", "file", "network", "process")
)
EMIT: dict[str, Callable[[Emitter], None]] = {
    "file": lambda emitter: emitter.emit("file-unlink", 1, path="/x"),
    "process": lambda emitter: emitter.emit("exec", 1, path="/x", argv=[], cwd="/"),
}


def pair(bound: int = 4096) -> tuple[Emitter, ObserverSubscriber]:
    """Makes an emitter of files and processes, and a subscriber of it."""
    emitter = Emitter(ObserverConfig.with_categories(EMIT), bound, ALL_SEEN)
    return emitter, emitter.subscribe()


def is_readable(subscriber: ObserverSubscriber) -> bool:
    """Asks select whether the subscriber's descriptor is readable now."""
    return bool(select.select([subscriber], [], [], 0)[0])


def test_recv_waits_for_another_thread() -> None:
    """recv gives what another thread emits later, and None when that thread closes."""
    emitter, subscriber = pair()
    received: list[ObserverEvent | None] = []
    thread = threading.Thread(target=lambda: received.extend([subscriber.recv(), subscriber.recv()]))
    thread.start()
    EMIT["file"](emitter)
    emitter.close()
    thread.join()
    first, end = received
    assert first is not None
    assert first.seq == 1
    assert end is None


def test_recv_timeout_tells_later_from_never() -> None:
    """It raises TimeoutError while events may come, gives None once none can, and takes any number of seconds."""
    emitter, subscriber = pair()
    for seconds in (0, 0.001, -1):
        with pytest.raises(TimeoutError):
            subscriber.recv_timeout(seconds)
    EMIT["file"](emitter)
    assert subscriber.recv_timeout(float("inf")) is not None
    emitter.close()
    assert subscriber.recv_timeout(float("inf")) is None


def test_try_recv_and_drain_do_not_wait() -> None:
    """They give what is there: one, all, nothing."""
    emitter, subscriber = pair()
    assert subscriber.try_recv() is None
    assert subscriber.drain() == []
    for _ in range(3):
        EMIT["file"](emitter)
    first = subscriber.try_recv()
    assert first is not None
    assert [first.seq, *(event.seq for event in subscriber.drain())] == [1, 2, 3]


def test_fileno_is_readable_while_events_wait_and_from_the_end_on() -> None:
    """Every way of receiving keeps the descriptor true, also where it is asked for late."""
    emitter, subscriber = pair()
    EMIT["file"](emitter)
    assert is_readable(subscriber)
    EMIT["file"](emitter)
    subscriber.recv()
    assert is_readable(subscriber)
    subscriber.drain()
    assert not is_readable(subscriber)
    EMIT["file"](emitter)
    subscriber.try_recv()
    assert not is_readable(subscriber)
    emitter.close()
    assert is_readable(subscriber)
    assert subscriber.recv() is None
    assert is_readable(subscriber)
    subscriber.close()


def test_select_wakes_for_another_thread() -> None:
    """A loop that waits on the descriptor hears of an event emitted elsewhere."""
    emitter, subscriber = pair()
    with subscriber:
        subscriber.fileno()
        thread = threading.Thread(target=EMIT["file"], args=(emitter,))
        thread.start()
        assert select.select([subscriber], [], [], 60)[0]
        thread.join()


def test_what_does_not_fit_is_counted() -> None:
    """Past the bound events are dropped; one record a category says how many, and seq still rises."""
    emitter, subscriber = pair(bound=2)
    for category in ("file", "file", "file", "process", "file"):
        EMIT[category](emitter)
    emitter.close()
    events = list(subscriber)
    assert [(event.seq, event.kind.value, event.category.value) for event in events] == [
        (1, "file-unlink", "file"),
        (2, "file-unlink", "file"),
        (4, "lost", "process"),
        (5, "lost", "file"),
    ]
    assert [event.count for event in events[2:]] == [1, 2]


def test_lost_comes_as_soon_as_there_is_room() -> None:
    """A consumer that has emptied the queue is told at once, not only with the next event."""
    emitter, subscriber = pair(bound=1)
    EMIT["file"](emitter)
    EMIT["file"](emitter)
    assert [event.kind.value for event in subscriber.drain()] == ["file-unlink", "lost"]


@given(st.integers(1, 5), st.lists(st.sampled_from(["file", "process", "recv"]), max_size=60))
def test_every_event_is_received_or_counted(bound: int, steps: list[str]) -> None:
    """However emission and receipt interleave, seq rises strictly and events plus counts are all there were."""
    emitter, subscriber = pair(bound)
    received: list[ObserverEvent] = []
    for step in steps:
        if step == "recv":
            event = subscriber.try_recv()
            received.extend([event] if event else [])
        else:
            EMIT[step](emitter)
    emitter.close()
    received.extend(subscriber)
    numbers = [event.seq for event in received]
    assert numbers == sorted(set(numbers))
    for category in EMIT:
        of_it = [event for event in received if event.category == category]
        assert sum(event.count if event.kind == "lost" else 1 for event in of_it) == steps.count(category)


@given(st.integers(0, 6), st.lists(st.lists(st.sampled_from(["file", "process"]), max_size=9) | st.integers(0, 9)))
def test_many_at_once_take_the_room_of_as_many(limit: int, steps: list[list[str] | int]) -> None:
    """Put in and taken out in one go, events are kept, counted and ordered as one by one."""
    many, single = Backlog(limit), Backlog(limit)
    seq = 0
    for step in steps:
        if isinstance(step, int):
            assert [many.pop() for _ in range(step)] == [single.pop() for _ in range(step)]
            continue
        events = []
        for category in step:
            seq += 1
            kind = {"file": "file-unlink", "process": "descendant-started"}[category]
            events.append(ObserverEvent(category, kind, 1, seq, seq))
        many.put_all(events)
        for event in events:
            single.put(event)
        assert len(many) == len(single)
    assert many.pop_all() == list(iter(single.pop, None))
    assert len(many) == 0


def test_a_closed_consumer_is_out() -> None:
    """It receives nothing more, wakes who waits on it, and closes its descriptors; others go on."""
    emitter, subscriber = pair()
    other = emitter.subscribe()
    fd = subscriber.fileno()
    received: list[ObserverEvent | None] = []
    thread = threading.Thread(target=lambda: received.append(subscriber.recv()))
    thread.start()
    subscriber.close()
    subscriber.close()
    thread.join()
    assert received == [None]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    EMIT["file"](emitter)
    assert subscriber.drain() == []
    assert len(other.drain()) == 1
    with pytest.raises(ValueError, match="closed"):
        subscriber.fileno()


def test_a_forgotten_consumer_leaves_no_descriptor() -> None:
    """A subscriber nobody closed gives its pipe back when it is collected."""
    before = len(os.listdir("/proc/self/fd"))
    emitter, subscriber = pair()
    subscriber.fileno()
    del emitter, subscriber
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before

"""The emitter numbers what was asked for, says once what cannot be seen, and never waits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rprun.errors import UsageError
from rprun.observe.capabilities import CategoryCapability, ObserverCapabilities
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import Emitter
from rprun.observe.events import ObserverEvent, ObserverEventKind

ALL_SEEN = ObserverCapabilities(
    CategoryCapability(category, "supported", "some", "here")
    for category in ("lifecycle", "file", "network", "process")
)
LIFECYCLE_ONLY = ObserverCapabilities(
    CategoryCapability(category, "supported" if category == "lifecycle" else "unavailable", "none", f"no {category}")
    for category in ("lifecycle", "file", "network", "process")
)


def brief(events: list[ObserverEvent]) -> list[tuple[int, str]]:
    """Gives what tells events apart here."""
    return [(event.seq, event.kind.value) for event in events]


def test_started_and_exited() -> None:
    """Events come in order, numbered from 1, and then the end."""
    emitter = Emitter(ObserverConfig.lifecycle())
    subscriber = emitter.subscribe()
    emitter.emit("started", 5)
    emitter.emit(ObserverEventKind.EXITED, 5, exit_code=3)
    emitter.close()
    first, last = subscriber
    assert brief([first, last]) == [(1, "started"), (2, "exited")]
    assert (last.pid, last.exit_code) == (5, 3)


def test_a_category_not_asked_for_produces_nothing() -> None:
    """Its events take no seq and reach nobody."""
    emitter = Emitter(ObserverConfig.with_categories(["file"]), capabilities=ALL_SEEN)
    subscriber = emitter.subscribe()
    emitter.emit("started", 5)
    emitter.emit("file-unlink", 5, path="/x")
    assert brief(subscriber.drain()) == [(1, "file-unlink")]


def test_what_cannot_be_seen_is_said_once() -> None:
    """Each unavailable category asked for gives one record, behind the first event, in the order asked for."""
    emitter = Emitter(ObserverConfig.with_categories(["network", "lifecycle", "file"]), capabilities=LIFECYCLE_ONLY)
    subscriber = emitter.subscribe()
    emitter.emit("started", 5)
    emitter.emit("exited", 5, exit_code=0)
    events = subscriber.drain()
    assert brief(events) == [(1, "started"), (2, "unobserved"), (3, "unobserved"), (4, "exited")]
    assert [event.category.value for event in events[1:3]] == ["network", "file"]
    assert events[1].backend == "none"
    assert events[1].reason == "no network"
    assert events[1].pid == 5


def test_what_cannot_be_seen_is_said_without_lifecycle_too() -> None:
    """`started` brings the record even where lifecycle itself was not asked for."""
    emitter = Emitter(ObserverConfig.with_categories(["process"]), capabilities=LIFECYCLE_ONLY)
    subscriber = emitter.subscribe()
    emitter.emit("started", 5)
    emitter.emit("exited", 5, exit_code=0)
    assert brief(subscriber.drain()) == [(1, "unobserved")]


def test_a_forced_backend_that_cannot_see_is_named_in_the_record() -> None:
    """The record of a category tied to a backend of another system has that backend's name and reason."""
    foreign = "kqueue" if sys.platform == "win32" else "etw"
    emitter = Emitter(ObserverConfig.with_categories(["file"], backends={"file": foreign}))
    subscriber = emitter.subscribe()
    emitter.emit("started", 5)
    (event,) = subscriber.drain()
    row = ObserverCapabilities.negotiate({"file": foreign}).category("file")
    assert (event.kind, event.backend, event.reason) == ("unobserved", foreign, row.reason)


def test_a_forced_backend_that_does_not_exist_is_refused() -> None:
    """There is no emitter for a backend that nobody knows."""
    with pytest.raises(UsageError, match="file=nope: there is no such backend"):
        Emitter(ObserverConfig.with_categories(["file"], backends={"file": "nope"}))


def test_an_event_may_have_happened_earlier() -> None:
    """A time that is given is the event's, and changes nothing about its number; else the time is now."""
    emitter = Emitter(ObserverConfig.with_categories(["file"]), capabilities=ALL_SEEN)
    subscriber = emitter.subscribe()
    before = ObserverEvent.now("lifecycle", "started", 1).timestamp_ms
    emitter.emit("file-unlink", 5, timestamp_ms=2000, path="/x")
    emitter.emit("file-unlink", 5, timestamp_ms=1000, path="/x")
    emitter.emit("file-unlink", 5, timestamp_ms=0, path="/x")
    emitter.emit("file-unlink", 5, path="/x")
    events = subscriber.drain()
    assert [(event.seq, event.timestamp_ms) for event in events[:3]] == [(1, 2000), (2, 1000), (3, 0)]
    assert before <= events[3].timestamp_ms <= ObserverEvent.now("lifecycle", "started", 1).timestamp_ms


def test_subscribers_each_get_everything() -> None:
    """Two consumers see the same events, and one that comes later sees those from then on."""
    emitter = Emitter(ObserverConfig.lifecycle())
    early = [emitter.subscribe(), emitter.subscribe()]
    emitter.emit("started", 5)
    late = emitter.subscribe()
    emitter.emit("exited", 5, exit_code=0)
    assert [brief(subscriber.drain()) for subscriber in early] == [[(1, "started"), (2, "exited")]] * 2
    assert brief(late.drain()) == [(2, "exited")]


def test_after_close_nothing_is_emitted() -> None:
    """An event that comes too late goes nowhere, and who subscribes then is at the end at once."""
    emitter = Emitter(ObserverConfig.lifecycle())
    before = emitter.subscribe()
    emitter.close()
    emitter.close()
    emitter.emit("started", 5)
    assert before.recv() is None
    assert emitter.subscribe().recv() is None


def test_a_wrong_field_is_the_callers_error() -> None:
    """It raises at the call and leaves the emitter working, with no number used up."""
    emitter = Emitter(ObserverConfig.lifecycle())
    subscriber = emitter.subscribe()
    with pytest.raises(TypeError):
        emitter.emit("exited", 5, exit_code="3")
    emitter.emit("exited", 5, exit_code=3)
    assert [(event.seq, event.exit_code) for event in subscriber.drain()] == [(1, 3)]


def test_numbers_rise_in_every_queue_however_many_threads_emit() -> None:
    """Order of receipt is order of seq, without gap or repeat."""
    emitter = Emitter(ObserverConfig.with_categories(["file"]), capabilities=ALL_SEEN)
    subscriber = emitter.subscribe()

    def work() -> None:
        for _ in range(200):
            emitter.emit("file-unlink", 1, path="/x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.seq for event in subscriber.drain()] == list(range(1, 801))


MS = 1_000_000
Decoded = tuple[ObserverEventKind, int, int, dict[str, Any]]


def unlinks(*times: int) -> list[Decoded]:
    """Makes events as a decoder gives them, one of each time, in milliseconds."""
    fields = {"path": b"/x", "attempt": True}
    return [(ObserverEventKind.FILE_UNLINK, 5, time * MS + 999_999, dict(fields)) for time in times]


def test_many_at_once_are_as_one_by_one() -> None:
    """Order, numbers, times and fields are those of the same calls of `emit`, between which it may stand."""
    received = []
    for at_once in (True, False):
        emitter = Emitter(ObserverConfig.with_categories(["file", "network"]), capabilities=ALL_SEEN)
        subscribers = [emitter.subscribe(), emitter.subscribe()]
        emitter.emit("file-rmdir", 4, timestamp_ms=1, path="/y")
        some: list[Decoded] = [
            *unlinks(9, 8),
            (ObserverEventKind.EXEC, 5, 7 * MS, {"path": b"/", "argv": [], "cwd": None}),
            (ObserverEventKind.LOST, 5, 7 * MS, {"category": "network", "count": 2}),
            (ObserverEventKind.LOST, 5, 7 * MS, {"category": "process", "count": 2}),
            (
                ObserverEventKind.NET_BIND,
                5,
                6 * MS,
                {"family": "unix", "protocol": None, "attempt": True, "path": b"@"},
            ),
            *unlinks(5),
        ]
        if at_once:
            emitter.emit_all(iter(some))
        else:
            for kind, pid, at_ns, fields in some:
                emitter.emit(kind, pid, timestamp_ms=at_ns // MS, **fields)
        emitter.emit("file-rmdir", 4, timestamp_ms=1, path="/y")
        received += [subscriber.drain() for subscriber in subscribers]
    first = received[0]
    assert received == [first] * 4
    assert [event.to_json() for event in first] == [event.to_json() for event in received[2]]
    assert [event.seq for event in first] == list(range(1, 8))


def test_many_at_once_are_bounded() -> None:
    """What finds no room in one queue is counted there, and another that has room gets all."""
    emitter = Emitter(ObserverConfig.with_categories(["file"]), 3, ALL_SEEN)
    slow, quick = emitter.subscribe(), emitter.subscribe()
    emitter.emit_all(unlinks(1, 2))
    assert [event.seq for event in quick.drain()] == [1, 2]
    emitter.emit_all(unlinks(3, 4, 5))
    assert [(event.seq, event.timestamp_ms) for event in quick.drain()] == [(3, 3), (4, 4), (5, 5)]
    events = slow.drain()
    assert brief(events) == [(1, "file-unlink"), (2, "file-unlink"), (3, "file-unlink"), (5, "lost")]
    assert events[3].count == 2
    emitter.emit_all(unlinks(6))
    assert brief(slow.drain()) == [(6, "file-unlink")]


def test_many_at_once_wake_who_waits() -> None:
    """A thread in recv and a descriptor that is polled hear of them, and each waiting thread gets one."""
    emitter = Emitter(ObserverConfig.with_categories(["file"]), capabilities=ALL_SEEN)
    subscriber = emitter.subscribe()
    received: list[ObserverEvent | None] = []
    threads = [threading.Thread(target=lambda: received.append(subscriber.recv())) for _ in range(2)]
    for thread in threads:
        thread.start()
    emitter.emit_all(unlinks(1, 2))
    for thread in threads:
        thread.join()
    assert sorted(event.seq for event in received if event) == [1, 2]


def test_many_at_once_say_what_cannot_be_seen() -> None:
    """Where they are the first that is emitted, the records of what cannot be seen come behind the first of them."""
    emitter = Emitter(ObserverConfig.with_categories(["lifecycle", "file"]), capabilities=LIFECYCLE_ONLY)
    subscriber = emitter.subscribe()
    emitter.emit_all([(ObserverEventKind.STARTED, 5, 1, {}), (ObserverEventKind.EXITED, 5, 2, {"exit_code": 0})])
    assert brief(subscriber.drain()) == [(1, "started"), (2, "unobserved"), (3, "exited")]


def test_what_came_before_an_error_is_emitted() -> None:
    """Names that are not those of the kind, no category, or a source that fails: the number is not used up."""
    emitter = Emitter(ObserverConfig.with_categories(["file"]), capabilities=ALL_SEEN)
    subscriber = emitter.subscribe()

    def failing() -> Iterator[Decoded]:
        yield from unlinks(1)
        raise OSError("no more")

    with pytest.raises(TypeError, match="has no field port"):
        emitter.emit_all([*unlinks(1), (ObserverEventKind.FILE_RMDIR, 5, 1, {"port": 1}), *unlinks(1)])
    with pytest.raises(ValueError, match="category"):
        emitter.emit_all([*unlinks(1), (ObserverEventKind.LOST, 5, 1, {"count": 1})])
    with pytest.raises(OSError, match="no more"):
        emitter.emit_all(failing())
    emitter.emit_all([])
    emitter.emit_all(unlinks(1))
    assert [event.seq for event in subscriber.drain()] == [1, 2, 3, 4]
    emitter.close()
    emitter.emit_all(unlinks(1))
    assert subscriber.drain() == []


def test_many_at_once_from_many_threads_stay_together() -> None:
    """No other event comes between those of one call, and numbers rise without gap."""
    emitter = Emitter(ObserverConfig.with_categories(["file"]), capabilities=ALL_SEEN)
    subscriber = emitter.subscribe()

    def work(name: int) -> None:
        for _ in range(50):
            emitter.emit_all(unlinks(*[name] * 8))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = subscriber.drain()
    assert [event.seq for event in events] == list(range(1, 1601))
    assert all(len({event.timestamp_ms for event in events[n : n + 8]}) == 1 for n in range(0, 1600, 8))

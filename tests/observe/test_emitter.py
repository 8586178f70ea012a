"""The emitter numbers what was asked for, says once what cannot be seen, and never waits."""

from __future__ import annotations

import threading

import pytest

from rprun.observe.capabilities import CategoryCapability, ObserverCapabilities
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import Emitter
from rprun.observe.events import ObserverEvent, ObserverEventKind

ALL_SEEN = ObserverCapabilities(
    CategoryCapability(category, "supported", "some", "here")
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
    emitter = Emitter(ObserverConfig.with_categories(["network", "lifecycle", "file"]))
    subscriber = emitter.subscribe()
    emitter.emit("started", 5)
    emitter.emit("exited", 5, exit_code=0)
    events = subscriber.drain()
    assert brief(events) == [(1, "started"), (2, "unobserved"), (3, "unobserved"), (4, "exited")]
    assert [event.category.value for event in events[1:3]] == ["network", "file"]
    assert events[1].backend == "none"
    assert events[1].reason == ObserverCapabilities.negotiate().category("network").reason
    assert events[1].pid == 5


def test_what_cannot_be_seen_is_said_without_lifecycle_too() -> None:
    """`started` brings the record even where lifecycle itself was not asked for."""
    emitter = Emitter(ObserverConfig.with_categories(["process"]))
    subscriber = emitter.subscribe()
    emitter.emit("started", 5)
    emitter.emit("exited", 5, exit_code=0)
    assert brief(subscriber.drain()) == [(1, "unobserved")]


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

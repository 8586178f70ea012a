"""What every backend keeps to, whatever it sees: one function for each promise of `rprun.backends.interface`.

Each takes a function that makes a fresh backend. The command is a real one, started by the real monitor.
"""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE, children_of, is_running, wait_until

from rprun.cli.values import BACKENDS
from rprun.observe.capabilities import CategoryCapability, ObserverCapabilities
from rprun.observe.categories import CapabilitySupport, EventCategory
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import Emitter
from rprun.observe.events import now_ms
from rprun.transport.command import Launch
from rprun.transport.handle import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.backends.interface import Backend
    from rprun.observe.subscriber import ObserverSubscriber

    Make = Callable[[], Backend]

LIMIT = 3
LIST_DESCRIPTORS = b"ls -l /proc/self/fd | sed 's/.* \\([0-9]* ->\\)/\\1/' | sort >\"$0\""


def held() -> dict[str, object]:
    """What a process has that a backend could leave behind: descriptors, living children, threads, directory, mask."""
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # The listing's own.
    return {
        "descriptors": descriptors,
        "children": {pid for pid in children_of(os.getpid()) if is_running(pid)},
        "threads": threading.active_count(),
        "directory": os.getcwd(),
        "no new privileges": "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(encoding="ascii"),
    }


def emitting(backend: Backend) -> tuple[Emitter, ObserverSubscriber]:
    """An emitter of all that the backend may see, and its subscriber."""
    rows = [CategoryCapability(category, "partial", backend.name, "asked for") for category in EventCategory.ALL]
    emitter = Emitter(ObserverConfig.with_categories(backend.categories), capabilities=ObserverCapabilities(rows))
    return emitter, emitter.subscribe()


def usable(backend: Backend) -> tuple[EventCategory, ...]:
    """The categories that it can see here; skips where there are none."""
    probes = {category: backend.probe(category) for category in backend.categories}
    found = tuple(category for category, probe in probes.items() if probe.support is not CapabilitySupport.UNAVAILABLE)
    if not found:
        pytest.skip(f"{backend.name} cannot work here: {next(iter(probes.values())).reason}")
    return found


def reports(monitor: Monitor) -> list[tuple[str, list[str]]]:
    """The reports that the monitor has by now, at least one."""
    poller = select.poll()
    poller.register(monitor.fileno(), select.POLLIN)
    assert poller.poll(PATIENCE * 1000), "the command did not start or did not end"
    return list(monitor.read(wait=True))


def deliver_all(backend: Backend, subscriber: ObserverSubscriber) -> None:
    """Call `deliver` until it has nothing more, and hold each call to its limit."""
    more = True
    while more:
        more = backend.deliver(LIMIT)
        assert isinstance(more, bool)
        assert take(backend, subscriber) <= LIMIT


def take(backend: Backend, subscriber: ObserverSubscriber) -> int:
    """Look at the events that wait; return how many those were."""
    events = subscriber.drain()
    for event in events:
        assert event.category in backend.categories
        assert event.pid > 0
        assert 0 < event.timestamp_ms <= now_ms()
    return len(events)


def watched(backend: Backend, argv: list[bytes]) -> int:
    """Run a command under a backend, through the whole of its life but `stop`; return the wait status."""
    emitter, subscriber = emitting(backend)
    launch = Launch(argv)
    backend.prepare(launch, emitter, usable(backend))
    monitor = Monitor.fork(launch)
    try:
        told = reports(monitor)
        assert told[0][0] == "pid", told
        backend.attach(int(told[0][1][0]))
        fileno = backend.fileno()
        assert fileno == backend.fileno()
        poller = select.poll()
        poller.register(monitor.fileno(), select.POLLIN)
        if fileno is not None:
            assert not os.get_inheritable(fileno)
            poller.register(fileno, select.POLLIN)
        while not any(verb == "exit" for verb, _ in told):
            ready = [descriptor for descriptor, _ in poller.poll(PATIENCE * 1000)]
            assert ready, "neither the command's end nor an event came"
            if fileno in ready:
                deliver_all(backend, subscriber)
            if monitor.fileno() in ready:
                told += reports(monitor)
        monitor.order("bye")
        backend.finish(PATIENCE)
        take(backend, subscriber)
    finally:
        monitor.close()
        emitter.close()
    return next(int(words[0]) for verb, words in told if verb == "exit")


def check_names(make: Make) -> None:
    """Its name is one that the command line takes, for each of its categories."""
    backend = make()
    assert backend.categories
    assert len(set(backend.categories)) == len(backend.categories)
    for category in backend.categories:
        assert backend.name in BACKENDS[category]


def check_probe(make: Make) -> None:
    """A probe answers in its backend's name with one sentence, twice the same, and leaves nothing behind."""
    backend, before = make(), held()
    for category in backend.categories:
        first, second = backend.probe(category), make().probe(category)
        assert first.backend == backend.name
        assert isinstance(first.support, CapabilitySupport)
        assert first.reason
        assert first.reason.isprintable()
        assert first.reason == first.reason.strip()
        assert (first.support, first.reason) == (second.support, second.reason)
        assert held() == before


def check_whole_life(make: Make) -> None:
    """Prepare, attach, deliver, finish and stop around a command that notices nothing; nothing is left behind."""
    before, backend = held(), make()
    try:
        assert watched(backend, [b"true"]) == 0
    finally:
        backend.stop()
        backend.stop()
    wait_until(lambda: held() == before, f"state as before: {before}")


def check_lives_of_their_own(make: Make) -> None:
    """Two backends of a kind, one run after the other, do not share anything."""
    for status in (3, 0):
        backend = make()
        try:
            assert os.waitstatus_to_exitcode(watched(backend, [b"sh", b"-c", b"exit %d" % status])) == status
        finally:
            backend.stop()


def check_stop_at_once(make: Make) -> None:
    """A backend that has prepared nothing, or prepared a command that never came to be, can be let go."""
    before = held()
    make().stop()
    backend = make()
    emitter, _ = emitting(backend)
    try:
        backend.prepare(Launch([b"true"]), emitter, usable(backend))
    finally:
        backend.stop()
        backend.stop()
        emitter.close()
    wait_until(lambda: held() == before, f"state as before: {before}")


def check_descriptors(make: Make, directory: Path) -> None:
    """The command has the descriptors that it would have had without the backend, and no others."""
    lists = []
    monitor = Monitor.fork(Launch([b"sh", b"-c", LIST_DESCRIPTORS, os.fsencode(directory / "bare")]))
    while not any(verb == "exit" for verb, _ in reports(monitor)):
        pass
    monitor.order("bye")
    monitor.close()
    backend = make()
    try:
        watched(backend, [b"sh", b"-c", LIST_DESCRIPTORS, os.fsencode(directory / "watched")])
    finally:
        backend.stop()
    for name in ("bare", "watched"):
        lines = (directory / name).read_text(encoding="utf-8").splitlines()
        lists.append([line.partition(" ->")[0] for line in lines if "->" in line])
    assert lists[0]
    assert lists[0] == lists[1]


CHECKS = (check_names, check_probe, check_whole_life, check_lives_of_their_own, check_stop_at_once)

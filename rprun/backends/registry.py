"""Every backend there is, built or planned, in the order of preference.

Backends that belong to one system are imported when that system's candidates are asked for, and there only: their
modules refuse to be imported elsewhere. Those that belong to none work the same whatever system is asked about.
"""

from __future__ import annotations

import sys
from functools import partial

from rprun.backends.lifecycle import PortableLifecycle
from rprun.backends.planned import PLANNED, PlannedBackend
from rprun.observe.categories import CapabilitySupport, EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rprun.backends.interface import Backend
    from rprun.observe.capabilities import CategoryCapability

# Where the backend of a planned name is once it has been built: its module and its class; and of which categories it
# may see all there is. Of others it answers `partial` at most, so it is not asked where another one has answered that.
BUILT: dict[str, tuple[str, str, tuple[EventCategory, ...]]] = {
    "ebpf": ("rprun.backends.ebpf.backend", "Ebpf", (EventCategory.PROCESS,)),
    "proc-connector": ("rprun.backends.connector", "ProcConnector", (EventCategory.PROCESS,)),
    "seccomp-user-notify": ("rprun.backends.seccomp.backend", "SeccompUserNotify", ()),
    "psutil-poll": ("rprun.backends.psutil_poll.backend", "PsutilPoll", ()),
}
# A backend that makes use of another one, of which there can be one only in a run: it serves that one's categories too.
PARTNERS = {"proc-connector": "seccomp-user-notify"}


class Candidate:
    """A backend of a category that has not been imported yet.

    Attributes:
        name: the backend's.
        complete: it may see all of the category. One that may not is not asked once another one sees a part.
        is_built: it is more than a name.
    """

    __slots__ = ("_make", "complete", "is_built", "name")

    def __init__(self, name: str, make: Callable[[], Backend], *, complete: bool, is_built: bool) -> None:
        self.name = name
        self.complete = complete
        self.is_built = is_built
        self._make = make

    def backend(self) -> Backend:
        """Makes a new one."""
        return self._make()


def candidates(category: EventCategory, platform: str) -> list[Candidate]:
    """Gives a category's backends, best first; those that are for other systems come last.

    Args:
        category: what is to be observed.
        platform: `sys.platform`, given so that the lists of other systems can be looked at from any.
    """
    own: list[Candidate] = []
    foreign: list[Candidate] = []
    if category in PortableLifecycle.categories:
        own.append(Candidate(PortableLifecycle.name, PortableLifecycle, complete=True, is_built=True))
    for name, system, categories, means in PLANNED:
        if category not in categories:
            continue
        if name in BUILT and (system is None or system == platform == sys.platform):
            complete = category in BUILT[name][2]
            own.append(Candidate(name, partial(_load, name), complete=complete, is_built=True))
            continue
        planned = PlannedBackend(name, system, categories, means, here=platform, built=name in BUILT)
        as_it_is = Candidate(name, partial(_itself, planned), complete=False, is_built=False)
        (foreign if planned.foreign else own).append(as_it_is)
    return own + foreign


def for_run(rows: Iterable[CategoryCapability], platform: str) -> list[tuple[Backend, tuple[EventCategory, ...]]]:
    """Makes the backends of one run: one of each name, with all the categories that it was chosen for.

    One that does its partner's work too has the partner's categories behind its own.

    Args:
        rows: the matrix's rows of what is to be observed; what is unavailable is left out.
        platform: `sys.platform`.
    """
    chosen: dict[str, list[EventCategory]] = {}
    for row in rows:
        if row.support is not CapabilitySupport.UNAVAILABLE:
            chosen.setdefault(row.backend, []).append(row.category)
    backends = {
        name: next(each for each in candidates(categories[0], platform) if each.name == name).backend()
        for name, categories in chosen.items()
    }
    for name in backends:
        if (partner := PARTNERS.get(name)) in chosen:
            chosen[name] += chosen.pop(partner)
    return [(backends[name], tuple(categories)) for name, categories in chosen.items()]


def expect_run(categories: Iterable[str], forced: Mapping[str, str], platform: str) -> None:
    """Say that this process exists for one run, which follows at once, so that what takes a while can begin.

    Args:
        categories: what the run observes.
        forced: names of backends by category.
        platform: `sys.platform`.
    """
    expected = [each for each in map(EventCategory, categories) if forced.get(each, "ebpf") == "ebpf"]
    if sys.platform == "linux" and platform == sys.platform and expected != [EventCategory.LIFECYCLE]:
        from rprun.backends.ebpf import probing

        probing.expect_run(expected)


def _load(name: str) -> Backend:
    module, kind, _ = BUILT[name]
    # Not by importlib, which would itself have to be imported.
    backend: Backend = getattr(__import__(module, fromlist=(kind,)), kind)()
    return backend


def _itself(backend: Backend) -> Backend:
    return backend

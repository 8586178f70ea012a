"""Every backend there is, built or planned, in the order of preference.

Backends that belong to one system are imported when that system's candidates are asked for, and there only: their
modules refuse to be imported elsewhere.
"""

from __future__ import annotations

import sys
from importlib import import_module

from rprun.backends.lifecycle import PortableLifecycle
from rprun.backends.planned import PLANNED, PlannedBackend
from rprun.observe.categories import CapabilitySupport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rprun.backends.interface import Backend
    from rprun.observe.capabilities import CategoryCapability
    from rprun.observe.categories import EventCategory

# Where the backend of a planned name is once it has been built: its module and its class.
BUILT = {
    "ebpf": ("rprun.backends.ebpf.backend", "Ebpf"),
    "proc-connector": ("rprun.backends.connector", "ProcConnector"),
    "seccomp-user-notify": ("rprun.backends.seccomp.backend", "SeccompUserNotify"),
}
# A backend that makes use of another one, of which there can be one only in a run: it serves that one's categories too.
PARTNERS = {"proc-connector": "seccomp-user-notify"}


def candidates(category: EventCategory, platform: str) -> list[Backend]:
    """Gives a category's backends, best first; those that are for other systems come last.

    Each call makes new ones.

    Args:
        category: what is to be observed.
        platform: `sys.platform`, given so that the lists of other systems can be looked at from any.
    """
    backends: list[Backend] = []
    foreign: list[Backend] = []
    for name, system, categories, means in PLANNED:
        if category not in categories:
            continue
        if name in BUILT and system == platform == sys.platform:
            backends.append(_load(name))
            continue
        planned = PlannedBackend(name, system, categories, means, here=platform, built=name in BUILT)
        (foreign if planned.foreign else backends).append(planned)
    return [*(own for own in (PortableLifecycle(),) if category in own.categories), *backends, *foreign]


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
        name: next(backend for backend in candidates(categories[0], platform) if backend.name == name)
        for name, categories in chosen.items()
    }
    for name in backends:
        if (partner := PARTNERS.get(name)) in chosen:
            chosen[name] += chosen.pop(partner)
    return [(backends[name], tuple(categories)) for name, categories in chosen.items()]


def expect_run(categories: Iterable[EventCategory], forced: Mapping[EventCategory, str], platform: str) -> None:
    """Say that this process exists for one run, which follows at once: what a probe has loaded can serve it too.

    Args:
        categories: what the run observes.
        forced: names of backends by category.
        platform: `sys.platform`.
    """
    if sys.platform == "linux" and platform == sys.platform:
        from rprun.backends.ebpf import probing

        probing.expect_run([each for each in categories if forced.get(each, "ebpf") == "ebpf"])


def _load(name: str) -> Backend:
    module, kind = BUILT[name]
    backend: Backend = getattr(import_module(module), kind)()
    return backend

"""Every backend there is, built or planned, in the order of preference."""

from __future__ import annotations

from rprun.backends.lifecycle import PortableLifecycle
from rprun.backends.planned import planned_backends

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.interface import Backend
    from rprun.observe.categories import EventCategory


def candidates(category: EventCategory, platform: str) -> list[Backend]:
    """Gives a category's backends, best first; those that are for other systems come last.

    Args:
        category: what is to be observed.
        platform: `sys.platform`, given so that the lists of other systems can be looked at from any.
    """
    built: list[Backend] = [PortableLifecycle()]
    return [backend for backend in (*built, *planned_backends(platform)) if category in backend.categories]

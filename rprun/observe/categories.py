"""Four categories of events and three levels of support: the words of the capability matrix.

Both are string enums: a member equals, prints as and is found by its plain string.
"""

from __future__ import annotations

from enum import StrEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, NoReturn


class EventCategory(StrEnum):
    """What an event is about. `EventCategory("file")` finds a member by its name on the command line.

    Attributes:
        ALL: the four members in the order of every table and list; not itself a member.
    """

    LIFECYCLE = "lifecycle"
    FILE = "file"
    NETWORK = "network"
    PROCESS = "process"

    ALL: ClassVar[tuple[EventCategory, ...]]

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise ValueError(f"{value!r} is not an event category (there are {', '.join(cls.ALL)})")


# Set from outside: a tuple assigned in the class body would have to be wrapped in enum.nonmember before its members
# exist.
EventCategory.ALL = tuple(EventCategory)


class CapabilitySupport(StrEnum):
    """How much of a category can be seen on this host."""

    SUPPORTED = "supported"
    PARTIAL = "partial"
    UNAVAILABLE = "unavailable"

    def at_least(self, wanted: CapabilitySupport | str) -> bool:
        """Says whether this level is as good as `wanted`, or better."""
        levels = list(CapabilitySupport)
        return levels.index(self) <= levels.index(CapabilitySupport(wanted))

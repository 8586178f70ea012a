"""What one run is to observe: categories in the order they were asked for."""

from __future__ import annotations

from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self


class ObserverConfig:
    """A frozen, ordered set of categories."""

    __slots__ = ("_categories",)

    _categories: tuple[EventCategory, ...]

    def __init__(self, categories: Iterable[EventCategory | str] = ()) -> None:
        """Takes categories or their names; a repeat counts once, where it came first.

        Raises:
            ValueError: a name is no category's.
        """
        unique = dict.fromkeys(EventCategory(category) for category in categories)
        object.__setattr__(self, "_categories", tuple(unique))

    @classmethod
    def lifecycle(cls) -> Self:
        """Asks for lifecycle events only: `started` and `exited`."""
        return cls((EventCategory.LIFECYCLE,))

    @classmethod
    def with_categories(cls, categories: Iterable[EventCategory | str]) -> Self:
        """Asks for these categories, and no others: lifecycle too only if it is among them."""
        return cls(categories)

    def observes(self, category: EventCategory | str) -> bool:
        """Says whether a category was asked for."""
        return EventCategory(category) in self._categories

    def categories(self) -> tuple[EventCategory, ...]:
        """Gives the categories in the order they were asked for."""
        return self._categories

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"ObserverConfig is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"ObserverConfig is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObserverConfig):
            return NotImplemented
        return self._categories == other._categories

    def __hash__(self) -> int:
        return hash(self._categories)

    def __repr__(self) -> str:
        return f"ObserverConfig.with_categories({[category.value for category in self._categories]!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return ObserverConfig, (tuple(category.value for category in self._categories),)

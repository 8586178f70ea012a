"""What one run is to observe: categories in the order they were asked for, and by what backends if that was said."""

from __future__ import annotations

from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    Forced = Mapping[str, str] | Mapping[EventCategory, str]


class ObserverConfig:
    """A frozen, ordered set of categories, some of which may be tied to a backend."""

    __slots__ = ("_backends", "_categories")

    _categories: tuple[EventCategory, ...]
    _backends: tuple[tuple[EventCategory, str], ...]

    def __init__(self, categories: Iterable[EventCategory | str] = (), backends: Forced | None = None) -> None:
        """Takes categories or their names; a repeat counts once, where it came first.

        Args:
            categories: what is to be observed.
            backends: the backend that is to observe a category, by its name in the matrix; for any other the best one
                is chosen. Whether there is one of that name, and what it can see, turns out at the negotiation.

        Raises:
            ValueError: a name is no category's.
            TypeError: a backend's name is no string.
        """
        unique = dict.fromkeys(EventCategory(category) for category in categories)
        object.__setattr__(self, "_categories", tuple(unique))
        object.__setattr__(self, "_backends", in_order(backends or {}))

    @classmethod
    def lifecycle(cls) -> Self:
        """Asks for lifecycle events only: `started` and `exited`."""
        return cls((EventCategory.LIFECYCLE,))

    @classmethod
    def with_categories(cls, categories: Iterable[EventCategory | str], backends: Forced | None = None) -> Self:
        """Asks for these categories, and no others: lifecycle too only if it is among them."""
        return cls(categories, backends)

    def observes(self, category: EventCategory | str) -> bool:
        """Says whether a category was asked for."""
        return EventCategory(category) in self._categories

    def categories(self) -> tuple[EventCategory, ...]:
        """Gives the categories in the order they were asked for."""
        return self._categories

    def backends(self) -> dict[EventCategory, str]:
        """Gives the names of the backends that were asked for, by category, in `EventCategory.ALL` order."""
        return dict(self._backends)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"ObserverConfig is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"ObserverConfig is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObserverConfig):
            return NotImplemented
        return (self._categories, self._backends) == (other._categories, other._backends)

    def __hash__(self) -> int:
        return hash((self._categories, self._backends))

    def __repr__(self) -> str:
        backends = f", {_plain(self._backends)!r}" if self._backends else ""
        return f"ObserverConfig.with_categories({[category.value for category in self._categories]!r}{backends})"

    def __reduce__(self) -> tuple[object, ...]:
        return ObserverConfig, (tuple(category.value for category in self._categories), _plain(self._backends))


def in_order(backends: Forced) -> tuple[tuple[EventCategory, str], ...]:
    """Gives forced backends as a value: (category, name) pairs in `EventCategory.ALL` order.

    Raises:
        ValueError: a key is no category's name.
        TypeError: a backend's name is no string.
    """
    by_category = {EventCategory(category): name for category, name in backends.items()}
    for category, name in by_category.items():
        if not isinstance(name, str):
            raise TypeError(f"the backend of {category} must be a name, not {name!r}")
    return tuple((category, by_category[category]) for category in EventCategory.ALL if category in by_category)


def _plain(backends: tuple[tuple[EventCategory, str], ...]) -> dict[str, str]:
    return {category.value: name for category, name in backends}

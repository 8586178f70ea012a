"""The capability matrix: what this host lets rprun see, by which backend, and why no more than that."""

from __future__ import annotations

import sys

from rprun.backends.choice import choose
from rprun.errors import RprunError
from rprun.observe.categories import CapabilitySupport, EventCategory
from rprun.observe.config import in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rprun.backends.choice import Choice
    from rprun.observe.config import Forced

NO_BACKEND = "none"
HERE = sys.platform


class CategoryCapability:
    """One row of the matrix.

    Attributes:
        category: what is observed.
        support: how much of it can be seen.
        backend: the name of the backend that sees it, `none` where there is none.
        reason: one sentence a user can act on: what is missing, and what would change it.
    """

    __slots__ = ("backend", "category", "reason", "support")

    category: EventCategory
    support: CapabilitySupport
    backend: str
    reason: str

    def __init__(
        self, category: EventCategory | str, support: CapabilitySupport | str, backend: str, reason: str
    ) -> None:
        put = object.__setattr__
        put(self, "category", EventCategory(category))
        put(self, "support", CapabilitySupport(support))
        put(self, "backend", backend)
        put(self, "reason", reason)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"CategoryCapability is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"CategoryCapability is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CategoryCapability):
            return NotImplemented
        return self.to_row() == other.to_row()

    def __hash__(self) -> int:
        return hash(tuple(self.to_row()))

    def __repr__(self) -> str:
        return f"CategoryCapability({', '.join(map(repr, self.to_row()))})"

    def __reduce__(self) -> tuple[object, ...]:
        return CategoryCapability, tuple(self.to_row())

    def to_row(self) -> list[str]:
        """Gives the row as plain strings: category, support, backend, reason."""
        return [self.category.value, self.support.value, self.backend, self.reason]


class ObserverCapabilities:
    """The whole matrix, negotiated on the host as it is now. Immutable.

    The backends of a category are asked when its row is looked at for the first time in the life of the process: to try
    one out can take a while, and what a run does not observe need not be.
    """

    __slots__ = ("_candidates", "_chosen")

    _chosen: dict[EventCategory, CategoryCapability]
    """Those that this matrix alone has; of other categories it has what `negotiate_row` gives."""
    _candidates: tuple[CategoryCapability, ...] | None
    """None for those of the host."""

    def __init__(self, chosen: Iterable[CategoryCapability], candidates: Iterable[CategoryCapability] = ()) -> None:
        """Makes a matrix of given rows; `negotiate` is how it is normally come by.

        Raises:
            ValueError: when the rows are not one of every category.
        """
        rows = tuple(chosen)
        by_category = {row.category: row for row in rows}
        if len(rows) != len(by_category) or len(rows) != len(EventCategory.ALL):
            raise ValueError(f"a capability matrix has one row of each of {', '.join(EventCategory.ALL)}")
        self._chosen = {category: by_category[category] for category in EventCategory.ALL}
        self._candidates = tuple(candidates)

    @classmethod
    def negotiate(cls, backends: Forced | None = None) -> ObserverCapabilities:
        """Gives the matrix of this host, whose answers are kept for the life of the process.

        Args:
            backends: the names of backends by category, each to be taken whatever it can see; its row then has its
                name and its own answer, also where that is `unavailable`. These are asked at once.

        Raises:
            UsageError: a category has no backend of that name.
            ValueError: a key is no category's name.
        """
        forced = in_order(backends or {})
        matrix = _negotiated.get((HERE, forced))
        if matrix is None:
            matrix = cls.__new__(cls)
            matrix._chosen = {category: _row(choose(category, HERE, name)) for category, name in forced}
            matrix._candidates = None
            # setdefault, so that of two threads that get here at once both return the same matrix.
            matrix = _negotiated.setdefault((HERE, forced), matrix)
        return matrix

    @classmethod
    def negotiate_row(cls, category: EventCategory) -> CategoryCapability:
        """Asks the candidate backends of one category only: to observe a start and an end needs no probe of others."""
        return _row(_best(category))

    def categories(self) -> tuple[CategoryCapability, ...]:
        """Gives the rows in `EventCategory.ALL` order."""
        return tuple(map(self.category, EventCategory.ALL))

    def candidates(self) -> tuple[CategoryCapability, ...]:
        """Gives every candidate backend of every category with its own probe's answer, best first."""
        if self._candidates is not None:
            return self._candidates
        choices = map(_best, EventCategory.ALL)
        return tuple(
            CategoryCapability(c.category, a.support, a.backend, a.reason) for c in choices for a in c.answers()
        )

    def category(self, category: EventCategory | str) -> CategoryCapability:
        """Gives the row of one category."""
        category = EventCategory(category)
        row = self._chosen.get(category)
        return row if row is not None else self.negotiate_row(category)

    def support(self, category: EventCategory | str) -> CapabilitySupport:
        """Says how much of a category can be seen."""
        return self.category(category).support

    def is_supported(self, category: EventCategory | str) -> bool:
        """Says whether a category is fully observable; partial support is not."""
        return self.support(category) is CapabilitySupport.SUPPORTED

    def to_table_rows(self) -> list[list[str]]:
        """Gives `[category, support, backend, reason]` of each category, in `EventCategory.ALL` order."""
        return [row.to_row() for row in self.categories()]

    def to_candidate_rows(self) -> list[list[str]]:
        """Gives the same four columns for every candidate backend."""
        return [row.to_row() for row in self.candidates()]

    def render_summary(self) -> str:
        """Renders the matrix as plain aligned lines, without a newline at the end."""
        rows = self.to_table_rows()
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["observer capabilities:"]
        for row in rows:
            padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            lines.append("  " + "  ".join([*padded, row[3]]))
        return "\n".join(lines)

    def require(self, wanted: Iterable[tuple[EventCategory | str, CapabilitySupport | str]]) -> None:
        """Makes sure that each (category, least support) pair is met.

        Raises:
            RprunError: when one is not; the message names the first and the matrix's reason.
        """
        for category, least in wanted:
            row = self.category(category)
            if not row.support.at_least(least):
                raise RprunError(
                    f"--require {row.category}={CapabilitySupport(least)}: it is {row.support} here: {row.reason}"
                )

    def require_backends(self, backends: Forced) -> None:
        """Makes sure that backends which this matrix was negotiated with can see something here.

        Raises:
            RprunError: when one cannot; the message names the first and its own probe's reason.
        """
        for category, name in in_order(backends):
            row = self.category(category)
            if row.support is CapabilitySupport.UNAVAILABLE:
                raise RprunError(f"--backend {category}={name}: {row.reason}")


def _row(choice: Choice) -> CategoryCapability:
    return CategoryCapability(choice.category, choice.support, choice.backend or NO_BACKEND, choice.reason)


def _best(category: EventCategory) -> Choice:
    choice = _choices.get((HERE, category))
    # setdefault, so that of two threads that get here at once both go by the same answers.
    return choice if choice is not None else _choices.setdefault((HERE, category), choose(category, HERE))


# What was chosen where nothing was forced, by platform; and the matrices, by platform and forced backends: those of
# this process, once they have been asked for.
_choices: dict[tuple[str, EventCategory], Choice] = {}
_negotiated: dict[tuple[str, tuple[tuple[EventCategory, str], ...]], ObserverCapabilities] = {}

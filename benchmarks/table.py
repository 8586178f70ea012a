"""Rows of figures become the Markdown table of the README; no I/O here."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADS = ("what", "rprun", "against", "", "ratio", "target", "verdict")


class Row(NamedTuple):
    """One comparison; `ratio` is rprun's figures through the other's, or the figure itself where there is no other."""

    what: str
    ours: str
    against: str
    theirs: str
    ratio: float | None = None
    target: float | None = None
    unit: str = "x"

    def cells(self) -> tuple[str, ...]:
        """Return the row's text, one item a column."""
        ratio = "" if self.ratio is None or self.unit != "x" else f"{self.ratio:.2f}x"
        limit = "" if self.target is None else f"<= {self.target:g}{self.unit}"
        return (self.what, self.ours, self.against, self.theirs, ratio, limit, self.verdict())

    def verdict(self) -> str:
        """Return whether the target is met; nothing where there is no target, or nothing to compare with."""
        if self.ratio is None or self.target is None:
            return ""
        return "met" if self.ratio <= self.target else "**missed**"


def compared(what: str, figures: Mapping[str, Sequence[float]], against: str, target: float | None, unit: str) -> Row:
    """Return the row of `rprun` and one contender: medians, and the median of what each turn gives as the ratio.

    Args:
        what: was measured.
        figures: of each contender, in seconds, turn by turn.
        against: the name of the other one.
        target: what the ratio should not exceed.
        unit: s, ms or µs, for the reader.
    """
    ours, theirs = figures["rprun"], figures[against]
    ratio = median(one / other for one, other in zip(ours, theirs, strict=True))
    return Row(what, duration(median(ours), unit), f"`{against}`", duration(median(theirs), unit), ratio, target)


def absent(what: str, against: str, target: float | None) -> Row:
    """Return the row of a contender that is not installed here."""
    return Row(what, "", f"`{against}`", "absent here", None, target)


def duration(seconds: float, unit: str) -> str:
    """Return a time for the reader."""
    factor, digits = {"s": (1, 2), "ms": (1e3, 1), "µs": (1e6, 0)}[unit]
    return f"{seconds * factor:.{digits}f} {unit}"


def render(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| " + " | ".join(_HEADS) + " |", "| " + " | ".join("---" for _ in _HEADS) + " |"]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines)

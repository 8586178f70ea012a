"""One function chooses the backend of a category, and says why."""

from __future__ import annotations

from rprun.backends.registry import candidates
from rprun.errors import UsageError
from rprun.observe.categories import CapabilitySupport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rprun.backends.interface import Probe
    from rprun.backends.registry import Candidate
    from rprun.observe.categories import EventCategory


class Choice:
    """What was chosen for a category, and what every candidate answered.

    Attributes:
        category: what is to be observed.
        backend: the name of the chosen backend; None when none can see anything, unless one was forced.
        support: how much of the category is seen.
        reason: why, as a sentence for the user.
    """

    __slots__ = ("_asked", "backend", "category", "reason", "support")

    def __init__(
        self,
        category: EventCategory,
        backend: str | None,
        support: CapabilitySupport,
        reason: str,
        asked: Sequence[tuple[Candidate, Probe | None]],
    ) -> None:
        self.category = category
        self.backend = backend
        self.support = support
        self.reason = reason
        self._asked = asked

    def answers(self) -> tuple[Probe, ...]:
        """Gives the answer of every candidate, best first; of the forced one only, where one was.

        Those whose answer could not have changed the choice are asked now.
        """
        answers = tuple(answer or candidate.backend().probe(self.category) for candidate, answer in self._asked)
        self._asked = [(candidate, answer) for (candidate, _), answer in zip(self._asked, answers, strict=True)]
        return answers


def choose(category: EventCategory, platform: str, forced: str | None = None) -> Choice:
    """Chooses the candidate that sees most of a category on this host; of equals, the one preferred.

    Who could not see more than one that was asked before is not asked: to try a backend out can take a while.

    Args:
        category: what is to be observed.
        platform: `sys.platform`, given so that the choice of other systems can be looked at from any.
        forced: the name of the backend to take, whatever it can see here and whatever others could.

    Raises:
        UsageError: the category has no backend of the forced name.
    """
    found = candidates(category, platform)
    if forced is not None:
        names = ", ".join(candidate.name for candidate in found)
        found = [candidate for candidate in found if candidate.name == forced]
        if not found:
            raise UsageError(f"backend {category}={forced}: there is no such backend (try {names})")
    asked: list[tuple[Candidate, Probe | None]] = []
    best: Probe | None = None
    for candidate in found:
        answer = None
        if best is None or (best.support is not CapabilitySupport.SUPPORTED and candidate.complete):
            answer = candidate.backend().probe(category)
            least = CapabilitySupport.PARTIAL if best is None else CapabilitySupport.SUPPORTED
            if forced is not None or answer.support.at_least(least):
                best = answer
        asked.append((candidate, answer))
    if best is not None:
        return Choice(category, best.backend, best.support, best.reason, asked)
    # Backends that are built and cannot work here have the more useful reasons: something can be done about them.
    built = [answer for candidate, answer in asked if answer is not None and candidate.is_built]
    reason = built[0].reason
    if len(built) > 1:
        reason = "; ".join(f"{answer.backend}: {answer.reason}" for answer in built)
    return Choice(category, None, CapabilitySupport.UNAVAILABLE, reason, asked)

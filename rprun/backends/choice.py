"""One function chooses the backend of a category, and says why."""

from __future__ import annotations

from rprun.backends.planned import PlannedBackend, no_backend
from rprun.backends.registry import candidates
from rprun.observe.categories import CapabilitySupport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.interface import Probe
    from rprun.observe.categories import EventCategory


class Choice:
    """What was chosen for a category, and what every candidate answered.

    Attributes:
        category: what is to be observed.
        backend: the name of the chosen backend; None when none can see anything.
        support: how much of the category is seen.
        reason: why, as a sentence for the user.
        answers: the answer of every candidate, best first.
    """

    __slots__ = ("answers", "backend", "category", "reason", "support")

    def __init__(
        self,
        category: EventCategory,
        backend: str | None,
        support: CapabilitySupport,
        reason: str,
        answers: tuple[Probe, ...],
    ) -> None:
        self.category = category
        self.backend = backend
        self.support = support
        self.reason = reason
        self.answers = answers


def choose(category: EventCategory, platform: str) -> Choice:
    """Chooses the candidate that sees most of a category on this host; of equals, the one preferred."""
    backends = candidates(category, platform)
    answers = tuple(backend.probe(category) for backend in backends)
    for support in (CapabilitySupport.SUPPORTED, CapabilitySupport.PARTIAL):
        for answer in answers:
            if answer.support is support:
                return Choice(category, answer.backend, support, answer.reason, answers)
    # A backend that is built and cannot work here has the more useful reason: something can be done about it.
    built = (a.reason for a, b in zip(answers, backends, strict=True) if not isinstance(b, PlannedBackend))
    reason = next(built, no_backend(category, platform))
    return Choice(category, None, CapabilitySupport.UNAVAILABLE, reason, answers)

"""One function chooses the backend of a category, and says why."""

from __future__ import annotations

from rprun.backends.planned import PlannedBackend, no_backend
from rprun.backends.registry import candidates
from rprun.errors import UsageError
from rprun.observe.categories import CapabilitySupport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.interface import Probe
    from rprun.observe.categories import EventCategory


class Choice:
    """What was chosen for a category, and what every candidate answered.

    Attributes:
        category: what is to be observed.
        backend: the name of the chosen backend; None when none can see anything, unless one was forced.
        support: how much of the category is seen.
        reason: why, as a sentence for the user.
        answers: the answer of every candidate, best first; of the forced one only, where one was.
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


def choose(category: EventCategory, platform: str, forced: str | None = None) -> Choice:
    """Chooses the candidate that sees most of a category on this host; of equals, the one preferred.

    Args:
        category: what is to be observed.
        platform: `sys.platform`, given so that the choice of other systems can be looked at from any.
        forced: the name of the backend to take, whatever it can see here and whatever others could.

    Raises:
        UsageError: the category has no backend of the forced name.
    """
    backends = candidates(category, platform)
    if forced is not None:
        backends = [backend for backend in backends if backend.name == forced]
        if not backends:
            names = ", ".join(backend.name for backend in candidates(category, platform))
            raise UsageError(f"backend {category}={forced}: there is no such backend (try {names})")
    answers = tuple(backend.probe(category) for backend in backends)
    if forced is not None:
        return Choice(category, forced, answers[0].support, answers[0].reason, answers)
    for support in (CapabilitySupport.SUPPORTED, CapabilitySupport.PARTIAL):
        for answer in answers:
            if answer.support is support:
                return Choice(category, answer.backend, support, answer.reason, answers)
    # Backends that are built and cannot work here have the more useful reasons: something can be done about them.
    built = [a for a, b in zip(answers, backends, strict=True) if not isinstance(b, PlannedBackend)]
    reason = no_backend(category, platform) if not built else built[0].reason
    if len(built) > 1:
        reason = "; ".join(f"{answer.backend}: {answer.reason}" for answer in built)
    return Choice(category, None, CapabilitySupport.UNAVAILABLE, reason, answers)

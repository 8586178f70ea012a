"""What one thread of the supervisor that answers has to itself, and which calls are answered by machine code."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.seccomp import calls
from rprun.linux import answering, syscalls
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.seccomp.ring import Ring

# Nanoseconds: how long it takes to receive a call that waits already, at most.
_AT_ONCE = 4_000
# What the machine code is told of where a path is, and of what becomes of it.
_PLACES = {(calls.CWD, 0): answering.PATH_FIRST, (0, 1): answering.AT}
_WAYS = {ObserverEventKind.FILE_OPEN: answering.OPENS, ObserverEventKind.EXEC: answering.EXECUTES}
# Flags in memory, or none; a path that may be empty and is executed then.
_NOT_SO_PLAIN = ("openat2", "creat", "execveat")


class Lane:
    """What a thread that answers has to itself.

    Attributes:
        machine_code: what answers the usual calls; None where there is none.
        request: where the kernel writes its requests.
        before: when the last RECV began, in nanoseconds since the Unix epoch.
        now: when it ended.
        look_at: when to look again at who has ended.
        last: the thread whose call came last.
        wants_another: there is more to do than one thread can do.
    """

    def __init__(self, ring: Ring, place: int, machine_code: answering.Answering | None) -> None:
        self.machine_code = machine_code
        self.request = ring.request(place)
        self.before = self.now = self.look_at = self.last = 0
        self.wants_another = False

    def answer_the_usual(self) -> bool:
        """Answer, and wait for the next call that has to be looked at by the interpreter; False where there is none."""
        machine_code = self.machine_code
        assert machine_code is not None
        machine_code.last = self.last
        outcome = machine_code.answer()
        self.last = machine_code.last
        self.before, self.now = machine_code.times()
        if outcome == answering.LOOK_AROUND:
            self.look_at = 0
        self.wants_another = outcome == answering.WANTED
        return outcome in (answering.RECEIVED, answering.LOOK_AROUND, answering.WANTED)

    def is_to_go_elsewhere(self, tid: int) -> bool:
        """Tell whether a thread was trapped on another processor, as far as that can be told in no time."""
        if self.machine_code is None:
            return tid != self.last and self.now - self.before < _AT_ONCE
        return self.machine_code.is_to_go_elsewhere()


def plans() -> dict[int, int]:
    """Return how the machine code is to do calls of this process's own ABI: those with one path, by their numbers."""
    own = syscalls.AUDIT_ARCH.get(syscalls.native() or "")
    plans: dict[int, int] = {}
    for (arch, number), call in calls.BY_NUMBER.items():
        if arch != own or call is None or len(call.paths) != 1 or call.kind is ObserverEventKind.UNOBSERVED:
            continue
        plan = _PLACES.get(call.paths[0])
        if plan is not None and call.name not in _NOT_SO_PLAIN:
            plans[number] = plan | _WAYS.get(call.kind, 0)
    return plans

"""Which attempt at an exec it was that succeeded: what the filter saw, joined with what the connector says.

The filter sees path, argv and directory of every attempt, before the kernel acts; the connector says which process has
started a program, and when. An attempt that no message confirms before the process's end has failed.

An attempt is seen before the kernel acts, and the message is made after it: the last attempt in time is the one. Yet
the times are of two clocks, one of which can be set; so one attempt is spared for each message that follows.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Attempts:
    """Attempts that have been seen and neither been confirmed nor turned out to have failed."""

    def __init__(self) -> None:
        # Process -> time in nanoseconds since the Unix epoch, and the fields of the event; oldest first.
        self._seen: dict[int, list[tuple[int, dict[str, Any]]]] = {}

    def add(self, process: int, time_ns: int, fields: dict[str, Any]) -> None:
        """Take an attempt; those of one process come in their order."""
        self._seen.setdefault(process, []).append((time_ns, fields))

    def confirm(self, process: int, time_ns: int, following: int) -> dict[str, Any] | None:
        """Return the fields of the attempt that has succeeded; None where there is none.

        Args:
            process: it has started a program.
            time_ns: when, in nanoseconds since the Unix epoch.
            following: how many messages more there are of programs that it has started since.
        """
        attempts = self._seen.get(process)
        if not attempts:
            return None
        in_time = sum(1 for seen_ns, _ in attempts if seen_ns <= time_ns)
        # Where the clock was set back meanwhile, none may be in time.
        index = max(0, min(in_time, len(attempts) - following) - 1)
        _, fields = attempts[index]
        del attempts[: index + 1]
        return fields

    def forget(self, process: int) -> None:
        """The process has ended: whatever it attempted has failed."""
        self._seen.pop(process, None)

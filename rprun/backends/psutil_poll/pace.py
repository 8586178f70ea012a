"""When to look again: as often as a share of one processor allows, a larger one while there is something to see."""

from __future__ import annotations

LEAST = 0.005
"""Seconds between two looks, at least."""
BUSY = 0.08
"""The share of a processor that looking takes at most while looks show something new."""
IDLE = 0.02
"""The share that it takes at most while they do not."""

# Seconds that it takes to write an event.
_WRITING = 25e-6
# Seconds for which processes are looked into, after the table has been read; so long at least, or as the table took.
_INTO = 0.002


def pause(cost: float, events: int, *, is_new: bool) -> float:
    """Return the seconds until the next look.

    Args:
        cost: the seconds of processor time that the last one took.
        events: that came of it.
        is_new: it has shown something.
    """
    cost += events * _WRITING
    share = BUSY if is_new else IDLE
    return max(LEAST, cost / share - cost)


def allowance(table: float) -> float:
    """Return the seconds of processor time for looking into processes, by those that the table took."""
    return max(_INTO, table)

"""Calls that move bytes through a descriptor, and calls that close one: which are counted, and how."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from enum import IntEnum

from rprun.observe.categories import EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

NO_FLAGS = 6
"""In place of the index of an argument, as `plans.NONE`."""


class Flow(IntEnum):
    """Which way a call moves bytes. Its result is their number, but for MESSAGES, where that is in memory."""

    NONE = 0
    IN = 1
    OUT = 2
    BETWEEN = 3  # From the first argument's descriptor to the third's.
    IN_MESSAGES = 4
    OUT_MESSAGES = 5


# Name -> the flow, and which argument has flags that may say that nothing is taken (MSG_PEEK).
_WRITES = dict.fromkeys(
    ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "sendfile64"), (Flow.OUT, NO_FLAGS)
)
_COPIES = dict.fromkeys(("splice", "copy_file_range"), (Flow.BETWEEN, NO_FLAGS))
_SENDS = {
    "sendto": (Flow.OUT, NO_FLAGS),
    "sendmsg": (Flow.OUT, NO_FLAGS),
    "sendmmsg": (Flow.OUT_MESSAGES, NO_FLAGS),
}
_RECEIVES = {
    "read": (Flow.IN, NO_FLAGS),
    "readv": (Flow.IN, NO_FLAGS),
    "recvfrom": (Flow.IN, 3),
    "recvmsg": (Flow.IN, 2),
    "recvmmsg": (Flow.IN_MESSAGES, 3),
    "recvmmsg_time64": (Flow.IN_MESSAGES, 3),
}
FLOWS: dict[EventCategory, dict[str, tuple[Flow, int]]] = {
    EventCategory.FILE: _WRITES | _COPIES,
    EventCategory.NETWORK: _WRITES | _COPIES | _SENDS | _RECEIVES,
}
"""Which calls of each category move bytes. What is read from a file is not counted."""

CLOSES = {"close": 0, "dup2": 1, "dup3": 1}
"""Name -> the argument that is a descriptor which the call closes."""

SUBCALLS: dict[int, tuple[str, tuple[Flow, int], int]] = {
    9: ("send", (Flow.OUT, NO_FLAGS), 4),
    10: ("recv", (Flow.IN, 3), 4),
    12: ("recvfrom", (Flow.IN, 3), 6),
    17: ("recvmsg", (Flow.IN, 2), 3),
    19: ("recvmmsg", (Flow.IN_MESSAGES, 3), 5),
}
"""What socketcall(2) stands for besides what `calls.SUBCALLS` has (include/uapi/linux/net.h): name, flow, and how many
words of 4 bytes it takes out of memory."""


def flow_of(name: str, categories: Collection[EventCategory]) -> tuple[Flow, int]:
    """Return the flow of a call if one of the categories counts it, else none."""
    for category in categories:
        found = FLOWS.get(category, {}).get(name)
        if found is not None:
            return found
    return Flow.NONE, NO_FLAGS

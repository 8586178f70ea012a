"""Whether processes can be looked at here: found out by looking at this one as a run would at the command."""

from __future__ import annotations

import os
import sys

from rprun.observe.categories import CapabilitySupport, EventCategory

_GAPS = {
    EventCategory.PROCESS: "so is every exit status",
    EventCategory.FILE: (
        "only regular files that are open at that moment are seen, without the flags they were opened with, and what "
        "is done to files by their names is not"
    ),
    EventCategory.NETWORK: (
        "only TCP sockets, and UDP sockets with a fixed peer, are seen, without outcomes and byte counts"
    ),
}
_OTHERS = "; rprun capabilities --all says what a backend that sees more would need" if sys.platform == "linux" else ""


def try_out() -> str:
    """Look at this process; return why that does not work, empty if it does."""
    try:
        from rprun.backends.psutil_poll.host import here

        host = here()
    except (ImportError, NotImplementedError) as error:
        return f"psutil cannot be loaded: {error} (install it for this Python)"
    me = os.getpid()
    try:
        row = host.row(me) if me in host.numbers() else None
        if row is None:
            return _BLIND
        host.program(me)
        host.open_files(me)
        host.sockets(me)
    except OSError as error:
        return f"{_BLIND}: {error.strerror}"
    return ""


_BLIND = "processes cannot be listed here; on Linux that takes /proc (mount it)"

_found: list[str] = []


def answer(category: EventCategory) -> tuple[CapabilitySupport, str]:
    """Return how much of a category can be seen here, and why no more; found out once in the life of this process."""
    if not _found:
        _found.append(try_out())
    if _found[0]:
        return CapabilitySupport.UNAVAILABLE, _found[0]
    missed = "what comes and goes between two looks at the processes is missed"
    pace = "they are 5 ms apart at least, and more the more there is to see, for a tenth of a processor at most"
    return CapabilitySupport.PARTIAL, f"{missed}, {_GAPS[category]}; {pace}{_OTHERS}"

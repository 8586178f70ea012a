"""poll(2) over select(2), for macOS, where poll(2) does not know terminals and other devices (BUGS there).

Where CPython finds poll(2) broken it has neither `select.poll` nor its constants. What select(2) does not tell: that a
descriptor has been hung up, or that nobody reads a pipe any more. Both look ready, and what follows tells.
"""

from __future__ import annotations

import select
from errno import EMFILE

# <sys/select.h>; what CPython was built with, and so not to be changed here.
FD_SETSIZE = 1024
# <sys/syslimits.h>; `select` has it only where it has poll(2), too.
PIPE_BUF = 512
# <sys/poll.h>
POLLIN, POLLOUT, POLLERR, POLLHUP = 1, 4, 8, 16


class poll:  # noqa: N801 - as in `select`, which it stands in for
    """Descriptors with what each is waited for, as `select.poll` has them."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, descriptor: int, events: int) -> None:
        """Wait for a descriptor, or for something else of it.

        Raises:
            OSError: EMFILE: its number is too high for select(2), as too many others are open.
        """
        if descriptor >= FD_SETSIZE:
            raise OSError(EMFILE, f"descriptor {descriptor} is too high for select")
        self._wanted[descriptor] = events

    modify = register

    def unregister(self, descriptor: int) -> None:
        """Wait for it no longer."""
        del self._wanted[descriptor]

    def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]]:
        """Return what is ready and for what, as soon as something is; for ever where no time is given."""
        reads = [descriptor for descriptor, events in self._wanted.items() if events & POLLIN]
        writes = [descriptor for descriptor, events in self._wanted.items() if events & POLLOUT]
        readable, writable, _ = select.select(reads, writes, (), None if milliseconds is None else milliseconds / 1000)
        ready = dict.fromkeys(readable, POLLIN)
        for descriptor in writable:
            ready[descriptor] = ready.get(descriptor, 0) | POLLOUT
        return list(ready.items())

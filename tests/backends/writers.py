"""Several writers of the supervisor's ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rprun.backends.seccomp.ring import DATA_OFFSET, REQUEST_OFFSET, REQUEST_SIZE
from rprun.linux.answering import Answering

if TYPE_CHECKING:
    from rprun.backends.seccomp.ring import Ring


def writer(ring: Ring, beside: Answering | None = None) -> Answering:
    """What a thread that writes reserves its room by; it answers nobody."""
    return Answering(
        ring.memory,
        {},
        listener=-1,
        ended=-1,
        bell=ring.bell,
        window=0,
        receive_ends=True,
        is_sync=False,
        request=REQUEST_OFFSET + (REQUEST_SIZE if beside is not None else 0),
        data=DATA_OFFSET,
        beside=beside,
    )

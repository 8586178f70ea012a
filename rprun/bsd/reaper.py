"""procctl(2): what FreeBSD has in the place of Linux's child subreaper. It was never run there.

int procctl(idtype_t idtype, id_t id, int cmd, void *data); (<sys/procctl.h>, <sys/wait.h>: id_t has 64 bits)
"""

from __future__ import annotations

import ctypes
import os
from errno import ENOSYS

P_PID = 0
PROC_REAP_ACQUIRE = 2


def become_reaper() -> None:
    """Make this process the parent of every orphaned descendant (FreeBSD 10.2, DragonFly 4.0).

    Raises:
        OSError: the system refused, or has no such call.
    """
    procctl = getattr(ctypes.CDLL(None, use_errno=True), "procctl", None)
    if procctl is None:
        raise OSError(ENOSYS, os.strerror(ENOSYS))
    procctl.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p)
    procctl.restype = ctypes.c_int
    if procctl(P_PID, os.getpid(), PROC_REAP_ACQUIRE, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

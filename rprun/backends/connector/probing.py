"""Whether the proc connector works here: found out by a child that starts, takes another name, and ends."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import os
from select import POLLIN, poll
from time import monotonic

from rprun.backends.interface import REMEDY
from rprun.backends.seccomp import probing as seccomp_probing
from rprun.interpreter import start_child
from rprun.linux import seen
from rprun.linux.connector import COMM, EXIT, FORK, Connector
from rprun.observe.categories import CapabilitySupport, EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

# Seconds that the messages may take, beyond the child's life.
_PATIENCE = 0.2
_STATUS = 42

_OUTSIDE = "run rprun on the host itself, outside of a container"
_REASONS = {
    errno.EPROTONOSUPPORT: "this kernel has no proc connector; it needs Linux 6.6 with CONFIG_PROC_EVENTS",
    errno.EPERM: "before Linux 6.6 the kernel tells only root of processes",
    errno.ECONNREFUSED: (
        "the kernel tells of processes in the initial network namespace only, and with CONFIG_PROC_EVENTS; " + _OUTSIDE
    ),
}
_SILENT = (
    "the kernel told nothing of a process that started and ended: it does so only in the initial pid and user "
    "namespaces, from Linux 6.6 on; " + _OUTSIDE
)


def try_out() -> str:
    """Start a child and listen; an empty string if its messages came, else why not."""
    try:
        connector = Connector(FORK | EXIT)
    except OSError as error:
        return _REASONS.get(error.errno or 0, f"the proc connector cannot be opened: {error.strerror}; {REMEDY}")
    try:
        pid = seen.start_renamed() or start_child(_take_another_name, __name__)
        os.waitpid(pid, 0)
        return "" if _heard(connector, pid) else _SILENT
    except OSError as error:
        return f"it could not be tried out: {error.strerror}; {REMEDY}"
    finally:
        connector.close()


def main(_arguments: Sequence[str]) -> NoReturn:
    """Be the child. Called in the fresh interpreter only."""
    _take_another_name()


def _take_another_name() -> NoReturn:
    try:
        # Makes a message of a kind that was not asked for.
        with open("/proc/self/comm", "wb") as stream:
            stream.write(b"rprun-probe")
    finally:
        os._exit(_STATUS)


def _heard(connector: Connector, pid: int) -> bool:
    deadline = monotonic() + _PATIENCE
    poller = poll()
    poller.register(connector.fileno(), POLLIN)
    started = False
    while poller.poll(max(0.0, deadline - monotonic()) * 1000):
        try:
            message = connector.read()
        except OverflowError:
            continue
        if message is None or message.pid != pid:
            continue
        if message.kind == COMM:
            # The request was ignored, and this comes only for as long as somebody else listens.
            return False
        if message.kind == FORK:
            started = message.parent == os.getpid()
        elif message.kind == EXIT:
            return started and message.status == _STATUS << 8
    return False


_found: list[str] = []


def refusal() -> str:
    """Return why it does not work here, empty if it does; found out once in the life of this process."""
    if not _found:
        _found.append(try_out())
    return _found[0]


def seccomp_filter() -> seccomp_probing.Answer:
    """Return what a filter could add: path, arguments and directory of each program as they were asked for."""
    try:
        return seccomp_probing.found()
    except OSError as error:
        lacking = seccomp_probing.Answer()
        lacking.refused = error.errno or errno.EAGAIN
        return lacking


def answer() -> tuple[CapabilitySupport, str]:
    """Return how much of processes can be seen here, and why no more."""
    why_not = refusal()
    if why_not:
        return CapabilitySupport.UNAVAILABLE, why_not
    seen = "every start and end of a process is told by the kernel"
    found = seccomp_filter()
    if not found.works:
        _, lacking = seccomp_probing.judge(found, EventCategory.PROCESS)
        gap = (
            "path, arguments and directory of a program that ends at once cannot be read, and a script is seen as its "
            f"interpreter, for want of seccomp user notification: {lacking}"
        )
        return CapabilitySupport.PARTIAL, f"{seen}; {gap}"
    parts = [f"{seen}, and what each program was started with is seen by seccomp user notification"]
    if not found.reads_memory:
        parts.append("paths and arguments cannot be read (the kernel or ptrace_scope forbids it)")
    parts.append("a signal can make an exec fail with EINTR" + ("" if found.wait_killable else " (less so from 5.19)"))
    if found.no_new_privs:
        parts.append("sudo and set-user-ID programs get no privilege inside (run rprun as root to change that)")
    return (CapabilitySupport.SUPPORTED if found.reads_memory else CapabilitySupport.PARTIAL), "; ".join(parts)

"""Whether eBPF works here, found out by having the programs see what a child does."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import mmap
import os
from contextlib import ExitStack, closing
from errno import EACCES, EAGAIN, EMFILE, ENOENT, ENOSYS, EPERM
from select import POLLIN, poll

from rprun.backends.interface import REMEDY
from rprun.linux import bpf, seen, token
from rprun.observe.batch import singly
from rprun.observe.categories import CapabilitySupport, EventCategory
from rprun.observe.kinds import ObserverEventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import NoReturn

    from rprun.backends.ebpf.session import Session

# Milliseconds that records may take to arrive, on however slow a machine.
_PATIENCE = 5000
_RING_SIZE = 1 << 16
_STATUS = 42
# What the child does of each category: the kind of event, and its outcome.
_PROOFS = {
    EventCategory.FILE: (ObserverEventKind.FILE_OPEN, "ok"),
    EventCategory.NETWORK: (ObserverEventKind.NET_CONNECT, "ECONNREFUSED"),
    EventCategory.PROCESS: (ObserverEventKind.DESCENDANT_EXITED, _STATUS),
}

_SEEN = {
    EventCategory.FILE: (
        "calls are seen in the kernel with their outcome, and what is written is counted; what is done through "
        "io_uring or io_submit(2) is not"
    ),
    EventCategory.NETWORK: (
        "calls are seen in the kernel with their outcome, and what is sent and received is counted; what is done "
        "through io_uring is not"
    ),
    EventCategory.PROCESS: "each start, exec and end is seen in the kernel",
}


def try_out(session: Session, categories: Collection[EventCategory]) -> None:
    """Have a child do something of each category, and see that.

    Args:
        session: new; as new afterwards.
        categories: those that it is to see.

    Raises:
        OSError: no more processes or descriptors.
        RuntimeError: what the child has done was not seen.
    """
    secret = session.token
    pid = seen.start(secret)
    if pid is None:
        from rprun.interpreter import start_child

        session.join()
        pid = start_child(lambda: _be_seen(secret), __name__, (str(secret),))
    os.waitpid(pid, 0)
    poller = poll()
    poller.register(session.fileno(), POLLIN)
    found: set[tuple[ObserverEventKind, object]] = set()
    taken = -1
    while taken and poller.poll(_PATIENCE if taken < 0 else 0):
        events, taken = session.take(64)
        found |= {(kind, fields.get("result", fields.get("exit_code"))) for kind, _, _, fields in singly(events)}
    if any(_PROOFS[category] not in found for category in categories if category in _PROOFS):
        raise RuntimeError("the programs did not see what a child did")
    session.join()
    session.restart()


def main(arguments: Sequence[str]) -> NoReturn:
    """Be the child. Called in the fresh interpreter only."""
    _be_seen(int(arguments[0]))


def _be_seen(secret: int) -> NoReturn:
    import _socket

    status = 1
    try:
        token.tell(secret)
        os.close(os.open(os.devnull, os.O_RDONLY))
        peer = _socket.socket(_socket.AF_UNIX)
        peer.connect_ex(os.devnull)
        # Closed by hand, or the interpreter may warn of it on the command's stderr.
        peer.close()
        if os.fork() == 0:
            os._exit(_STATUS)
        os.wait()
        status = 0
    finally:
        os._exit(status)


def refusal(error: Exception) -> str:
    """Return the sentence for what kept the programs from being loaded."""
    if isinstance(error, bpf.VerifierError):
        return f"the kernel refuses the eBPF programs: {error.strerror or error}".splitlines()[0]
    if isinstance(error, OSError):
        reasons = {
            EPERM: (
                "loading eBPF programs is not permitted here; run rprun as root, or give it CAP_BPF and CAP_PERFMON; "
                "in a user namespace they do not count"
            ),
            ENOENT: (
                f"{error.filename or 'a tracepoint'} is missing here; /proc and /sys must be mounted, and the kernel "
                "needs CONFIG_DEBUG_INFO_BTF"
            ),
            ENOSYS: "this kernel has no eBPF, or it is forbidden here; it needs Linux 5.8 with CONFIG_BPF_SYSCALL",
            EMFILE: "no file descriptor was left for eBPF (see ulimit -n)",
        }
        reasons[EACCES] = reasons[EPERM]
        return reasons.get(error.errno or 0, f"eBPF cannot be used: {error.strerror or error}")
    if isinstance(error, RuntimeError):
        return f"{error}; look for a security module that changes them"
    return f"this kernel's structures are not those that rprun knows: {error}"


_answers: list[str | None] = []
# What a run that follows at once will observe; the session that is being loaded for it; and, once tried out, the same.
_expected: frozenset[EventCategory] = frozenset()
_begun: list[Session] = []
_tried: list[Session] = []


def expect_run(categories: Collection[EventCategory]) -> None:
    """Begin to load what a run of these categories needs: the kernel takes a while for it, and there is more to do.

    What is loaded is tried out by the next probe, and kept for the run. For a process that exists for one run: what is
    not used is held until it ends.
    """
    global _expected  # noqa: PLW0603 - like the answer, it is about this process
    _expected = frozenset(categories).intersection(_PROOFS)
    if not _expected or _begun or _answers or _may_interrupt():
        return
    try:
        _begun.append(_begin())
    except (OSError, LookupError, ValueError):
        # The try-out will come upon the same, and say so.
        pass


def session_for(categories: Collection[EventCategory]) -> Session:
    """Return the session that has been tried out for a run of these categories, or else a new one.

    Raises:
        OSError, LookupError, ValueError: as `Session`.
    """
    from rprun.backends.ebpf.session import Session

    if _tried and _expected == frozenset(categories):
        return _tried.pop()
    return Session(categories)


def _begin() -> Session:
    # The rest need not even be imported where this is forbidden already, as it is for most users.
    os.close(bpf.create_map(bpf.MapKind.RINGBUF, 0, 0, mmap.PAGESIZE))
    from rprun.backends.ebpf.loading import MakingMaps
    from rprun.backends.ebpf.maps import RING_SIZE

    # While the kernel finds memory there is a lot to import.
    making = MakingMaps(RING_SIZE if _expected else _RING_SIZE, beside=True)
    try:
        from rprun.backends.ebpf.session import Session
    except BaseException:
        making.close()
        raise
    return Session(_expected or EventCategory.ALL, making, in_background=True)


def _try_out_once() -> None:
    with ExitStack() as undo:
        session = undo.enter_context(closing(_begun.pop() if _begun else _begin()))
        session.wait()
        try_out(session, _expected or EventCategory.ALL)
        if _expected:
            _tried.append(session)
            undo.pop_all()


def _may_interrupt() -> bool:
    """Tell whether the kernel is one where the programs could interrupt each other."""
    return "PREEMPT_RT" in os.uname().version


def answer(category: EventCategory) -> tuple[CapabilitySupport, str]:
    """Return how much of a category can be seen here, and why no more. It is tried out once in a process's life."""
    if not _answers:
        if _may_interrupt():
            _answers.append("on a kernel with PREEMPT_RT programs can interrupt each other, and these must not be")
        else:
            try:
                _try_out_once()
                _answers.append(None)
            except OSError as error:
                if error.errno in (EMFILE, EAGAIN):
                    return CapabilitySupport.UNAVAILABLE, f"it could not be tried out: {error.strerror}; {REMEDY}"
                _answers.append(refusal(error))
            except (LookupError, ValueError, RuntimeError) as error:
                _answers.append(refusal(error))
    reason = _answers[0]
    if reason is not None:
        return CapabilitySupport.UNAVAILABLE, reason
    complete = category is EventCategory.PROCESS
    return CapabilitySupport.SUPPORTED if complete else CapabilitySupport.PARTIAL, _SEEN[category]

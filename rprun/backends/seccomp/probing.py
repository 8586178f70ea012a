"""Whether, and how well, seccomp user notification works here: found out by having one call go through it."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import os
from contextlib import closing
from select import POLLIN, poll

from rprun.backends.interface import REMEDY
from rprun.backends.seccomp import calls
from rprun.interpreter import start_child
from rprun.linux import memory, pidfd, seccomp, seqpacket, syscalls
from rprun.linux.listener import FAILED, install_and_send
from rprun.observe.categories import CapabilitySupport, EventCategory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

# Milliseconds that the child's call may take to arrive, on however slow a machine.
_PATIENCE = 5000
_PATH = b"/dev/null"


class Answer:
    """What was found out.

    Attributes:
        refused: the errno with which the kernel refused a filter with a listener, 0 if it did not.
        works: a call went through and came out as it should.
        no_new_privs: set-user-ID programs lose their privilege under the filter.
        reads_memory: what a call points to can be read.
        wait_killable: a call that has been received cannot be interrupted any more (Linux 5.19).
        sync_wake_up: the fast change of process (Linux 6.6).
        exit_status: the exit status of a process that is nobody's child here can be read (Linux 6.15).
    """

    def __init__(self) -> None:
        self.refused = 0
        self.works = False
        self.no_new_privs = False
        self.reads_memory = False
        self.wait_killable = False
        self.sync_wake_up = False
        self.exit_status = False


def try_out() -> Answer:
    """Put a child under a filter and let one call of it go through.

    Raises:
        OSError: no more processes or descriptors.
    """
    answer = Answer()
    ours, theirs = seqpacket.pair()

    def body() -> None:
        # It would keep the listener alive, and this child waiting for ever, if the parent were killed.
        ours.close()
        _be_observed(theirs.fileno())

    with closing(ours):
        with closing(theirs):
            pid = start_child(body, __name__, (str(theirs.fileno()),), (theirs.fileno(),))
        try:
            descriptor = pidfd.open_process(pid)
        except OSError:
            descriptor = -1
        try:
            try:
                _supervise(ours, pid, answer)
            finally:
                _, status = os.waitpid(pid, 0)
            answer.exit_status = descriptor >= 0 and pidfd.exit_status(descriptor) == status
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    answer.works = answer.works and status == 0
    return answer


def main(arguments: Sequence[str]) -> NoReturn:
    """Be the child. Called in the fresh interpreter only."""
    _be_observed(int(arguments[0]))


def _be_observed(channel: int) -> NoReturn:
    status = 1
    try:
        native = syscalls.native() or ""
        # Which of them it is, is the C library's choice: musl has open where glibc has openat.
        numbers = {number for name, number in syscalls.NUMBERS[native].items() if name in ("open", "openat")}
        traps = {syscalls.AUDIT_ARCH[native]: numbers}
        # The duplicate stays open, so that a supervisor that gives up is not mistaken for one that never was.
        install_and_send(os.dup(channel), traps, {})
        os.open(_PATH, os.O_RDONLY)
        status = 0
    finally:
        os._exit(status)


def _supervise(channel: seqpacket.Socket, pid: int, answer: Answer) -> None:
    word, listener = seqpacket.receive(channel)
    if listener < 0:
        if word.startswith(FAILED.encode()):
            answer.refused = int(word.split()[1])
        return
    try:
        _, no_new_privs, wait_killable = word.split()
        answer.no_new_privs, answer.wait_killable = no_new_privs == b"1", wait_killable == b"1"
        answer.sync_wake_up = seccomp.set_sync_wake_up(listener)
        poller = poll()
        poller.register(listener, POLLIN)
        if poller.poll(_PATIENCE):
            buffer = bytearray(seccomp.NOTIF_SIZE)
            seccomp.receive(listener, buffer)
            notification, tid, _, number, arch, _, *arguments = seccomp.NOTIFICATION.unpack_from(buffer)
            call = calls.find(arch, number, arguments[0])
            _, path = call.paths[0] if call else (0, 0)
            try:
                answer.reads_memory = memory.read_string(tid, arguments[path], len(_PATH) + 1) == (_PATH, True)
            except OSError:
                pass
            seccomp.respond_continue(listener, notification)
            answer.works = tid == pid
    except OSError as error:
        answer.refused = error.errno or errno.EINVAL
    finally:
        # Without it whatever the child still asks for fails, so that it ends.
        os.close(listener)


_found: list[Answer] = []


def found() -> Answer:
    """Return what `try_out` has found; it does so once in the life of this process.

    Raises:
        OSError: as `try_out`; the next call tries again.
    """
    if not _found:
        _found.append(try_out())
    return _found[0]


def answer(category: EventCategory) -> tuple[CapabilitySupport, str]:
    """Return how much of a category can be seen here, and why no more."""
    try:
        return judge(found(), category)
    except OSError as error:
        return CapabilitySupport.UNAVAILABLE, f"it could not be tried out: {error.strerror}; {REMEDY}"


def judge(found: Answer, category: EventCategory) -> tuple[CapabilitySupport, str]:
    """Return what an answer means for a category."""
    if found.refused:
        return CapabilitySupport.UNAVAILABLE, refusal(found.refused)
    if not found.works:
        return (
            CapabilitySupport.UNAVAILABLE,
            (
                "a watched call did not come through seccomp user notification as it should; "
                "look for a security module or an emulated kernel that changes it"
            ),
        )
    gaps = [_SEEN[category]]
    if category is EventCategory.PROCESS and not found.exit_status:
        gaps.append("exit statuses are unknown (they need Linux 6.15)")
    if not found.reads_memory:
        gaps.append("paths and addresses cannot be read (the kernel or ptrace_scope forbids it)")
    gaps.append(
        "a signal can make a watched call fail with EINTR"
        + ("" if found.wait_killable else " (less so from Linux 5.19)")
    )
    if not found.sync_wake_up:
        gaps.append("each watched call is slow (faster from Linux 6.6)")
    if found.no_new_privs:
        gaps.append("sudo and set-user-ID programs get no privilege inside (run rprun as root to change that)")
    return CapabilitySupport.PARTIAL, "; ".join(gaps)


_SEEN = {
    EventCategory.FILE: "calls are seen before the kernel acts on them, so without their outcome, and io_uring is not",
    EventCategory.NETWORK: (
        "calls are seen before the kernel acts on them, so without their outcome or byte counts, and io_uring is not"
    ),
    EventCategory.PROCESS: (
        "a program start is seen before the kernel acts on it, and a process once it makes its first watched call"
    ),
}


def refusal(number: int) -> str:
    """Return the sentence for an errno with which the kernel refused the filter."""
    reasons = {
        errno.EBUSY: (
            "another supervisor watches this process by seccomp user notification already (an outer rprun, a sandbox, "
            "LXD or WSL's mirrored networking), and there can be one only; run rprun outside of it"
        ),
        errno.EINVAL: (
            "this kernel, or what stands in for it (gVisor does), knows no seccomp user notification; "
            "it needs Linux 5.5 with CONFIG_SECCOMP_FILTER"
        ),
        errno.ENOSYS: "this kernel has no seccomp filters; it needs Linux 5.5 with CONFIG_SECCOMP_FILTER",
        errno.EACCES: "seccomp filters are forbidden here, even with no_new_privs; ask who runs this container",
        errno.EMFILE: "no file descriptor was left for a seccomp filter (see ulimit -n)",
        errno.EPERM: "seccomp filters are forbidden here by a security policy; ask who runs this container",
    }
    return reasons.get(number, f"the kernel refused a seccomp filter: {os.strerror(number)}")

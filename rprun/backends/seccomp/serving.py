"""The supervisor's process: how it begins, first or in place of one that was killed, and how it ends."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
import resource
from _signal import SIG_BLOCK, pthread_sigmask, valid_signals
from contextlib import closing

from rprun.backends.seccomp.supervisor import Supervisor
from rprun.linux import seqpacket
from rprun.linux.descriptors import close_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from rprun.backends.seccomp.ring import Ring

# A message to rprun: there is nothing to supervise.
NOBODY = b"nobody"


def serve(ring: Ring, channel: int, control: int) -> NoReturn:
    """Be the supervisor: get the listener, answer until nobody is left who could ask.

    Must be called in a process of its own, single-threaded.

    Args:
        ring: shared with rprun.
        channel: where the listener comes from (see `rprun.linux.listener`).
        control: SOCK_SEQPACKET socket to rprun: the listener, the word on how it was installed, and pidfds.
    """
    status = 1
    try:
        detach((ring.fd, ring.bell, channel, control))
        listener = _pass_on_listener(channel, control)
        if listener >= 0:
            supervisor = Supervisor(ring, listener, control)
            supervisor.run()
            supervisor.processes.tell_all()
        status = 0
    finally:
        os._exit(status)


def resume(ring: Ring, listener: int, control: int, known: Mapping[int, int], told: Mapping[int, int]) -> NoReturn:
    """Be the supervisor that takes over from one that was killed.

    Args:
        ring: as for `serve`.
        listener: rprun's.
        control: as for `serve`.
        known: descriptors, as pidfds, of the processes that rprun knows of, and their numbers.
        told: the numbers of others that it has been told of, and the times of the records.
    """
    status = 1
    try:
        detach((ring.fd, ring.bell, listener, control, *known))
        ring.take_over()
        # What has ended the other one may have been the machine code: this one does without.
        supervisor = Supervisor(ring, listener, control, by_machine_code=False)
        supervisor.distrust(known.values())
        for descriptor, process in known.items():
            supervisor.processes.watch(descriptor, process)
        supervisor.processes.unwatched.update(told)
        supervisor.run()
        supervisor.processes.tell_all()
        status = 0
    finally:
        os._exit(status)


def detach(kept: tuple[int, ...]) -> None:
    """Leave the terminal, the process group, the directory and every descriptor that is not needed here."""
    pthread_sigmask(SIG_BLOCK, valid_signals())
    os.setsid()
    os.chdir("/")
    before = 0
    for descriptor in sorted({*kept, 1 << 30}):
        close_range(before, descriptor)
        before = descriptor + 1
    # So that a number below 3 is never one of ours.
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        if number not in (null, *kept):
            os.dup2(null, number, inheritable=False)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One pidfd for each living process of the tree.
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _pass_on_listener(channel: int, control: int) -> int:
    """Receive the listener and send it, and the word that came with it, on to rprun; -1 when there is none."""
    source, to_rprun = seqpacket.Socket(fileno=channel), seqpacket.Socket(fileno=os.dup(control))
    with closing(source), closing(to_rprun):
        # Only looked at, not taken: should this process be killed here, the next one finds it where it was.
        word, listener = seqpacket.receive(source, leaves=True)
        if not word:
            # The command was never started.
            word = NOBODY
        seqpacket.send(to_rprun, word, listener)
    return listener

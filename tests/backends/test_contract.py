"""Every backend keeps to the contract of `rprun.backends.interface`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from contract import CHECKS, check_descriptors

from rprun.backends.lifecycle import PortableLifecycle
from rprun.backends.psutil_poll.backend import PsutilPoll
from rprun.backends.psutil_poll.host_portable import PortableHost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contract import Make

    from rprun.backends.interface import Backend


def psutil_elsewhere() -> Backend:
    """The backend as it is on systems other than Linux."""
    return PsutilPoll(PortableHost)


BACKENDS: list[Make] = [PortableLifecycle, PsutilPoll, psutil_elsewhere]
if sys.platform == "linux":
    from rprun.backends.ebpf.backend import Ebpf
    from rprun.backends.seccomp.backend import SeccompUserNotify

    BACKENDS += (Ebpf, SeccompUserNotify)


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check: Callable[[Make], None], make: Make) -> None:
    """One promise, by one backend: see the function's own sentence."""
    check(make)


@pytest.mark.parametrize("make", BACKENDS)
def test_the_command_inherits_nothing(make: Make, tmp_path: Path) -> None:
    """What the backend holds open stays its own."""
    check_descriptors(make, tmp_path)

"""Every test is checked for what it leaves behind: descriptors, processes anywhere below it, temporary files.

The test process is a child subreaper (prctl(2)), so that a daemon or a monitor that outlives its parents turns up
among its children instead of init's; and TMPDIR is a directory of the run's own, so that it is known who filled it.
Functions for tests are in `running.py`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from running import children_of, kill_quietly, stat_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36
# What rprun leaves to end by itself (its monitor) is gone long before, in seconds.
ENDING = 10.0


def pytest_configure() -> None:
    """Start from signals as a terminal gives them: nohup(1) and background jobs ignore some for all their children."""
    # A busy machine makes no test wrong: to build its table of characters takes hypothesis a second there.
    hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("busy")
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """TMPDIR of every program that the tests run; open to all, as some tests change their user."""
    tmp_path_factory.getbasetemp()  # Made before TMPDIR changes: `tmp_path` is not what this is about.
    directory = Path(tempfile.mkdtemp(prefix="rprun-tests-"))
    directory.chmod(0o1777)
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(directory)
    tempfile.tempdir = None
    yield directory
    directory.rmdir()
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before
    tempfile.tempdir = None


@pytest.fixture(scope="session", autouse=True)
def subreaper() -> None:
    """Orphans of the tests' processes become children of this one, where the kernel can do that."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(temporary_directory: Path) -> Iterator[None]:
    """No test leaves a descriptor, a process or a temporary file."""
    descriptors, children = _descriptors(), children_of(os.getpid())
    yield
    problems = []
    left = _living_children(children)
    if left:
        problems.append(f"processes: {left}")
        for pid in children_of(os.getpid()) - children:
            kill_quietly(pid)
        _living_children(children)
    if _descriptors() != descriptors:
        gc.collect()
        problems += [f"descriptor {line}" for line in sorted(_descriptors() - descriptors)]
        problems += [f"descriptor {line} is gone" for line in sorted(descriptors - _descriptors())]
    files = os.listdir(temporary_directory)
    if files:
        problems.append(f"temporary files: {files}")
        for name in files:
            shutil.rmtree(temporary_directory / name, ignore_errors=True)
            with suppress(OSError):
                os.unlink(temporary_directory / name)
    assert not problems, "left behind: " + "; ".join(problems)


def _descriptors() -> set[str]:
    """Return number and target of every open descriptor."""
    found = set()
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with suppress(OSError):
            found.add(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
    # The listing's own descriptor is closed by now, and has failed.
    return found


def _living_children(before: set[int]) -> list[str]:
    """Reap what has ended, wait a while for the rest, and describe who stays."""
    left = []
    while new := children_of(os.getpid()) - before - {pid for pid, _ in left}:
        left += [(pid, " ".join([_command_of(pid), *stat_fields(pid)[:4]])) for pid in new if not _reaped(pid)]
    return [f"{pid} {text}" for pid, text in left]


def _reaped(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        if not select.select([descriptor], [], [], ENDING)[0]:
            return False
    finally:
        os.close(descriptor)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    return True


def _command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return repr(file.read().replace(b"\0", b" "))
    except OSError:
        return "?"

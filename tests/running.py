"""rprun is tested as its users run it: as a process, started here and told apart from a bare run by nothing else.

`RPRUN` names the executable to test; without it, the package this interpreter finds is run as a module. Test files of
every directory import from here (`from running import run`): the directory is on the path because of `conftest.py`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRANSPORTS: tuple[tuple[str, ...], ...] = ((), ("--pipe",), ("--pty",))
"""Options of each transport, for `pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)`."""

PATIENCE = 10.0
"""Seconds after which a condition that is waited for counts as never coming; no passing test gets near it."""

_UNWANTED = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "RPRUN_DEBUG", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE")


def transport_id(transport: object) -> str:
    """Name a transport in a test's id."""
    return str(transport[0]).lstrip("-") if isinstance(transport, tuple) and transport else "default"


def rprun_argv() -> list[str]:
    """Return the words that start rprun."""
    executable = os.environ.get("RPRUN")
    return [executable] if executable else [sys.executable, "-m", "rprun"]


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without what would change how output looks."""
    return {name: value for name, value in os.environ.items() if name not in _UNWANTED} | changes


def run(*args: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run rprun to its end with stdin from /dev/null; its stdout and stderr as bytes.

    Args:
        args: rprun's arguments.
        options: of subprocess.run. One that takes longer than `timeout` is killed with everything below it, which
            otherwise would keep the pipes open that its output comes from.
    """
    data, timeout = options.pop("input", None), options.pop("timeout", 60)
    process = start(*args, **({"stdin": subprocess.PIPE} if data is not None else {}) | options)
    return finish(process, data, timeout)


def finish(
    process: subprocess.Popen[bytes], data: bytes | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """Wait for the end of what was started; if it does not come, everything below it is killed."""
    try:
        output, errors = process.communicate(data, timeout)
    except BaseException:
        for pid in list(descendants_of(process.pid)):
            kill_quietly(pid)
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start(*args: str | bytes, **options: Any) -> subprocess.Popen[bytes]:
    """Start rprun with pipes at stdout and stderr and stdin from /dev/null; to be used as a context manager."""
    settings: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": clean_environment(),
    }
    return subprocess.Popen([*rprun_argv(), *args], **(settings | options))


def wait_until(condition: Callable[[], Any], what: str = "", timeout: float = PATIENCE) -> Any:
    """Poll for a state that announces itself to nobody (a file of /proc); return what made it true."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never came about: {what or condition}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return result


def read_until(descriptor: int, marker: bytes, timeout: float = PATIENCE) -> bytes:
    """Read from a descriptor until `marker` has come; return everything read. EIO and end of file are failures."""
    deadline = time.monotonic() + timeout
    received = b""
    while marker not in received:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([descriptor], [], [], max(left, 0))
        chunk = os.read(descriptor, 65536) if ready else b""
        if not chunk:
            raise AssertionError(f"{marker!r} never came; got {received[-2000:]!r}")
        received += chunk
    return received


def read_all(descriptor: int, timeout: float = PATIENCE) -> bytes:
    """Read to the end of file, which on a PTY's master is EIO."""
    deadline = time.monotonic() + timeout
    received = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise AssertionError(f"the end never came; got {received[-2000:]!r}")
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            chunk = b""
        if not chunk:
            return received
        received += chunk


def stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (proc_pid_stat(5), field 3); empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    fields = stat_fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def wait_gone(pid: int, timeout: float = PATIENCE) -> None:
    """Wait until a process has ended."""
    wait_until(lambda: not is_running(pid), f"end of process {pid}", timeout)


def children_of(pid: int) -> set[int]:
    """Return the children of every thread of a process."""
    found: set[int] = set()
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found.update(map(int, file.read().split()))
        except OSError:
            continue
    return found


def descendants_of(pid: int) -> Iterator[int]:
    """Yield every process below a process."""
    for child in children_of(pid):
        yield child
        yield from descendants_of(child)


def kill_quietly(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass

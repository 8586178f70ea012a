"""Children of this process that run a function of this package: by fork, or, where that is not safe, by exec.

Another thread may hold a lock at a fork, which nobody gives back in the child: no Python code may run there then.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import threading
from _signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, valid_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# -I and -S: nothing of the caller's Python settings or site packages reaches this interpreter.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from {} import main; main(sys.argv[2:])"


def start(module: str, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
    """Start it as a child of this process; return its pid, which the caller reaps.

    Args:
        module: where the function `main` is, which takes a list of arguments.
        arguments: for `main`.
        descriptors: what it inherits, by the same numbers; all others but 0, 1 and 2 are closed.

    Raises:
        OSError: no more processes, descriptors or memory.
    """
    # Seldom needed, and dear to import.
    import subprocess

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM.format(module), root, *arguments], pass_fds=descriptors
    )
    # Popen would warn about a child that nobody waited for.
    process.returncode = 0
    return process.pid


def has_other_threads() -> bool:
    """Tell whether this process has other threads, including those of libraries that Python does not know of."""
    try:
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:
        return threading.active_count() > 1


def start_child(
    body: Callable[[], object], module: str, arguments: Sequence[str] = (), descriptors: Sequence[int] = ()
) -> int:
    """Start a child, by a fork if this process has one thread only; return its pid, which the caller reaps.

    Args:
        body: what it does if it is a fork, with every signal blocked; does not return.
        module: where the function `main` does the same with the arguments, if it is not.
        arguments: for that.
        descriptors: for that: what it inherits. A fork has all.

    Raises:
        OSError: no more processes, descriptors or memory.
    """
    if has_other_threads():
        return start(module, arguments, descriptors)
    # A signal that came to the child first would run the handler that this process has for it.
    before = pthread_sigmask(SIG_BLOCK, valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                body()
            finally:
                os._exit(1)
    finally:
        pthread_sigmask(SIG_SETMASK, before)
    return pid


def keep_to_itself(descriptors: Sequence[int]) -> None:
    """Make what has been inherited close-on-exec again, in the fresh interpreter."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the call takes it so

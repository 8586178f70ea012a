"""The built-in module behind `signal`: the same names without the enums, whose import costs 4 ms.

Names of every system are declared for all: what uses them is checked for that system only.
"""

from collections.abc import Callable, Iterable
from types import FrameType
from typing import TypeAlias

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None

SIG_DFL: int
SIG_IGN: int
SIGABRT: int
SIGALRM: int
SIGBREAK: int
SIGCHLD: int
SIGCONT: int
SIGHUP: int
SIGINT: int
SIGKILL: int
SIGPIPE: int
SIGQUIT: int
SIGSTOP: int
SIGTERM: int
SIGTSTP: int
SIGTTIN: int
SIGTTOU: int
SIGUSR1: int
SIGUSR2: int
SIGWINCH: int
SIGXFSZ: int
SIG_BLOCK: int
SIG_UNBLOCK: int
SIG_SETMASK: int

def default_int_handler(signalnum: int, frame: FrameType | None, /) -> None: ...
def getsignal(signalnum: int, /) -> _Handler: ...
def pthread_sigmask(how: int, mask: Iterable[int], /) -> set[int]: ...
def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int: ...
def signal(signalnum: int, handler: _Handler, /) -> _Handler: ...
def sigpending() -> set[int]: ...
def sigwait(sigset: Iterable[int], /) -> int: ...
def valid_signals() -> set[int]: ...

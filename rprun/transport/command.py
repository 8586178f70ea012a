"""A forked child becomes the command, exactly as execvp(3) in the user's own shell would have made it.

Some facts about that, each of which a Python runner gets wrong by default:

- CPython ignores SIGPIPE and SIGXFSZ and catches SIGINT in itself; ignored signals survive exec(2).
- A handler that is still installed when the signal mask is lifted runs in the child, between fork and exec;
  so the dispositions are reset while everything is still blocked.
- `os.execvp` searches the parent's PATH before the child's directory is set, and refuses scripts without `#!`.
- CPython adds LC_CTYPE to the environment in the C locale (PEP 538), which the command must not see.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from _signal import SIG_DFL, SIG_IGN, SIG_SETMASK, SIGCHLD, SIGPIPE, SIGXFSZ, pthread_sigmask, signal
from errno import EACCES, EBADF, EINVAL, ENODEV, ENOENT, ENOEXEC, ENOTDIR, ESTALE, ETIMEDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import NoReturn

SHELL = b"/bin/sh"
# confstr(_CS_PATH): what execvp(3) searches when PATH is not set at all.
DEFAULT_PATH = b"/bin:/usr/bin"
# execvp(3) goes on to the next directory after these and gives up after any other.
_KEEP_LOOKING = frozenset((EACCES, ENOENT, ESTALE, ENOTDIR, ENODEV, ETIMEDOUT))

# Descriptors that are looked at one by one where there is no list of them: takes some milliseconds.
_MOST = 4096


class Launch:
    """Everything a child needs to become the command; plain values, so that it can cross a pipe.

    Attributes:
        argv: the command and its arguments as bytes.
        cwd: directory to change to first, or None.
        env: the whole environment, or None for the one of this process, untouched by Python's own copy of it.
        env_set, env_unset: changes to the environment of this process when `env` is None.
        stdio: for 0, 1 and 2 the descriptor to put there, or -1 to leave what is there.
        tty: descriptor of the PTY end that becomes the controlling terminal, or -1 for no session of its own.
        foreground: the command starts in the foreground of that terminal.
        mask: signals that were blocked when rprun started.
        ignored: signals that were ignored when rprun started.
        caught: signals that rprun has handlers for.
        subreaper: orphaned descendants are to become the monitor's children.
        channel: descriptor of a Unix socket to send the listener of a seccomp filter to (see `rprun.linux.listener`),
            or -1 for no filter.
        traps, nonzero: what the filter is about.
        token: what eBPF programs know the command by (see `rprun.linux.token`), or 0.
    """

    __slots__ = (
        "argv",
        "caught",
        "channel",
        "cwd",
        "env",
        "env_set",
        "env_unset",
        "foreground",
        "ignored",
        "mask",
        "nonzero",
        "stdio",
        "subreaper",
        "token",
        "traps",
        "tty",
    )

    def __init__(
        self,
        argv: Sequence[bytes],
        *,
        stdio: tuple[int, int, int] = (-1, -1, -1),
        tty: int = -1,
        foreground: bool = True,
        cwd: bytes | None = None,
        env: Mapping[bytes, bytes] | None = None,
        env_set: Sequence[tuple[bytes, bytes]] = (),
        env_unset: Sequence[bytes] = (),
        mask: Sequence[int] = (),
        ignored: Sequence[int] = (),
        caught: Sequence[int] = (),
        subreaper: bool = False,
        channel: int = -1,
        traps: Mapping[int, Collection[int]] | None = None,
        nonzero: Mapping[tuple[int, int], int] | None = None,
        token: int = 0,
    ) -> None:
        self.argv = list(argv)
        self.stdio = stdio
        self.tty = tty
        self.foreground = foreground
        self.cwd = cwd
        self.env = env
        self.env_set = list(env_set)
        self.env_unset = list(env_unset)
        self.mask = list(mask)
        self.ignored = list(ignored)
        self.caught = list(caught)
        self.subreaper = subreaper
        self.channel = channel
        self.traps = traps or {}
        self.nonzero = nonzero or {}
        self.token = token


def become(launch: Launch) -> NoReturn:
    """Replace this forked child by the command.

    Raises:
        ChildFailed: with the step that failed and its errno; there is nothing left to do but to report it.
    """
    step = "start"
    try:
        if launch.tty >= 0:
            # A process group of its own, as a shell with job control would give it; the monitor stays in another
            # group of the same session, which is what keeps the command's group from being an orphaned one.
            os.setpgid(0, 0)
            if launch.foreground:
                # Every signal is blocked here, so SIGTTOU cannot stop a background process that does this.
                os.tcsetpgrp(launch.tty, os.getpid())
        for number, descriptor in enumerate(launch.stdio):
            if descriptor >= 0:
                os.dup2(descriptor, number)
        if launch.cwd is not None:
            step = "cwd"
            os.chdir(launch.cwd)
        step = "start"
        for name in launch.env_unset:
            os.unsetenv(name)
        for name, value in launch.env_set:
            os.putenv(name, value)
        for number in (SIGPIPE, SIGXFSZ, *launch.caught):
            signal(number, SIG_DFL)
        if SIGCHLD in launch.ignored:
            signal(SIGCHLD, SIG_IGN)
        pthread_sigmask(SIG_SETMASK, launch.mask)
        step = "observe"
        _be_observed(launch)
        step = "exec"
        _execute(launch)
    except OSError as error:
        raise ChildFailed(step, error.errno or EINVAL) from error
    except ValueError as error:
        # os.exec* refuses NUL bytes, which cannot come from a command line but can from the API.
        raise ChildFailed(step, EINVAL) from error


class ChildFailed(Exception):
    """A step between fork and exec failed.

    Attributes:
        step: `start`, `cwd`, `observe` or `exec`.
        errno: the kernel's answer.
    """

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(step, errno)
        self.step = step
        self.errno = errno


def _be_observed(launch: Launch) -> None:
    """Have this process seen; as late as can be: what it does from here on is the command's, or waits for an answer."""
    if sys.platform == "linux" and launch.token:
        from rprun.linux import token

        token.tell(launch.token)
    if sys.platform == "linux" and launch.channel >= 0:
        from rprun.linux.listener import install_and_send

        install_and_send(launch.channel, launch.traps, launch.nonzero)


def _execute(launch: Launch) -> NoReturn:
    argv = launch.argv
    name = argv[0]
    if not name:
        raise OSError(ENOENT, "empty command name")
    denied = False
    for path in candidates(name, _path_of(launch)):
        try:
            _execute_file(path, argv, launch.env)
        except OSError as error:
            if error.errno == ENOEXEC:
                # What execvp(3) and every shell do with a script that has no `#!` line.
                _execute_file(SHELL, [SHELL, path, *argv[1:]], launch.env)
            denied = denied or error.errno == EACCES
            if b"/" in name or error.errno not in _KEEP_LOOKING:
                raise
    raise OSError(EACCES if denied else ENOENT, "not found")


def _execute_file(path: bytes, argv: list[bytes], env: Mapping[bytes, bytes] | None) -> NoReturn:
    if env is None:
        # execv passes the environment block as it is: order, duplicates and entries without `=` included.
        os.execv(path, argv)
    os.execve(path, argv, env)


def _path_of(launch: Launch) -> bytes:
    if launch.env is not None:
        return launch.env.get(b"PATH", DEFAULT_PATH)
    for name, value in reversed(launch.env_set):
        if name == b"PATH":
            return value
    if b"PATH" in launch.env_unset:
        return DEFAULT_PATH
    return os.environb.get(b"PATH", DEFAULT_PATH)


def candidates(name: bytes, path: bytes) -> list[bytes]:
    """Return the files that execvp(3) would try for `name`, in order; an empty entry of PATH is the directory itself.

    The directories stay relative when they are: they are looked up from the command's own directory.
    """
    if b"/" in name:
        return [name]
    return [directory + b"/" + name if directory else b"./" + name for directory in path.split(b":")]


def undo_locale_coercion() -> tuple[bytes | None, bool]:
    """Return the caller's LC_CTYPE where CPython has put another in its place (PEP 538), and whether it has.

    The kernel keeps the block that exec(2) was given at /proc/self/environ (proc_pid_environ(5)); elsewhere psutil gets
    it from there. Where it cannot be read the variable is taken for the caller's.
    """
    if os.environ.get("LC_CTYPE") not in ("C.UTF-8", "C.utf8", "UTF-8") or "LC_ALL" in os.environ:
        return None, False
    try:
        if sys.platform == "linux":
            with open("/proc/self/environ", "rb") as stream:
                block = stream.read()
        else:
            block = _environment_elsewhere()
    except OSError:
        return None, False
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if name == b"LC_CTYPE" and equals:
            return value, value != os.environb.get(b"LC_CTYPE")
    return None, True


def _environment_elsewhere() -> bytes:
    # Dear to import, and needed only where the variable has one of three values.
    import psutil

    try:
        variables = psutil.Process().environ()
    except psutil.Error as error:
        raise OSError(EINVAL, "the environment cannot be read") from error
    return b"\0".join(os.fsencode(f"{name}={value}") for name, value in variables.items())


def open_descriptors() -> list[int]:
    """Return this process's descriptors; that of the listing itself may be among them, and is closed by now.

    A list that is complete is at /proc/self/fd on Linux and at /dev/fd on macOS; the latter has no more than the first
    three on FreeBSD, unless another file system is mounted there. Without one all numbers up to a limit are looked at.
    """
    place = {"linux": "/proc/self/fd", "darwin": "/dev/fd"}.get(sys.platform)
    if place is not None:
        try:
            return [int(name) for name in os.listdir(place)]
        except OSError:
            pass
    limit = os.sysconf("SC_OPEN_MAX")
    return [number for number in range(min(limit, _MOST) if limit > 0 else _MOST) if _is_descriptor(number)]


def _is_descriptor(number: int) -> bool:
    """Tell whether `number` is an open descriptor of this process."""
    try:
        os.fstat(number)
    except OSError as error:
        if error.errno == EBADF:
            return False
        raise
    return True

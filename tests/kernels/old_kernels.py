"""What older kernels do not have, and rprun on one of them: a run must come out as anywhere, or say what is missing."""

from __future__ import annotations

import errno
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from running import PATIENCE, clean_environment, finish, rprun_argv

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_MACHINES = {"x86_64": 0, "aarch64": 1}
_CALLS = {
    "prctl": (157, 167),
    "ioctl": (16, 29),
    "seccomp": (317, 277),
    "getrandom": (318, 278),
    "memfd_create": (319, 279),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "copy_file_range": (326, 285),
    "statx": (332, 291),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "faccessat2": (439, 439),
    "epoll_pwait2": (441, 441),
}
PR_SET_CHILD_SUBREAPER, TIOCGPTPEER = 36, 0x5441
PIDFD_GET_INFO, PIDFD_THREAD = 0xC040FF0B, os.O_EXCL
SECCOMP_SET_MODE_FILTER, SECCOMP_GET_NOTIF_SIZES = 1, 3

_SINCE_5_9 = ("close_range", "faccessat2", "pidfd_getfd", "openat2", "epoll_pwait2")
_SINCE_5_1 = (*_SINCE_5_9, "pidfd_open", "pidfd_send_signal", "clone3", "io_uring_setup")
_SINCE_3_4 = (
    *_SINCE_5_1, "seccomp", "bpf", "getrandom", "memfd_create", "execveat", "copy_file_range", "statx"
)  # fmt: skip

KERNELS: dict[str, tuple[tuple[str, ...], tuple[tuple[int, str, int, int], ...]]] = {
    "5.4": (_SINCE_5_9, ()),
    "4.9": (
        _SINCE_5_1,
        (
            (errno.EINVAL, "seccomp", 0, SECCOMP_SET_MODE_FILTER),
            (errno.EINVAL, "seccomp", 0, SECCOMP_GET_NOTIF_SIZES),
            (errno.ENOTTY, "ioctl", 1, TIOCGPTPEER),
        ),
    ),
    "3.2": (
        _SINCE_3_4,
        (
            (errno.EINVAL, "prctl", 0, PR_SET_CHILD_SUBREAPER),
            (errno.ENOTTY, "ioctl", 1, TIOCGPTPEER),
        ),
    ),
}
"""Calls that are unknown, and calls that are for a certain argument. A kernel is called by a version without them."""

_SINCE_6_13 = ((errno.ENOTTY, "ioctl", 1, PIDFD_GET_INFO),)
OF_THREADS: dict[str, tuple[tuple[str, ...], tuple[tuple[int, str, int, int], ...]]] = {
    "6.12": ((), _SINCE_6_13),
    "6.8": ((), (*_SINCE_6_13, (errno.EINVAL, "pidfd_open", 1, PIDFD_THREAD))),
}
"""The same of kernels that lack only what tells a thread's process."""


def before(kernel: str) -> tuple[str, ...]:
    """Words before a command that is to find a kernel as it was then."""
    column = _MACHINES[os.uname().machine]
    unknown, partly = (KERNELS | OF_THREADS)[kernel]
    refused = [f"{errno.ENOSYS}:{_CALLS[name][column]}" for name in unknown]
    refused += [f"{error}:{_CALLS[name][column]}:{index}:{value}" for error, name, index, value in partly]
    return sys.executable, "-I", "-S", str(Path(__file__).with_name("older.py")), ",".join(refused)


def rprun_words() -> list[str]:
    """The words that start rprun, by its path."""
    return [shutil.which(rprun_argv()[0]) or rprun_argv()[0], *rprun_argv()[1:]]


def start_on(words: tuple[str, ...], *args: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start rprun behind some words, with pipes at stdout and stderr; to be used as a context manager."""
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": clean_environment()}
    settings |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*words, *rprun_words(), *args], **(settings | options))


def run_on(words: tuple[str, ...], *args: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run rprun behind some words to its end; its stdout and stderr as bytes."""
    data = options.pop("input", None)
    process = start_on(words, *args, **({"stdin": subprocess.PIPE} if data is not None else {}) | options)
    return finish(process, data)


def assert_no_other_copy(words: tuple[str, ...], *options: str) -> None:
    """Nobody but the command has a descriptor that rprun was given: once the command has closed it, its pipe ends."""
    read, write = os.pipe()
    try:
        # The command closes its copy and waits for its stdin: nobody else has the pipe then.
        command = ("bash", "-c", f"exec {write}>&-; cat")
        with start_on(words, *options, *command, stdin=subprocess.PIPE, pass_fds=(write,)) as process:
            os.close(write)
            write = -1
            assert select.select([read], [], [], PATIENCE)[0], "somebody keeps the pipe open"
            assert os.read(read, 1) == b""
            assert process.communicate() == (b"", b"")
        assert process.returncode == 0
    finally:
        for descriptor in (read, write):
            if descriptor >= 0:
                os.close(descriptor)

"""The command's descendants, wherever they have moved to, and signals to all of them.

As the monitor is a child subreaper, every descendant is below it in the process tree, daemons in sessions of their
own included; psutil walks that tree on every platform, and checks before each signal that the pid is still the
process that was seen. Imported only when a limit has run out or descendants are asked for: psutil costs 30 ms.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from errno import ENOENT

import psutil


def descendants(monitor: int) -> list[psutil.Process]:
    """Return the living processes below the monitor, parents first.

    Raises:
        OSError: processes cannot be listed here (on Linux: there is no /proc).
    """
    if psutil.LINUX and not os.path.isdir("/proc/self"):
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), "/proc")
    try:
        found = psutil.Process(monitor).children(recursive=True)
    except psutil.Error:
        return []
    return [process for process in found if _is_alive(process)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def signal_all(monitor: int, numbers: tuple[int, ...]) -> None:
    """Send the signals to every descendant, to children before a parent could start more of them as a reaction.

    One that is another user's (setuid) is out of reach, as it would be for the caller's own kill(1).
    """
    for process in descendants(monitor):
        for number in numbers:
            try:
                process.send_signal(number)
            except psutil.Error:
                break


def describe(monitor: int) -> list[tuple[int, str]]:
    """Return pid and name of every living descendant."""
    found = []
    for process in descendants(monitor):
        try:
            found.append((process.pid, process.name()))
        except psutil.Error:
            continue
    return found

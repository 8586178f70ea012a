"""In the place of `rprun.windows.console`: a terminal of this system is the console."""

from __future__ import annotations

import os
import signal
import termios
import tty
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import doors

if TYPE_CHECKING:
    from collections.abc import Callable

C_EVENT = 0
BREAK_EVENT = 1


def is_console(descriptor: int) -> bool:
    return os.isatty(descriptor)


def same_file(first: int, second: int) -> bool:
    try:
        return os.path.samestat(os.fstat(first), os.fstat(second))
    except OSError:
        return False


def standard_handles() -> tuple[int | None, ...]:
    return doors.standard_handles


def set_standard_handles(handles: tuple[int | None, ...]) -> None:
    doors.standard_handles = handles


def modes() -> list[tuple[int, Any]]:
    return [(descriptor, termios.tcgetattr(descriptor)) for descriptor in (0, 1, 2) if os.isatty(descriptor)]


def set_modes(saved: list[tuple[int, Any]]) -> None:
    for descriptor, mode in saved:
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)


def hand_over_keys() -> None:
    tty.setraw(0, termios.TCSANOW)


def is_raw(descriptor: int) -> bool:
    return os.isatty(descriptor) and not termios.tcgetattr(descriptor)[1] & termios.OPOST


def read_keys() -> str:
    try:
        return os.read(0, 4096).decode()
    except OSError:
        return ""


def write_text(descriptor: int, text: str) -> None:
    rest = text.encode()
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def break_group(pid: int) -> bool:
    try:
        os.killpg(pid, doors.BREAK)
    except ProcessLookupError:
        return False
    return True


def break_console_of(pid: int) -> None:
    session = os.getsid(pid)
    for each in doors.tree():
        with suppress(ProcessLookupError):
            if os.getsid(each) == session:
                os.kill(each, doors.BREAK)


class ConsoleEvents:
    """^C and ^Break come as signals here."""

    def __init__(self, on_event: Callable[[int], bool]) -> None:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT)}
        signal.signal(signal.SIGINT, lambda *_: on_event(C_EVENT) or os._exit(58))
        signal.signal(signal.SIGQUIT, lambda *_: on_event(BREAK_EVENT) or os._exit(58))

    def stop(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

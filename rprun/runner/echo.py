"""What a key press and its echo go through: one function, with hardly a call in it that is not a system call.

Everything but a plain key and a short piece of output is left to the handlers on the loop, which also know what to do
about errors. Only they can change how keys and output are to be treated, so that is asked again after each of them.

This module is on the path of every key.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

from os import read, write

from rprun.runner.loop import READ
from rprun.runner.pumps import BUSY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rprun.runner.keyboard import Keyboard
    from rprun.runner.loop import Loop
    from rprun.runner.terminal_pump import TerminalPump

# No more than a terminal gives at once.
_READ_SIZE = 4096
_LAST_CONTROL = b"\x1f"


def relay(loop: Loop, keyboard: Keyboard, pump: TerminalPump, done: Callable[[], bool]) -> None:
    """Run the loop until `done` says so, with a short cut between this keyboard and this screen."""
    while not done():
        keys, screen = keyboard.plain_fd(), pump.plain_fd()
        if keys >= 0 and screen >= 0 and loop.can_wait():
            loop.handle(_relay_plain(loop.wait, keyboard, keys, pump, screen))
        else:
            loop.turn()


def _relay_plain(  # noqa: C901, PLR0911, PLR0912 - each call saved here is a part of every echo's time
    wait: Callable[[], list[tuple[int, int]]], keyboard: Keyboard, keys: int, pump: TerminalPump, screen: int
) -> list[tuple[int, int]]:
    """Relay plain keys and short pieces of output; return what else has happened."""
    master = pump.source
    while True:
        ready = wait()
        if len(ready) != 1:
            return ready
        descriptor, event = ready[0]
        if event != READ:
            return ready
        if descriptor == keys:
            try:
                data = read(keys, _READ_SIZE)
            except OSError:
                return ready
            if len(data) != 1 or data <= _LAST_CONTROL:
                # At the end of file, the handler reads that again.
                if not data:
                    return ready
                keyboard.relay(data)
                return []
            try:
                write(master, data)
            except OSError:
                keyboard.relay(data)
                return []
        elif descriptor == master:
            try:
                data = read(master, _READ_SIZE)
            except OSError:
                return ready
            try:
                written = write(screen, data)
            except OSError:
                written = 0
            if written != len(data) or written >= BUSY or not data:
                if written != len(data):
                    pump.carry(data[written:])
                # There may be more: the edge was used up by the read above.
                return ready
        else:
            return ready

"""What a PTY shows, on its way to the user's terminal, while the command changes how its own one ends lines."""

from __future__ import annotations

import os
import termios
from typing import TYPE_CHECKING

import pytest

from rprun.runner.loop import Loop
from rprun.runner.terminal_pump import TerminalPump
from rprun.transport.pty import OFLAG, Pty

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pump() -> Iterator[TerminalPump]:
    """A pump between a command's terminal and a user's that ends lines itself."""
    master, slave = os.openpty()
    pty = Pty((80, 24), termios.tcgetattr(slave))
    loop = Loop()
    made = TerminalPump(loop, pty, "stdout", None, None, lambda _pump, _error: None)
    made.cooked = slave
    yield made
    loop.close()
    pty.close()
    os.close(master)
    os.close(slave)


def test_changed_in_the_middle_of_a_look(pump: TerminalPump) -> None:
    """The user's terminal follows before a chunk is shown, also if the change comes behind the first look for one."""
    pty = pump.pty
    looks: list[bool] = []

    def look() -> None:
        looks.append(pump.shows_otherwise())
        if looks[-1]:
            pump.cooked = -1  # As the job does, which takes the user's terminal.
            return
        changed = pty.attributes()
        changed[OFLAG] &= ~termios.OPOST
        pty.set_attributes(changed)

    pump.on_chunk = look
    os.write(pty.slave, b"x\n")
    assert pump.read() == b"x\r\n"
    assert looks == [False, True]
    os.write(pty.slave, b"y\n")
    assert pump.read() == b"y\n"


def test_unchanged(pump: TerminalPump) -> None:
    """What the line discipline of the command's terminal has added is taken away where the user's adds it again."""
    looks: list[bool] = []
    pump.on_chunk = lambda: looks.append(pump.shows_otherwise())
    os.write(pump.pty.slave, b"x\ny\r\n")
    assert pump.read() == b"x\ny\r\n"
    assert looks == [False]

"""The monitor as a fresh interpreter, for programs that have threads and must not fork Python code.

The launch crosses a pipe with `marshal`, which is built in: both ends are the same interpreter.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import marshal
from _signal import SIG_DFL, SIGINT, default_int_handler, getsignal, signal

from rprun import interpreter
from rprun.transport.command import Launch
from rprun.transport.monitor import block_all_signals, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def start(launch: Launch, control: int, reports: int, source: int) -> int:
    """Start the monitor; return its pid.

    Args:
        launch: the command.
        control: where the monitor reads its orders.
        reports: where it writes its reports.
        source: where it reads the launch, as `send` writes it.

    Raises:
        OSError: no more processes or descriptors.
    """
    passed = [source, control, reports, *(fd for fd in (*launch.stdio, launch.tty, launch.channel) if fd >= 0)]
    return interpreter.start(__name__, [str(number) for number in (source, control, reports)], passed)


def send(launch: Launch, destination: int) -> None:
    """Write the launch to a pipe that the monitor reads, and close it; a monitor that is gone does not get it."""
    try:
        with open(destination, "wb") as stream:
            marshal.dump({name: getattr(launch, name) for name in Launch.__slots__}, stream)
    except BrokenPipeError:
        # Its report pipe will tell.
        pass


def main(arguments: Sequence[str]) -> None:
    """Be the monitor: read the launch and serve. Called in the fresh interpreter only."""
    source, control, reports = map(int, arguments)
    mask = block_all_signals()
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, SIG_DFL)
    with open(source, "rb") as stream:
        values = marshal.load(stream)  # noqa: S302 - written by our own parent
    values["mask"] = list(mask)
    launch = Launch(values.pop("argv"), **values)
    # Only 0, 1 and 2 are the command's; these crossed the exec for the monitor's own use.
    crossed = (control, reports, *launch.stdio, launch.tty, launch.channel)
    interpreter.keep_to_itself([descriptor for descriptor in crossed if descriptor > 2])
    serve(launch, control, reports)

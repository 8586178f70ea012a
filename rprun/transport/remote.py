"""The monitor as a fresh interpreter, for programs that have threads and must not fork Python code.

The launch crosses a pipe with `marshal`, which is built in: both ends are the same interpreter.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import marshal
import os
import subprocess
from _signal import SIG_DFL, SIGINT, default_int_handler, getsignal, signal

from rprun.transport.command import Launch
from rprun.transport.monitor import block_all_signals, serve

# -I and -S: nothing of the caller's Python settings or site packages reaches this interpreter.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from rprun.transport.remote import main; main()"


def start(launch: Launch) -> tuple[int, int, int]:
    """Start the monitor; return its pid and this side's control and report descriptors.

    Raises:
        OSError: no more processes or descriptors.
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    pipes = [os.pipe() for _ in range(3)]
    (launch_read, launch_write), (control_read, control_write), (reports_read, reports_write) = pipes
    passed = [
        launch_read,
        control_read,
        reports_write,
        *(fd for fd in (*launch.stdio, launch.tty, launch.channel) if fd >= 0),
    ]
    arguments = [str(number) for number in (launch_read, control_read, reports_write)]
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, root, *arguments], pass_fds=passed, close_fds=True
        )
    except BaseException:
        for pair in pipes:
            os.close(pair[0])
            os.close(pair[1])
        raise
    for descriptor in (launch_read, control_read, reports_write):
        os.close(descriptor)
    with open(launch_write, "wb") as stream:
        marshal.dump({name: getattr(launch, name) for name in Launch.__slots__}, stream)
    # Popen would warn about a child that nobody waited for; the monitor's handle does that.
    process.returncode = 0
    return process.pid, control_write, reports_read


def main() -> None:
    """Be the monitor: read the launch and serve. Called in the fresh interpreter only."""
    launch_read, control, reports = (int(argument) for argument in sys.argv[2:5])
    mask = block_all_signals()
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, SIG_DFL)
    with open(launch_read, "rb") as stream:
        values = marshal.load(stream)  # noqa: S302 - written by our own parent
    values["mask"] = list(mask)
    launch = Launch(values.pop("argv"), **values)
    # Only 0, 1 and 2 are the command's; these crossed the exec for the monitor's own use.
    for descriptor in (control, reports, *launch.stdio, launch.tty, launch.channel):
        if descriptor > 2:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - the call takes it so
    serve(launch, control, reports)

"""A run from the command line on Windows: options in, exit status out."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import os

from rprun.errors import RprunError
from rprun.runner.process import Process
from rprun.runner.windows.signals import Signals
from rprun.transport.windows.command_line import tail
from rprun.transport.windows.streams import survey
from rprun.windows.environment import command_line

if TYPE_CHECKING:
    from rprun.runner.options import RunOptions
    from rprun.runner.windows.events import EventOutput

LIMIT_STATUS = 124


def run(options: RunOptions) -> int:
    """Run what the options say; return rprun's exit status.

    Raises:
        RprunError: rprun itself failed; the error knows the exit status.
    """
    process = Process(
        options.argv or (os.environ.get("COMSPEC") or "cmd.exe",),
        transport=options.transport,
        split_stderr=options.split_stderr,
        cwd=options.cwd,
        size=options.size,
        timeout=options.timeout,
        idle_timeout=options.idle_timeout,
        stop_signal=options.signal,
        kill_after=options.kill_after,
        orphans=options.orphans,
        drain=options.drain,
    )
    process.change_environment(set_to=options.env, unset=options.env_unset)
    process.run.launch.line = tail(command_line(), options.argv)
    process.run.launch.share_handles = True
    events = _open_events(options, process)
    signals = Signals()
    try:
        process.run_here(rows=survey(), signals=signals)
    finally:
        signals.restore()
        if events is not None:
            events.finish()
    return _conclude(process)


def _open_events(options: RunOptions, process: Process) -> EventOutput | None:
    if not options.observe and not options.require:
        return None
    from rprun.runner.windows.events import open_events

    return open_events(options, process)


def _conclude(process: Process) -> int:
    if process.failure is not None:
        raise process.failure
    if process.limit:
        return LIMIT_STATUS
    code = process.returncode
    if code is None:
        raise RprunError("the run ended without a status (please report this)")
    # The same 32 bits as what C calls an int, which is what Python hands to the system.
    return code - (1 << 32) if code >= 1 << 31 else code

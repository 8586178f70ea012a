"""A run from the command line: options in, exit status out.

This module is on the start-up path.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
from errno import EBADF

from rprun.errors import RprunError
from rprun.runner.process import Process
from rprun.runner.signals import Signals
from rprun.transport import streams
from rprun.transport.command import open_descriptors, undo_locale_coercion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.runner.events import EventOutput
    from rprun.runner.options import RunOptions

LIMIT_STATUS = 124


def run(options: RunOptions) -> int:
    """Run what the options say; return rprun's exit status, or die of the signal that the command died of.

    Raises:
        RprunError: rprun itself failed; the error knows the exit status.
    """
    # Held here too, a pipe among them would not end when the command is done with it.
    to_close = _inherited(options.events)
    rows = streams.survey()
    signals = Signals()
    process = _process_of(options)
    events = _open_events(options, process)
    try:
        process.run_here(rows=rows, signals=signals, to_close=to_close)
    finally:
        signals.restore()
        if events is not None:
            events.finish()
    return _conclude(process)


def _process_of(options: RunOptions) -> Process:
    process = Process(
        options.argv or (os.environ.get("SHELL") or "/bin/sh",),
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
    lc_ctype, coerced = undo_locale_coercion()
    unset, set_to = options.env_unset, options.env
    if coerced and lc_ctype is None:
        unset = ("LC_CTYPE", *unset)
    elif coerced and lc_ctype is not None and "LC_CTYPE" not in unset:
        set_to = (("LC_CTYPE", os.fsdecode(lc_ctype)), *set_to)
    process.change_environment(set_to=set_to, unset=unset)
    return process


def _open_events(options: RunOptions, process: Process) -> EventOutput | None:
    if not options.observe and not options.require:
        return None
    from rprun.runner.events import open_events

    return open_events(options, process)


def _inherited(kept: str) -> list[int]:
    """Return the descriptors from 3 on that this process was given, without the one that events go to."""
    # What is close-on-exec cannot have been inherited: it is of rprun's own making.
    return [number for number in open_descriptors() if number > 2 and kept != f"fd:{number}" and _is_inherited(number)]


def _is_inherited(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError as error:
        if error.errno == EBADF:
            # The listing's own, or that of a thread that gets the observation ready: closed since.
            return False
        raise


def _conclude(process: Process) -> int:
    if process.failure is not None:
        raise process.failure
    if process.limit:
        return LIMIT_STATUS
    code = process.returncode
    if code is None:
        raise RprunError("the run ended without a status (please report this)")
    if code >= 0:
        return code
    from rprun.runner.death import die_of

    die_of(-code)
    return 128 - code

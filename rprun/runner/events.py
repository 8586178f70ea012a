"""The events of a run from the command line: from the emitter to the destination, beside the command's own output.

Imported only when events are asked for.

Where events and the command's output share a destination they must not cut each other's lines. So an event waits
while a chunk of output is half written, starts on a line of its own, and output waits while a line of an event is
half written. Sharing is a matter of the file behind a descriptor (st_dev, st_ino), not of its number.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os

from rprun.observe._destination import complain
from rprun.observe.backlog import Backlog
from rprun.observe.capabilities import ObserverCapabilities
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import BOUND, Emitter
from rprun.observe.sinks import Sink, open_sink
from rprun.runner.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.runner.options import RunOptions
    from rprun.runner.process import Process
    from rprun.runner.pumps import Pump


class EventOutput:
    """Joins an emitter to a sink on a process's loop."""

    def __init__(self, process: Process, emitter: Emitter, sink: Sink) -> None:
        self._process = process
        self._sink = sink
        self._subscriber = emitter.subscribe()
        self._subscriber.takes_batches = True
        # Said at the end, when the terminal is the user's again; each once.
        self._warnings: dict[str, None] = {}
        emitter.on_warning = self._warnings.setdefault
        # While a chunk of output is half written. Twice what can come at once, so that little is lost meanwhile.
        self._waiting = Backlog(2 * BOUND)
        self._holding: list[Pump] = []
        self._watched = -1
        status = os.fstat(sink.fileno())
        process.run.observe(emitter, destination=(status.st_dev, status.st_ino), settle=self.settle)
        self._identity = (status.st_dev, status.st_ino)
        process.run.loop.watch(self._subscriber.fileno(), READ, self._on_events)

    def _on_events(self, _event: int) -> None:
        self.settle()

    def _sharing(self) -> list[Pump]:
        return [
            pump
            for pump in self._process.run.pumps
            if pump.output is not None and pump.output.stream.identity == self._identity
        ]

    def settle(self) -> None:
        """Write what can be written now; to be called after each turn of the loop."""
        self._waiting.put_all(self._subscriber.take_all())
        if not len(self._waiting) and not self._holding and self._watched < 0:
            return
        self._write(self._sharing())

    def _write(self, sharing: list[Pump]) -> None:
        sink = self._sink
        if any(pump.waits() for pump in sharing):
            return
        sink.at_line_start = all(pump.output.at_line_start for pump in sharing if pump.output is not None)
        sink.on_writable()
        sink.put_all(self._waiting.take_all())
        if sink.at_line_start:
            for pump in sharing:
                if pump.output is not None:
                    pump.output.at_line_start = True
        self._hold(sharing if sink.in_line else [])
        self._watch()

    def _hold(self, pumps: list[Pump]) -> None:
        """Keep output back while a line of an event is half written."""
        for pump in self._holding:
            if pump not in pumps and not pump.ended and not pump.waits():
                pump.watch()
        for pump in pumps:
            self._process.run.loop.forget(pump.source)
        self._holding = pumps

    def _watch(self) -> None:
        loop = self._process.run.loop
        if self._watched >= 0:
            loop.forget(self._watched)
            os.close(self._watched)
            self._watched = -1
        if self._sink.wants_write() and self._sink.fileno() >= 0:
            # A descriptor of its own: a pump may be watching the same one for reasons of its own.
            self._watched = os.dup(self._sink.fileno())
            loop.watch(self._watched, WRITE, self._on_writable)

    def _on_writable(self, _event: int) -> None:
        self.settle()

    def finish(self) -> None:
        """Write the last events; what the destination does not take in time is counted on stderr."""
        loop = self._process.run.loop
        loop.forget(self._subscriber.fileno())
        self._waiting.put_all(self._subscriber.take_all())
        self._write(self._sharing())
        if self._watched >= 0:
            loop.forget(self._watched)
            os.close(self._watched)
            self._watched = -1
        self._sink.finish()
        self._subscriber.close()
        for message in self._warnings:
            complain(f"rprun: warning: {message}")


def open_events(options: RunOptions, process: Process) -> EventOutput | None:
    """Check what is required, open where the events go, and join the two.

    Raises:
        RprunError: a required category is not observable here, or the destination cannot be opened.
    """
    if options.require:
        ObserverCapabilities.negotiate(dict(options.backends)).require(options.require)
    if not options.observe:
        return None
    emitter = Emitter(ObserverConfig.with_categories(options.observe, dict(options.backends)))
    return EventOutput(process, emitter, open_sink(options.events, options.json))

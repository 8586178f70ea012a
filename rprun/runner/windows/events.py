"""The events of a run from the command line on Windows: a thread takes them from the emitter and writes them.

What a reader does not take in time waits in the subscriber's bounded queue and is counted as lost beyond that: a write
that waits holds up this thread, and neither the run nor the command. Imported only when events are asked for.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import threading

from rprun.observe._destination import complain
from rprun.observe.capabilities import ObserverCapabilities
from rprun.observe.config import ObserverConfig
from rprun.observe.emitter import Emitter
from rprun.observe.sinks import FINISH_SECONDS, Sink, open_sink
from rprun.runner.windows.pumps import Place
from rprun.transport.streams import FILE, TTY, Stream
from rprun.windows import console

if TYPE_CHECKING:
    from rprun.runner.options import RunOptions
    from rprun.runner.process import Process


class EventOutput:
    """Joins an emitter to a sink."""

    def __init__(self, process: Process, emitter: Emitter, sink: Sink, name: str) -> None:
        self._sink = sink
        self._name = name
        self._subscriber = emitter.subscribe()
        # Said at the end; each once.
        self._warnings: dict[str, None] = {}
        emitter.on_warning = self._warnings.setdefault
        self._place = Place()
        descriptor = sink.fileno()
        kind = TTY if console.is_console(descriptor) else FILE
        process.run.observe(emitter, destination=(Stream(descriptor, kind), self._place))
        self._thread = threading.Thread(target=self._write, name="rprun-events", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        for event in self._subscriber:
            with self._place.lock:
                self._sink.at_line_start = self._place.at_line_start
                self._sink.put(event)
                self._place.at_line_start = self._sink.at_line_start

    def finish(self) -> None:
        """Have the last events written; what the destination does not take in time is counted on stderr."""
        self._thread.join(FINISH_SECONDS)
        if self._thread.is_alive():
            # The one that is being written, and those behind it.
            count = 1 + len(self._subscriber.drain())
            events = "1 event" if count == 1 else f"{count} events"
            complain(f"rprun: events: {events} not written to {self._name}: nobody reads it (read it, or give a file)")
        else:
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
    name = "standard error" if options.events == "-" else options.events
    return EventOutput(process, emitter, open_sink(options.events, options.json), name)

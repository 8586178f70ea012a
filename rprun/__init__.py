"""Run a command untouched, in a terminal or on pipes, and say truthfully what it did.

    import rprun

    process = rprun.run(["make", "-j2"], transport="pty", output=rprun.CAPTURE)
    process.returncode, process.stdout

    config = rprun.ObserverConfig.lifecycle()
    process, events = rprun.Process.with_observer(["make"], config)
    with process:
        for event in events:
            print(event.to_json())

Names are imported when they are first used: `import rprun` alone costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.errors import NotExecutable, NotFound, RprunError, UsageError
    from rprun.observe.capabilities import CategoryCapability, ObserverCapabilities
    from rprun.observe.categories import CapabilitySupport, EventCategory
    from rprun.observe.config import ObserverConfig
    from rprun.observe.events import ObserverEvent
    from rprun.observe.kinds import ObserverEventKind
    from rprun.observe.subscriber import ObserverSubscriber
    from rprun.runner.process import CAPTURE, Process, run

__all__ = [
    "CAPTURE",
    "CapabilitySupport",
    "CategoryCapability",
    "EventCategory",
    "NotExecutable",
    "NotFound",
    "ObserverCapabilities",
    "ObserverConfig",
    "ObserverEvent",
    "ObserverEventKind",
    "ObserverSubscriber",
    "Process",
    "RprunError",
    "UsageError",
    "run",
]

# Where each public name lives.
_HOMES = {
    "CAPTURE": "rprun.runner.process",
    "CapabilitySupport": "rprun.observe.categories",
    "CategoryCapability": "rprun.observe.capabilities",
    "EventCategory": "rprun.observe.categories",
    "NotExecutable": "rprun.errors",
    "NotFound": "rprun.errors",
    "ObserverCapabilities": "rprun.observe.capabilities",
    "ObserverConfig": "rprun.observe.config",
    "ObserverEvent": "rprun.observe.events",
    "ObserverEventKind": "rprun.observe.kinds",
    "ObserverSubscriber": "rprun.observe.subscriber",
    "Process": "rprun.runner.process",
    "RprunError": "rprun.errors",
    "UsageError": "rprun.errors",
    "run": "rprun.runner.process",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'rprun' has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(home), name)
    # The next use finds it without coming here.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

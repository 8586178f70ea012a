"""One frozen object says what one run is to do; everything below the command line reads only this.

It is on the start-up path: a class with slots, because `dataclasses` costs 20 ms to import.
"""

from __future__ import annotations

SIGTERM = 15


class RunOptions:
    """What was asked for, checked and in the units the run works in.

    Attributes:
        argv: the command and its arguments, as `sys.argv` gives them (undecodable bytes are surrogates);
            empty runs `$SHELL`.
        transport: `auto` (per stream), `pty` or `pipe`.
        split_stderr: give stderr a second PTY.
        size: columns and rows of the PTY; None takes the terminal's.
        observe: category names in the order asked for, without repeats.
        json: events as JSON lines instead of readable ones.
        events: `-` (stderr), a file name, or `fd:N`.
        require: (category, least support) pairs.
        backends: (category, backend's name) pairs: what is to observe it instead of the best there is.
        timeout: seconds the command may take in all.
        idle_timeout: seconds it may pass without output or input.
        signal: number of the first signal of the stop ladder.
        kill_after: seconds between that signal and SIGKILL.
        orphans: `leave`, `report`, `wait` or `kill`.
        drain: seconds to read a PTY that a descendant still holds after the command has ended; may be infinite.
        cwd: the command's working directory.
        env: (name, value) pairs to set, after `env_unset` has been applied.
        env_unset: names to remove.
    """

    __slots__ = (
        "argv",
        "backends",
        "cwd",
        "drain",
        "env",
        "env_unset",
        "events",
        "idle_timeout",
        "json",
        "kill_after",
        "observe",
        "orphans",
        "require",
        "signal",
        "size",
        "split_stderr",
        "timeout",
        "transport",
    )

    argv: tuple[str, ...]
    transport: str
    split_stderr: bool
    size: tuple[int, int] | None
    observe: tuple[str, ...]
    json: bool
    events: str
    require: tuple[tuple[str, str], ...]
    backends: tuple[tuple[str, str], ...]
    timeout: float | None
    idle_timeout: float | None
    signal: int
    kill_after: float
    orphans: str
    drain: float
    cwd: str | None
    env: tuple[tuple[str, str], ...]
    env_unset: tuple[str, ...]

    def __init__(
        self,
        *,
        argv: tuple[str, ...] = (),
        transport: str = "auto",
        split_stderr: bool = False,
        size: tuple[int, int] | None = None,
        observe: tuple[str, ...] = (),
        json: bool = False,
        events: str = "-",
        require: tuple[tuple[str, str], ...] = (),
        backends: tuple[tuple[str, str], ...] = (),
        timeout: float | None = None,
        idle_timeout: float | None = None,
        signal: int = SIGTERM,
        kill_after: float = 5.0,
        orphans: str = "leave",
        drain: float = 1.0,
        cwd: str | None = None,
        env: tuple[tuple[str, str], ...] = (),
        env_unset: tuple[str, ...] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "argv", argv)
        put(self, "transport", transport)
        put(self, "split_stderr", split_stderr)
        put(self, "size", size)
        put(self, "observe", observe)
        put(self, "json", json)
        put(self, "events", events)
        put(self, "require", require)
        put(self, "backends", backends)
        put(self, "timeout", timeout)
        put(self, "idle_timeout", idle_timeout)
        put(self, "signal", signal)
        put(self, "kill_after", kill_after)
        put(self, "orphans", orphans)
        put(self, "drain", drain)
        put(self, "cwd", cwd)
        put(self, "env", env)
        put(self, "env_unset", env_unset)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"RunOptions is frozen: cannot set {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunOptions):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__slots__))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"RunOptions({fields})"

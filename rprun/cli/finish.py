"""What either parser collected becomes `RunOptions` here and nowhere else, so that the two cannot differ.

On the start-up path; `values` is imported only when an option brought a value.
"""

from __future__ import annotations

from rprun.errors import UsageError
from rprun.runner.options import RunOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Raw = Mapping[str, object]


def finish(raw: Raw, argv: tuple[str, ...] = ()) -> RunOptions:
    """The options of one run.

    Args:
        raw: by destination, True for a flag, the text of an option, the list of texts of one that accumulates.
            What was not given may be absent, False, None or empty.
        argv: the command, untouched.

    Raises:
        UsageError: a value makes no sense, or two options contradict each other.
    """
    # An empty text is a value, and a wrong one; what was not given is one of these.
    given = {dest: value for dest, value in raw.items() if value not in (None, False, [], ())}
    pty, pipe = given.pop("pty", False), given.pop("pipe", False)
    split, json = bool(given.pop("split_stderr", False)), bool(given.pop("json", False))
    if pty and pipe:
        raise UsageError("--pty and --pipe: the command gets one or the other (try one of them)")
    if split and pipe:
        raise UsageError("--split-stderr with --pipe: pipes are apart already (try --pty)")
    fields = _values(given) if given else {}
    if (json or "events" in fields) and "observe" not in fields:
        fields["observe"] = ("lifecycle",)
    return RunOptions(
        argv=argv,
        transport="pty" if pty else "pipe" if pipe else "auto",
        split_stderr=split,
        json=json,
        **fields,  # type: ignore[arg-type]
    )


def _values(given: Raw) -> dict[str, object]:
    """The fields of `RunOptions` that the given texts stand for."""
    from rprun.cli import values

    one: dict[str, Callable[[str], object]] = {
        "size": values.size,
        "events": values.events,
        "timeout": values.limit,
        "idle_timeout": values.limit,
        "signal": values.signal,
        "kill_after": values.duration,
        "orphans": values.orphans,
        "drain": values.drain,
        "cwd": values.directory,
    }
    each: dict[str, Callable[[str], object]] = {"env": values.assignment, "env_unset": values.variable}
    together: dict[str, Callable[[list[str]], object]] = {
        "observe": values.categories,
        "require": values.requirements,
        "backends": values.backends,
    }
    fields: dict[str, object] = {}
    for dest, value in given.items():
        if dest in one:
            assert isinstance(value, str)
            fields[dest] = _named(dest, value, one[dest], value)
        else:
            assert isinstance(value, (list, tuple))
            if dest in each:
                fields[dest] = tuple(_named(dest, text, each[dest], text) for text in value)
            else:
                fields[dest] = _named(dest, ",".join(value), together[dest], list(value))
    return fields


def _named(dest: str, shown: str, parse: Callable[..., object], value: object) -> object:
    """What `parse` makes of the value; its complaint gets the option and the text put in front."""
    try:
        return parse(value)
    except UsageError as error:
        option = "backend" if dest == "backends" else dest.replace("_", "-")
        raise UsageError(f"--{option} {shown or repr(shown)}: {error}") from None


def with_argv(options: RunOptions, argv: tuple[str, ...]) -> RunOptions:
    """The same options for this command."""
    return RunOptions(**{name: getattr(options, name) for name in RunOptions.__slots__} | {"argv": argv})

"""Every value an option takes is read here, by one function each, for both parsers.

A parser takes the text as typed and returns the value in the units of `RunOptions`, or raises
`UsageError` with `why (what to try)`; `finish` puts the option and the text in front.

This module is on the start-up path: no `re`, no `enum`, and `_signal` instead of `signal` (which
builds four enums, 4 ms).
"""

from __future__ import annotations

from rprun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

CATEGORIES = ("lifecycle", "file", "network", "process")
LEVELS = ("partial", "supported")
# The names that `--backend` takes, best first; spelled out, as asking the backends costs more than a start. A test
# holds them to what `rprun.backends.registry` has.
BACKENDS = {
    "lifecycle": ("portable-lifecycle",),
    "file": ("ebpf", "seccomp-user-notify", "psutil-poll", "etw", "kqueue"),
    "network": ("ebpf", "seccomp-user-notify", "psutil-poll", "etw", "endpoint-security"),
    "process": ("ebpf", "proc-connector", "seccomp-user-notify", "psutil-poll", "etw", "endpoint-security"),
}
ORPHANS = ("leave", "report", "wait", "kill")

INFINITY = float("inf")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DIGITS = frozenset("0123456789")
_NUMBER = frozenset("0123456789.eE+-")
_SMALLEST = 1e-9
_LARGEST_FD = 2**31 - 1


def _is_digits(text: str) -> bool:
    """Whether text is one or more ASCII digits; `str.isdigit` takes Arabic ones and superscripts too."""
    return bool(text) and _DIGITS.issuperset(text)


def duration(text: str, *, infinite: bool = False) -> float:
    """A duration in seconds, in timeout(1)'s decimal grammar plus `ms`.

    As with timeout(1), `.5`, `5.`, `+5` and `1e3` are numbers, and one too small for the clock is rounded up
    and not to 0, because 0 means something else. Hexadecimal is not taken over.

    Args:
        text: what was typed.
        infinite: whether `inf` is a duration here.
    """
    if text.lower() in ("inf", "infinity"):
        if infinite:
            return INFINITY
        raise UsageError("this one has to end (try 5s)")
    number, unit = text, 1.0
    for suffix, seconds in _SECONDS.items():
        if text.endswith(suffix):
            number, unit = text[: -len(suffix)], seconds
            break
    if number.startswith("-"):
        raise UsageError("a duration cannot be negative (try 90, 1.5m, 2h or 250ms)")
    try:
        value = float(number) * unit if _NUMBER.issuperset(number) else None
    except ValueError:
        value = None
    if value is None:
        raise UsageError("not a duration (try 90, 1.5m, 2h or 250ms)")
    if value == INFINITY:
        raise UsageError("too long to count (try 365d)")
    if value == 0.0 and any(digit in "123456789" for digit in number.lower().partition("e")[0]):
        return _SMALLEST
    return value


def limit(text: str) -> float | None:
    """Seconds until a limit strikes, or None for no limit: `0`, as in timeout(1), and `inf` say so."""
    seconds = duration(text, infinite=True)
    return None if seconds in (0.0, INFINITY) else seconds


def drain(text: str) -> float:
    """Seconds to wait for the end of the output, which may be infinite."""
    return duration(text, infinite=True)


def size(text: str) -> tuple[int, int]:
    """`COLSxROWS` as (columns, rows); the kernel keeps 16 bits of each, and 0 means unknown."""
    cols, _, rows = text.replace("X", "x").partition("x")
    if not (_is_digits(cols) and _is_digits(rows)):
        raise UsageError("not COLSxROWS (try 80x24)")
    # The length first: int() itself refuses, with a ValueError, more than some thousand digits.
    cols, rows = cols.lstrip("0") or "0", rows.lstrip("0") or "0"
    if max(len(cols), len(rows)) > 5 or not (1 <= int(cols) <= 65535 and 1 <= int(rows) <= 65535):
        raise UsageError("columns and rows go from 1 to 65535 (try 80x24)")
    return int(cols), int(rows)


def signal_names() -> dict[str, int]:
    """Every signal of this platform by its name without SIG, aliases included."""
    found = {name[3:]: getattr(_signal, name) for name in dir(_signal) if name.startswith("SIG") and name[3:].isalnum()}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def signal(text: str) -> int:
    """A signal's number, from its name with or without SIG in any case, its number, or `RTMIN+N`/`RTMAX-N`."""
    if _is_digits(text):
        number = int(text) if len(text) < 4 else 0
    else:
        name = text.upper() if text.isascii() else ""
        base, plus, offset = name.removeprefix("SIG").partition("+")
        if not plus:
            base, plus, offset = base.partition("-")
        known = getattr(_signal, "SIG" + base, 0) if base.isalnum() else 0
        number = int(known)
        if plus:
            step = {"RTMIN+": 1, "RTMAX-": -1}.get(base + plus, 0)
            lowest = int(getattr(_signal, "SIGRTMIN", 0))
            number = number + step * int(offset) if step and _is_digits(offset) and len(offset) < 4 else 0
            number = number if number >= lowest else 0
    if number not in _signal.valid_signals():
        raise UsageError("no such signal on this system (try TERM, INT or 15; `kill -l` lists them)")
    return number


def _category(text: str) -> tuple[str, ...]:
    """The categories one word stands for."""
    if text == "all":
        return CATEGORIES
    if text in CATEGORIES:
        return (text,)
    raise UsageError(f"'{text}' is not a category (try {', '.join(CATEGORIES)} or all)")


def categories(texts: list[str]) -> tuple[str, ...]:
    """The categories of one or more comma lists, in the order asked for, each once."""
    found: dict[str, None] = {}
    for word in _words(texts):
        found.update(dict.fromkeys(_category(word)))
    return tuple(found)


def requirements(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """`CATEGORY` or `CATEGORY=LEVEL` items as pairs; of two levels for a category the higher holds."""
    found: dict[str, str] = {}
    for word in _words(texts):
        name, equals, level = word.partition("=")
        if equals and level not in LEVELS:
            raise UsageError(f"'{level}' is not a level of support (try {name}=supported or {name}=partial)")
        for category in _category(name):
            level = level or "partial"
            found[category] = max(level, found.get(category, level), key=LEVELS.index)
    return tuple(found.items())


def backends(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """`CATEGORY=NAME` items as pairs; of two backends for a category the last holds."""
    found: dict[str, str] = {}
    for word in _words(texts, "file=ebpf"):
        category, equals, name = word.partition("=")
        if category not in BACKENDS:
            raise UsageError(f"'{category}' is not a category (try {', '.join(CATEGORIES)})")
        names = BACKENDS[category]
        if name not in names:
            what = f"'{name}' is not a backend for {category}" if equals else "not CATEGORY=NAME"
            raise UsageError(f"{what} (try {', '.join(f'{category}={known}' for known in names)})")
        found[category] = name
    return tuple(found.items())


def _words(texts: list[str], example: str = ",".join(CATEGORIES[:2])) -> list[str]:
    """The items of the comma lists; an empty one is a typing mistake and not the empty set."""
    words = [word for text in texts for word in text.split(",")]
    if "" in words:
        raise UsageError(f"an item of the list is empty (try {example})")
    return words


def orphans(text: str) -> str:
    """What to do with descendants that outlive the command."""
    if text not in ORPHANS:
        raise UsageError(f"not one of the choices (try {', '.join(ORPHANS[:-1])} or {ORPHANS[-1]})")
    return text


def events(text: str) -> str:
    """Where events go: `-`, a file name, or `fd:N` with N in its shortest form."""
    if not text:
        raise UsageError("a destination cannot be empty (try -, events.jsonl or fd:3)")
    if not text.startswith("fd:"):
        return text
    number = text[3:].lstrip("0") or text[3:4]
    if not _is_digits(number) or len(number) > 10 or int(number) > _LARGEST_FD:
        raise UsageError(f"fd: takes the number of a descriptor (try fd:3, or ./{text} for a file of that name)")
    return f"fd:{number}"


def directory(text: str) -> str:
    """A directory's name; whether it exists is the run's to find out."""
    if not text:
        raise UsageError("a directory's name cannot be empty (try .)")
    return text


def assignment(text: str) -> tuple[str, str]:
    """`NAME=VALUE` as a pair; the value may be empty and may hold more equals signs."""
    name, equals, value = text.partition("=")
    if not (name and equals) or "\0" in text:
        raise UsageError("not NAME=VALUE (try LANG=C)")
    return name, value


def variable(text: str) -> str:
    """The name of an environment variable."""
    if not text or "=" in text or "\0" in text:
        raise UsageError("not the name of a variable (try LANG)")
    return text

"""An event is a frozen value that says one thing that was seen, and can be written as a line.

No I/O happens here: an event takes values and gives a dict, a line of JSON, or a line for people.
"""

from __future__ import annotations

import json
import time
from types import MappingProxyType

from rprun.observe.categories import EventCategory
from rprun.observe.kinds import EXCLUDES, FIELDS, FIELDS_BY_NAME, NEEDS, ObserverEventKind, category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self

__all__ = ["ObserverEvent", "ObserverEventKind"]

# JSON allows these in a string as they are. Some readers take them for the end of a line, and a terminal may obey them.
_ESCAPES = {code: f"\\u{code:04x}" for code in (0x7F, *range(0x80, 0xA0), 0x2028, 0x2029)}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ObserverEvent:
    """One thing that was seen.

    The fields of its kind (see `rprun.observe.kinds.FIELDS`) are attributes too: `event.exit_code`. A text field holds
    what it was given, `str` (undecodable bytes as surrogates, as `os.fsdecode` makes them) or `bytes`.

    Attributes:
        seq: 1, 2, 3 ... in the order of emission; 0 for an event that no emitter has emitted.
        category: what it is about.
        kind: what happened.
        pid: the process it happened to.
        timestamp_ms: when it was seen, in milliseconds since the Unix epoch.
        fields: the fields of its kind, read-only.
    """

    __slots__ = ("category", "fields", "kind", "pid", "seq", "timestamp_ms")

    seq: int
    category: EventCategory
    kind: ObserverEventKind
    pid: int
    timestamp_ms: int
    fields: Mapping[str, object]

    def __init__(
        self,
        category: EventCategory | str,
        kind: ObserverEventKind | str,
        pid: int,
        timestamp_ms: int,
        seq: int = 0,
        **fields: object,
    ) -> None:
        """Takes an event apart into its checked fields; a required one that is not given is null.

        Raises:
            ValueError: the kind is not one of the category's, or fields exclude each other.
            TypeError: a field is unknown to the kind, has a value of a wrong type, or cannot be null and is.
        """
        kind = ObserverEventKind(kind)
        category = EventCategory(category)
        if category_of(kind) not in (None, category):
            raise ValueError(f"{kind} is not an event of the category {category}")
        put = object.__setattr__
        put(self, "seq", seq)
        put(self, "category", category)
        put(self, "kind", kind)
        put(self, "pid", pid)
        put(self, "timestamp_ms", timestamp_ms)
        put(self, "fields", MappingProxyType(_check(kind, fields)))

    @classmethod
    def now(cls, category: EventCategory | str, kind: ObserverEventKind | str, pid: int, **fields: object) -> Self:
        """Makes an event of this moment."""
        return cls(category, kind, pid, now_ms(), 0, **fields)

    def to_dict(self) -> dict[str, object]:
        """Gives the event as the object its line of JSON holds."""
        record: dict[str, object] = {
            "seq": self.seq,
            "category": self.category.value,
            "kind": self.kind.value,
            "pid": self.pid,
            "timestamp_ms": self.timestamp_ms,
        }
        table = FIELDS_BY_NAME[self.kind]
        for name, value in self.fields.items():
            if value is None:
                record[name] = None
            else:
                table[name].type.write(record, name, value)
        return record

    def to_json(self) -> str:
        """Gives the event as JSON on one line, by anybody's idea of a line, without a newline at its end."""
        line = _encode(self.to_dict())
        return line if line.isascii() and "\x7f" not in line else line.translate(_ESCAPES)

    def to_text(self) -> str:
        """Gives the event as a short line for people: printable, with local time, without a newline at its end."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.timestamp_ms // 1000))
        head = f"rprun: {clock}.{self.timestamp_ms % 1000:03} {self.kind} pid={self.pid}"
        named = [] if category_of(self.kind) else [f"category={self.category}"]
        shown = (f"{name}={_show(value)}" for name, value in self.fields.items())
        return " ".join([head, *named, *shown])

    def __getattr__(self, name: str) -> Any:
        if name != "fields":  # Not there yet while an instance is being made or unpickled.
            try:
                return self.fields[name]
            except KeyError:
                pass
        raise AttributeError(f"ObserverEvent has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"ObserverEvent is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"ObserverEvent is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObserverEvent):
            return NotImplemented
        return self._key() == other._key() and dict(self.fields) == dict(other.fields)

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        values = {"seq": self.seq, **self.fields}
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        return f"ObserverEvent({self.category.value!r}, {self.kind.value!r}, {self.pid}, {self.timestamp_ms}, {shown})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (*self._key(), dict(self.fields))

    def _key(self) -> tuple[str, str, int, int, int]:
        return self.category.value, self.kind.value, self.pid, self.timestamp_ms, self.seq


def now_ms() -> int:
    """Gives the time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def _rebuild(
    category: str, kind: str, pid: int, timestamp_ms: int, seq: int, fields: dict[str, object]
) -> ObserverEvent:
    return ObserverEvent(category, kind, pid, timestamp_ms, seq, **fields)


def _check(kind: ObserverEventKind, given: dict[str, object]) -> dict[str, object]:
    """Gives the fields of a kind in the table's order, each checked."""
    family = given.get("family")
    checked: dict[str, object] = {}
    for field in FIELDS[kind]:
        if not field.belongs(family) or (not field.required and field.name not in given):
            continue
        value = given.get(field.name)
        if not (field.nullable if value is None else field.type.accepts(value)):
            raise TypeError(f"{kind}: {field.name} cannot be {value!r}")
        checked[field.name] = value
    if unknown := given.keys() - checked.keys():
        raise TypeError(
            f"{kind} has no field {', '.join(sorted(unknown))}" + (f" with family {family}" if family else "")
        )
    if all(name in checked for name in EXCLUDES):
        raise ValueError(f"{kind}: {' and '.join(EXCLUDES)} exclude each other")
    for name, needed in NEEDS.items():
        if name in checked and needed not in checked:
            raise ValueError(f"{kind}: {name} needs {needed}")
    return checked


def _show(value: object) -> str:
    """Gives a value as one printable word where it is one, else as Python writes it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        plain = value.isprintable() and value != "" and not set(value) & set(" '\"\\=,[]")
        return value if plain else repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_show, value)) + "]"
    if isinstance(value, dict):
        return f"{_show(value['name'])}({value['pid']})"
    return str(value)

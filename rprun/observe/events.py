"""An event is a frozen value that says one thing that was seen, and can be written as a line.

No I/O happens here: an event takes values and gives a dict, a line of JSON, or a line for people.
"""

from __future__ import annotations

import time
from types import MappingProxyType

from rprun.observe import _json
from rprun.observe.batch import Batch
from rprun.observe.categories import EventCategory
from rprun.observe.fields import SharedFields
from rprun.observe.kinds import EXCLUDES, FIELDS, FIELDS_BY_NAME, NEEDS, ObserverEventKind, category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Self, TypeAlias

    # What `trust` makes an event of, in the order of its arguments.
    Parts: TypeAlias = tuple[EventCategory, ObserverEventKind, int, int, int, dict[str, object]]

__all__ = ["ObserverEvent", "ObserverEventKind"]


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
    """

    __slots__ = ("_fields", "category", "kind", "pid", "seq", "timestamp_ms")

    seq: int
    category: EventCategory
    kind: ObserverEventKind
    pid: int
    timestamp_ms: int
    _fields: dict[str, object]

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
        put(self, "_fields", _check(kind, fields))

    @classmethod
    def now(cls, category: EventCategory | str, kind: ObserverEventKind | str, pid: int, **fields: object) -> Self:
        """Makes an event of this moment."""
        return cls(category, kind, pid, now_ms(), 0, **fields)

    @property
    def fields(self) -> Mapping[str, object]:
        """Gives the fields of its kind, read-only."""
        return MappingProxyType(self._fields)

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
        for name, value in self._fields.items():
            if value is None:
                record[name] = None
            else:
                table[name].type.write(record, name, value)
        return record

    def to_json(self) -> str:
        """Gives the event as JSON on one line, by anybody's idea of a line, without a newline at its end."""
        line = _json.write(self.kind, self.seq, self.pid, self.timestamp_ms, self._fields)
        if line is None:
            line = _json.encode(self.to_dict())
        return line if line.isascii() and "\x7f" not in line else line.translate(_ESCAPES)

    def to_text(self) -> str:
        """Gives the event as a short line for people: printable, with local time, without a newline at its end."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.timestamp_ms // 1000))
        head = f"rprun: {clock}.{self.timestamp_ms % 1000:03} {self.kind} pid={self.pid}"
        named = [] if category_of(self.kind) else [f"category={self.category}"]
        shown = (f"{name}={_show(value)}" for name, value in self._fields.items())
        return " ".join([head, *named, *shown])

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"ObserverEvent is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"ObserverEvent is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObserverEvent):
            return NotImplemented
        return self._key() == other._key() and self._fields == other._fields

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        values = {"seq": self.seq, **self._fields}
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        return f"ObserverEvent({self.category.value!r}, {self.kind.value!r}, {self.pid}, {self.timestamp_ms}, {shown})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (*self._key(), dict(self._fields))

    def _key(self) -> tuple[str, str, int, int, int]:
        return self.category.value, self.kind.value, self.pid, self.timestamp_ms, self.seq


def _attribute(name: str) -> property:
    def get(event: ObserverEvent) -> object:
        try:
            return event._fields[name]
        except KeyError:
            raise AttributeError(f"ObserverEvent of the kind {event.kind} has no attribute {name!r}") from None

    return property(get)


# Not by __getattr__: a type that has it takes ten times as long to give any of its attributes.
for _name in {field.name for fields in FIELDS.values() for field in fields}:
    setattr(ObserverEvent, _name, _attribute(_name))


class _Draft(ObserverEvent):
    """An event that is being made: its attributes can be set, in a fifth of the time that the frozen type needs."""

    __slots__ = ()

    __setattr__ = object.__setattr__  # type: ignore[assignment]
    # Both or none: only then does the interpreter assign without looking for a method.
    __delattr__ = object.__delattr__


# The names of fields that have been found to be those of a kind, in the table's order; and those in another, with that
# order. There are as many as decoders have ways to make a kind.
_known: dict[ObserverEventKind, set[tuple[str, ...]]] = {kind: set() for kind in ObserverEventKind}
_orders: dict[tuple[ObserverEventKind, tuple[str, ...]], tuple[str, ...]] = {}


def trust(
    category: EventCategory, kind: ObserverEventKind, pid: int, timestamp_ms: int, seq: int, fields: dict[str, object]
) -> ObserverEvent:
    """Makes an event of values that rprun itself has made and that are known to be right, in a tenth of the time.

    The values are not checked. The names of the fields are: once for each set of names, as every other event's.

    Args:
        category: the one of the kind.
        kind: what happened.
        pid: the process it happened to.
        timestamp_ms: when, in milliseconds since the Unix epoch.
        seq: its number.
        fields: the fields of the kind, in any order; the event keeps the dict.

    Raises:
        TypeError, ValueError: these cannot be the fields of the kind.
    """
    fields = in_order(kind, fields)
    event = _new(_Draft)
    event.category = category
    event.kind = kind
    event.pid = pid
    event.timestamp_ms = timestamp_ms
    event.seq = seq
    event._fields = fields
    event.__class__ = ObserverEvent  # type: ignore[assignment]
    return event


_new = object.__new__


def shared_beginning(kind: ObserverEventKind) -> bytes:
    """Gives what the line of an event of a kind with a category has between its number and its process."""
    return _json.PLAIN_HEADS[kind]


def shared_end(kind: ObserverEventKind, fields: SharedFields) -> bytes | None:
    """Gives what the line of an event with these fields has behind its time; None where it is not plain.

    Raises:
        TypeError, ValueError: as `trust`.
    """
    in_order(kind, fields)
    # Where it was the first time that such fields came, they were only found to be right.
    if in_order(kind, fields) is not fields:
        return None
    _json.write(kind, 0, 0, 0, fields)
    return fields.plain


def made(event: ObserverEvent | Parts) -> ObserverEvent:
    """Gives an event, or makes it of its parts: those that come by thousands are made for who looks at them only."""
    return trust(*event) if type(event) is tuple else event  # type: ignore[return-value]


def json_lines(events: Iterable[ObserverEvent | Parts | Batch]) -> list[bytes]:
    """Gives the line of each event, as `ObserverEvent.to_json` does; what many of them share is only copied.

    The lines of a batch come in one piece.
    """
    lines: list[bytes] = []
    add, plain, heads = lines.append, _json.PLAIN, _json.PLAIN_HEADS
    for event in events:
        if type(event) is tuple:
            _, kind, pid, timestamp_ms, seq, fields = event
            if type(fields) is SharedFields and fields.plain is not None:
                add(plain % (seq, heads[kind], pid, timestamp_ms, fields.plain))
                continue
            said = _json.write(kind, seq, pid, timestamp_ms, fields)
            if said is not None and said.isascii() and "\x7f" not in said:
                add(said.encode())
                continue
        elif isinstance(event, Batch):
            add(event.lines())
            continue
        line = made(event).to_json()
        # What is written may have surrogates in it where `repr` or a str let them through.
        add(line.encode() if line.isascii() else line.encode("utf-8", "backslashreplace"))
    return lines


def in_order(kind: ObserverEventKind, fields: dict[str, object]) -> dict[str, object]:
    """Gives fields in the order of the kind's table, and takes no time for it where such have come before.

    Raises:
        TypeError, ValueError: as `trust`.
    """
    names = tuple(fields)
    if names in _known[kind]:
        if type(fields) is SharedFields:
            fields.kind = kind
        return fields
    order = _orders.get((kind, names))
    if order is not None:
        return {name: fields[name] for name in order}
    checked = _check(kind, fields)
    order = tuple(checked)
    if order == names:
        _known[kind].add(names)
    elif len(order) == len(names):
        _orders[kind, names] = order
    return checked


def now_ms() -> int:
    """Gives the time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


# JSON allows these in a string as they are. Some readers take them for the end of a line, and a terminal may obey them.
_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


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

"""The short way to an event's line of JSON: for values of the plain types, which nearly all are.

It writes what `json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))` would write of the event's dict, in a
fraction of the time: the dict is not made, and what is the same in every event of a kind is prepared. What needs care
(a subclass, a `str` that may have surrogates in it, a list of processes) it leaves to `encode`.
"""

from __future__ import annotations

from _json import encode_basestring

from rprun.observe.fields import BASE64, SharedFields, to_text
from rprun.observe.kinds import FIELDS, ObserverEventKind, category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADS = {
    kind: f',"category":"{category.value}","kind":"{kind.value}","pid":'
    for kind in ObserverEventKind
    if (category := category_of(kind)) is not None
}
_NAMES = {field.name for fields in FIELDS.values() for field in fields}
_KEYS = {name: f',"{name}":' for name in _NAMES}
_NULL = {name: key + "null" for name, key in _KEYS.items()}
_TRUE = {name: key + "true" for name, key in _KEYS.items()}
_FALSE = {name: key + "false" for name, key in _KEYS.items()}


def write(kind: ObserverEventKind, seq: int, pid: int, timestamp_ms: int, fields: dict[str, object]) -> str | None:
    """Gives the JSON of an event of a kind with a category of its own; None where it needs the encoder."""
    head = _HEADS.get(kind)
    if head is None or type(seq) is not int or type(pid) is not int or type(timestamp_ms) is not int:
        return None
    if type(fields) is SharedFields:
        rest = fields.json
        if rest is None:
            rest = fields.json = _write_fields(fields)
            if rest is not None and rest.isascii() and "\x7f" not in rest:
                fields.plain = rest.encode()
    else:
        rest = _write_fields(fields)
    return None if rest is None else f'{{"seq":{seq}{head}{pid},"timestamp_ms":{timestamp_ms}{rest}'


PLAIN = b'{"seq":%d%b%d,"timestamp_ms":%d%b'
"""The line of an event with plain fields: seq, one of `PLAIN_HEADS`, pid, timestamp_ms, `SharedFields.plain`."""
PLAIN_HEADS = {kind: head.encode() for kind, head in _HEADS.items()}


def encode(value: object) -> str:
    """Gives the JSON of what the fields of an event are made of, whatever it is.

    The standard encoder is not imported: it takes a start some milliseconds, and later there may be no descriptor left.

    Raises:
        TypeError: it is made of something else.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(encode, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring(name)}:{encode(each)}" for name, each in value.items()) + "}"
    raise TypeError(f"an event has no {type(value).__name__}")


def _write_fields(fields: dict[str, object]) -> str | None:
    """Gives what comes behind the fields that every event has, with the brace at the end."""
    parts: list[str] = []
    add = parts.append
    try:
        for name, value in fields.items():
            type_ = type(value)
            if type_ is bool:
                add(_TRUE[name] if value else _FALSE[name])
            elif type_ is bytes:
                # Of all types only that of any text takes bytes.
                text, exact = to_text(value)  # type: ignore[arg-type]
                add(_KEYS[name] + encode_basestring(text))
                if exact is not None:
                    add(f',"{name}{BASE64}":"{exact}"')
            elif type_ is int:
                add(f"{_KEYS[name]}{value}")
            elif value is None:
                add(_NULL[name])
            elif type_ is str:
                # That it is ASCII says at once that there is no surrogate in it.
                if not value.isascii():  # type: ignore[attr-defined]
                    return None
                add(_KEYS[name] + encode_basestring(value))  # type: ignore[arg-type]
            elif type_ is list and (array := _write_texts(value)) is not None:  # type: ignore[arg-type]
                add(_KEYS[name] + array)
            else:
                return None
    except UnicodeDecodeError:
        return None
    add("}")
    return "".join(parts)


def _write_texts(values: Iterable[object]) -> str | None:
    """Gives the JSON of a list of texts; None if anything else is in it.

    Raises:
        UnicodeDecodeError: one is not UTF-8.
    """
    items: list[str] = []
    for value in values:
        type_ = type(value)
        if type_ is bytes:
            items.append(encode_basestring(value.decode()))  # type: ignore[attr-defined]
        elif value is None:
            items.append("null")
        elif type_ is str and value.isascii():  # type: ignore[attr-defined]
            items.append(encode_basestring(value))  # type: ignore[arg-type]
        else:
            return None
    return "[" + ",".join(items) + "]"

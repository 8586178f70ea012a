"""The short way to a line of JSON writes what the long way writes, to the byte."""

from __future__ import annotations

import json
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import events

from rprun.observe import _json
from rprun.observe.events import ObserverEvent, ObserverEventKind, json_lines, made, trust
from rprun.observe.fields import SharedFields
from rprun.observe.kinds import category_of

ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
ESCAPES = {code: f"\\u{code:04x}" for code in (0x7F, *range(0x80, 0xA0), 0x2028, 0x2029)}


class Number(IntEnum):
    """An integer that prints as something else in some places."""

    SEVEN = 7


class Word(StrEnum):
    """A string that is one of a class of its own."""

    READ = "read"


def reference(event: ObserverEvent) -> str:
    """Gives the line as the json module makes it from the event's dict."""
    return ENCODE(event.to_dict()).translate(ESCAPES)


@given(events())
def test_the_line_of_any_event(event: ObserverEvent) -> None:
    """Whatever the kind and its values, the line is that of the reference."""
    assert event.to_json() == reference(event)


@pytest.mark.parametrize("kind", list(ObserverEventKind))
@given(st.data())
def test_the_line_of_every_kind(kind: ObserverEventKind, data: st.DataObject) -> None:
    """No kind is left to chance."""
    event = data.draw(events(kind))
    assert event.to_json() == reference(event)


@given(st.characters(codec=None, exclude_categories=()), st.sampled_from(["", "a", "é"]))
def test_every_character(character: str, beside: str) -> None:
    """Each is written as the reference does, as text and as the bytes of text, alone and not."""
    for text in (character + beside, (character + beside).encode("utf-8", "surrogatepass")):
        for fields in ({"path": text}, {"path": None, "argv": [text, beside, None], "cwd": text}):
            kind = "exec" if "argv" in fields else "file-unlink"
            event = ObserverEvent("process" if kind == "exec" else "file", kind, 1, 1, 1, **fields)
            assert event.to_json() == reference(event)


@pytest.mark.parametrize(
    "event",
    [
        ObserverEvent("file", "file-open", Number.SEVEN, 1, 1, flags=Number.SEVEN, access=Word.READ),
        ObserverEvent("file", "file-open", 1, True, 1, path=Word.READ),
        ObserverEvent("process", "exec", 1, 1, 1, argv=("a", Word.READ)),
        ObserverEvent("process", "exec", 1, 1, 1, argv=[]),
    ],
)
def test_subclasses(event: ObserverEvent) -> None:
    """A value of a subclass is written as the json module writes it."""
    assert event.to_json() == reference(event)


def test_an_event_as_decoders_make_it_goes_the_short_way() -> None:
    """Bytes, numbers, words, yes and no, and None are all written without the json module."""
    fields = {"path": b'/\xc3\xa9 "x"', "flags": 0, "access": "read", "create": False, "attempt": True}
    line = _json.write(ObserverEventKind.FILE_OPEN, 1, 2, 3, fields)
    assert line == (
        '{"seq":1,"category":"file","kind":"file-open","pid":2,"timestamp_ms":3,'
        '"path":"/é \\"x\\"","flags":0,"access":"read","create":false,"attempt":true}'
    )
    assert _json.write(ObserverEventKind.EXEC, 1, 2, 3, {"path": None, "argv": [b"a", None], "cwd": b"/"})


@given(events(), st.randoms(use_true_random=False))
def test_an_event_that_is_trusted_is_the_same(event: ObserverEvent, random: Any) -> None:
    """Made without a check of its values it is equal, of the same type, frozen, and its line the same: in any order."""
    names = list(event.fields)
    random.shuffle(names)
    twin = trust(
        event.category, event.kind, event.pid, event.timestamp_ms, event.seq, {n: event.fields[n] for n in names}
    )
    assert type(twin) is ObserverEvent
    assert twin == event
    assert list(twin.fields) == list(event.fields)
    assert twin.to_json() == event.to_json()
    assert all(getattr(twin, name) == value for name, value in event.fields.items())
    with pytest.raises(AttributeError, match="frozen"):
        twin.pid = 1
    with pytest.raises(AttributeError, match="frozen"):
        del twin.pid


def test_the_names_of_trusted_fields_are_checked() -> None:
    """A field of another kind is refused, one that is missing is null, and a contradiction is refused each time."""
    kind = ObserverEventKind.FILE_UNLINK
    category = category_of(kind)
    assert category is not None
    for _ in range(2):
        with pytest.raises(TypeError, match="has no field exit_code"):
            trust(category, kind, 1, 1, 1, {"exit_code": 1})
        with pytest.raises(ValueError, match="exclude each other"):
            trust(category, kind, 1, 1, 1, {"path": b"/", "result": "ok", "attempt": True})
        assert trust(category, kind, 1, 1, 1, {}).path is None


def test_an_attribute_of_another_kind_is_none_of_this() -> None:
    """It raises AttributeError, as what no kind has."""
    event = ObserverEvent("lifecycle", "started", 1, 1)
    assert not hasattr(event, "exit_code")
    assert not hasattr(event, "nonsense")
    assert getattr(ObserverEvent("file", "file-rename", 1, 1, **{"from": "/a"}), "from") == "/a"


@pytest.mark.parametrize("kind", list(ObserverEventKind))
@given(st.data())
def test_shared_fields(kind: ObserverEventKind, data: st.DataObject) -> None:
    """Events that share their fields have the lines that they would have with fields of their own."""
    first, second = data.draw(events(kind)), data.draw(st.integers(1, 2**31))
    shared = SharedFields(first.fields)
    for pid in (first.pid, second):
        event = trust(first.category, kind, pid, first.timestamp_ms, first.seq, shared)
        assert event.to_json() == reference(event)
        assert event.to_json() == event.to_json()


@given(st.lists(events(), max_size=9), st.booleans())
def test_lines_of_parts(given_events: list[ObserverEvent], share: bool) -> None:
    """Events that have not been made yet have the lines that they would have, also those that share their fields."""
    parts = []
    for event in given_events:
        fields = SharedFields(event.fields) if share else dict(event.fields)
        parts.append((event.category, event.kind, event.pid, event.timestamp_ms, event.seq, fields))
    assert list(map(made, parts)) == given_events
    expected = [event.to_json().encode("utf-8", "backslashreplace") for event in given_events]
    for mixed in (parts, [*given_events[:4], *parts[4:]], parts):
        assert json_lines(mixed) == expected

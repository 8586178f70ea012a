"""Events of every kind with any values that their fields can have."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from rprun.observe.categories import EventCategory
from rprun.observe.events import ObserverEvent
from rprun.observe.fields import BOOLEAN, COUNT, INTEGER, PROCESS_LIST, RESULT, SENTENCE, TEXT, TEXT_LIST, WORD
from rprun.observe.kinds import FIELDS, Field, ObserverEventKind, category_of

texts = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=())),
    st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.binary(),
    st.text().map(str.encode),
)
integers = st.integers(-(2**63), 2**64)
words = st.one_of(st.sampled_from(["inet", "inet6", "unix", "tcp"]), st.text("abcxyz0123456789_-", min_size=1))
processes = st.fixed_dictionaries({"pid": integers, "name": st.none() | texts})

VALUES: dict[object, st.SearchStrategy[Any]] = {
    INTEGER: integers,
    COUNT: st.integers(0, 2**64),
    BOOLEAN: st.booleans(),
    WORD: words,
    RESULT: st.sampled_from(["ok", "ENOENT", "E2BIG", "E524"]),
    TEXT: texts,
    TEXT_LIST: st.lists(st.none() | texts),
    SENTENCE: st.text(st.characters(codec=None, exclude_categories=())),
    PROCESS_LIST: st.lists(processes),
}


def _value(field: Field) -> st.SearchStrategy[Any]:
    schema: Any = field.type.schema
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return st.just(schema["const"]) if "const" in schema else VALUES[field.type]


@st.composite
def events(draw: st.DrawFn, kind: ObserverEventKind | None = None) -> ObserverEvent:
    """Draws an event as an emitter would make it, of any kind or of one."""
    kind = kind or draw(st.sampled_from(list(ObserverEventKind)))
    category = category_of(kind) or draw(st.sampled_from(EventCategory.ALL))
    fields: dict[str, Any] = {}
    for field in FIELDS[kind]:
        if not field.belongs(fields.get("family")):
            continue
        if field.name == "attempt" and "result" in fields:
            continue
        if field.name == "exists" and "attempt" not in fields:
            continue
        if field.required or draw(st.booleans()):
            fields[field.name] = draw(st.none() | _value(field) if field.nullable else _value(field))
    return ObserverEvent(
        category, kind, draw(st.integers(0, 2**31)), draw(st.integers(0, 2**50)), draw(st.integers(1, 2**40)), **fields
    )

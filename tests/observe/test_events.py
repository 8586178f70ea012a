"""An event is a value; its line is one line, says everything, and is what the schema says."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from strategies import events

from rprun.observe.events import ObserverEvent, ObserverEventKind
from rprun.observe.fields import to_bytes
from rprun.observe.kinds import FIELDS
from rprun.observe.schema import render

VALIDATOR = jsonschema.Draft202012Validator(json.loads(render()))


@given(events())
def test_every_line_is_valid(event: ObserverEvent) -> None:
    """Whatever the fields hold, the line validates against the schema and is UTF-8."""
    line = event.to_json()
    line.encode("utf-8")
    VALIDATOR.validate(json.loads(line))


@given(events())
def test_a_line_is_one_line(event: ObserverEvent) -> None:
    """No text in a field makes a second line, by the widest idea of a line, nor reaches a terminal as a control."""
    for line in (event.to_json(), event.to_text()):
        assert len(line.splitlines()) == 1
        assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in line)


@given(events())
def test_text_can_be_had_back_exactly(event: ObserverEvent) -> None:
    """From a text field and its base64 companion the exact bytes can be restored."""
    record = json.loads(event.to_json())
    for field in FIELDS[event.kind]:
        value: Any = event.fields.get(field.name)
        if field.type.exact_schema() is None or value is None:
            continue
        shown, exact = record[field.name], record.get(field.name + "_base64")
        for number, text in enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]:
            if text is None:
                continue
            given_text = shown if number is None else shown[number]
            given_exact = exact if number is None or exact is None else exact[number]
            data = given_text.encode() if given_exact is None else base64.b64decode(given_exact)
            assert data == to_bytes(text)


@given(events())
def test_events_are_values(event: ObserverEvent) -> None:
    """A copy or a pickled event is equal and hashes alike; nothing can be changed."""
    for twin in (copy.copy(event), pickle.loads(pickle.dumps(event))):
        assert twin == event
        assert hash(twin) == hash(event)
    with pytest.raises(AttributeError, match="frozen"):
        event.pid = 1
    with pytest.raises(TypeError):
        event.fields["x"] = 1  # type: ignore[index]


def test_order_of_the_keys() -> None:
    """seq, category, kind, pid, timestamp_ms, then the kind's fields in the table's order."""
    event = ObserverEvent("file", "file-rename", 7, 1000, 3, to=b"/b", result="ok", **{"from": b"/\xff"})
    assert event.to_json() == (
        '{"seq":3,"category":"file","kind":"file-rename","pid":7,"timestamp_ms":1000,'
        '"from":"/\ufffd","from_base64":"L/8=","to":"/b","result":"ok"}'
    )


def test_argv_has_all_its_bytes_where_one_needs_them() -> None:
    """One argument that is not UTF-8 brings the base64 of each, position by position."""
    event = ObserverEvent("process", "exec", 7, 1, 1, path="/bin/x", argv=["x", "\udcff", None], cwd=None)
    record = event.to_dict()
    assert record["argv"] == ["x", "\ufffd", None]
    assert record["argv_base64"] == ["eA==", "/w==", None]
    assert record["cwd"] is None


def test_unicode_stays_readable() -> None:
    """Letters of any script are written as they are; what some readers take for a line's end is escaped."""
    line = ObserverEvent("file", "file-unlink", 1, 1, 1, path="/é\u2028\x85\x7f").to_json()
    assert '"path":"/é\\u2028\\u0085\\u007f"' in line


def test_what_could_not_be_read_is_null() -> None:
    """A required field that was not given is null, for the address family the event has."""
    assert ObserverEvent("process", "descendant-exited", 1, 1).exit_code is None
    unix = ObserverEvent("network", "net-connect", 1, 1, family="unix")
    assert dict(unix.fields) == {"family": "unix", "protocol": None, "path": None}
    unknown = ObserverEvent("network", "net-connect", 1, 1)
    assert dict(unknown.fields) == {"family": None, "protocol": None, "address": None, "port": None}


def test_now_stamps_the_time() -> None:
    """`now` gives milliseconds since the epoch, and no seq: that is the emitter's to give."""
    before = time.time_ns() // 1_000_000
    event = ObserverEvent.now("lifecycle", ObserverEventKind.STARTED, 1)
    assert before <= event.timestamp_ms <= time.time_ns() // 1_000_000
    assert event.seq == 0


@pytest.mark.parametrize(
    ("category", "kind", "fields"),
    [
        ("file", "started", {}),
        ("lifecycle", "nonsense", {}),
        ("lifecycle", "started", {"exit_code": 0}),
        ("lifecycle", "exited", {"exit_code": "0"}),
        ("lifecycle", "exited", {"exit_code": True}),
        ("lifecycle", "exited", {"exit_code": 0, "core": False}),
        ("lifecycle", "exited", {"exit_code": 0, "drained": True}),
        ("lifecycle", "exited", {"exit_code": 0, "limit": None}),
        ("lifecycle", "exited", {"exit_code": 0, "orphans": [{"pid": 1}]}),
        ("lifecycle", "lost", {}),
        ("file", "file-open", {"result": "ok", "attempt": True}),
        ("file", "file-open", {"exists": True}),
        ("file", "file-open", {"access": "append"}),
        ("file", "file-unlink", {"result": "enoent"}),
        ("network", "net-bind", {"family": "unix", "port": 1}),
        ("network", "net-bind", {"family": "inet", "path": "@x"}),
        ("network", "net-bind", {"protocol": "T C P"}),
    ],
)
def test_what_an_event_cannot_say_is_refused(category: str, kind: str, fields: dict[str, object]) -> None:
    """Fields outside the closed table, values of a wrong type and contradictions raise where they are made."""
    with pytest.raises((TypeError, ValueError)):
        ObserverEvent(category, kind, 1, 1, 0, **fields)


def test_a_line_for_people() -> None:
    """The readable line names the kind, the pid and each field, quoting what is not one plain word."""
    event = ObserverEvent(
        "lifecycle", "exited", 42, 1_500, 2, exit_code=-9, core=True, orphans=[{"pid": 5, "name": b"a b"}]
    )
    head, _, rest = event.to_text().partition(" exited ")
    assert head.startswith("rprun: ")
    assert head.endswith(".500")
    assert rest == "pid=42 exit_code=-9 core=yes orphans=['a b'(5)]"
    lost = ObserverEvent("file", "lost", 42, 1_500, 2, count=3)
    assert lost.to_text().endswith(" lost pid=42 category=file count=3")

"""The JSON Schema of a line of events is rendered from the table of kinds, and shipped beside this module.

`python -m rprun.observe.schema --check` says whether the shipped file is current; `--write` makes it so.
"""

from __future__ import annotations

import json
import os
import sys

from rprun.observe.categories import EventCategory
from rprun.observe.fields import BASE64
from rprun.observe.kinds import EXCLUDES, FIELDS, NEEDS, ObserverEventKind, category_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.observe.kinds import Field

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "event.schema.json")
COMMAND = "python -m rprun.observe.schema"


def render() -> str:
    """Renders the schema: a line is an event of exactly one kind."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of the events of rprun",
        "oneOf": [_event(kind) for kind in ObserverEventKind],
    }
    return json.dumps(schema, indent=2) + "\n"


def _event(kind: ObserverEventKind) -> dict[str, object]:
    category = category_of(kind)
    properties: dict[str, object] = {
        "seq": {"type": "integer", "minimum": 1},
        "category": {"const": category.value} if category else {"enum": [c.value for c in EventCategory.ALL]},
        "kind": {"const": kind.value},
        "pid": {"type": "integer"},
        "timestamp_ms": {"type": "integer"},
    }
    always = list(properties)
    dependent: dict[str, list[str]] = {}
    for field in FIELDS[kind]:
        properties[field.name] = _value(field)
        exact = field.type.exact_schema()
        if exact is not None:
            properties[field.name + BASE64] = exact
            dependent[field.name + BASE64] = [field.name]
        if field.required and field.family is None:
            always.append(field.name)
        if field.name in NEEDS:
            dependent[field.name] = [NEEDS[field.name]]
    event: dict[str, object] = {
        "title": kind.value,
        "type": "object",
        "properties": properties,
        "required": always,
        "additionalProperties": False,
    }
    if dependent:
        event["dependentRequired"] = dependent
    if all(name in properties for name in EXCLUDES):
        event["not"] = {"required": list(EXCLUDES)}
    return event | _by_family(FIELDS[kind])


def _by_family(fields: tuple[Field, ...]) -> dict[str, object]:
    """Says which fields go with which address family, where a kind has fields that depend on it."""
    family = next((field.family.removeprefix("!") for field in fields if field.family), None)
    if family is None:
        return {}
    return {
        "if": {"properties": {"family": {"const": family}}},
        "then": _exactly(fields, family),
        "else": _exactly(fields, None),
    }


def _exactly(fields: tuple[Field, ...], family: str | None) -> dict[str, object]:
    dependent = [field for field in fields if field.family is not None]
    absent = [field for field in dependent if not field.belongs(family)]
    names = [field.name for field in absent]
    names += [field.name + BASE64 for field in absent if field.type.exact_schema() is not None]
    return {
        "required": [field.name for field in dependent if field.belongs(family)],
        "properties": dict.fromkeys(names, False),
    }


def _value(field: Field) -> dict[str, object]:
    schema = field.type.schema
    return {"anyOf": [schema, {"type": "null"}]} if field.nullable else schema


def main(arguments: list[str]) -> int:
    """Checks or writes the shipped file, as the one argument asks."""
    if arguments == ["--write"]:
        with open(FILE, "w", encoding="utf-8", newline="\n") as file:
            file.write(render())
        return 0
    if arguments != ["--check"]:
        sys.stderr.write(f"usage: {COMMAND} --check | --write\n")
        return 2
    try:
        with open(FILE, encoding="utf-8") as file:
            current = file.read() == render()
    except FileNotFoundError:
        current = False
    if not current:
        sys.stderr.write(f"{FILE} is not what the table of kinds says: run {COMMAND} --write\n")
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The types a field of an event can have: one object each that checks a value, encodes it, and knows its schema.

Text is what needs care. A path is bytes to the kernel; JSON wants Unicode. Text that is not UTF-8 is given with U+FFFD
in place of what could not be decoded, and its exact bytes in a second field, `<name>_base64`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Json: TypeAlias = dict[str, object]

BASE64 = "_base64"

_BASE64_SCHEMA: Json = {"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]*={0,2}$"}
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def to_bytes(text: str | bytes) -> bytes:
    """Gives the bytes a text stands for: surrogates made by `surrogateescape` become the bytes they came from."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # A surrogate that stands for no byte, as in a Windows file name.
        return text.encode("utf-8", "surrogatepass")


def to_text(text: str | bytes) -> tuple[str, str | None]:
    """Gives a text as JSON can carry it, and the base64 of its exact bytes where that is not the whole truth."""
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError:
            text = to_bytes(text)
        else:
            return text, None
    try:
        return text.decode(), None
    except UnicodeDecodeError:
        return text.decode(errors="replace"), _base64(text)


def _base64(data: bytes) -> str:
    # Seldom needed.
    import binascii

    return binascii.b2a_base64(data, newline=False).decode()


class SharedFields(dict[str, object]):
    """The fields of several events of one kind, which nobody changes any more: their JSON is written once.

    Attributes:
        json: what is written of them, None before it has been.
        plain: the same as bytes if it is ASCII, and nothing of it is to be escaped; else None.
        kind: the kind that their names have been found to be those of, in the table's order; None before.
    """

    __slots__ = ("json", "kind", "plain")

    def __init__(self, fields: Mapping[str, object]) -> None:
        super().__init__(fields)
        self.json: str | None = None
        self.plain: bytes | None = None
        self.kind: str | None = None


class FieldType:
    """A type without text in it: what is checked is what is written."""

    __slots__ = ("accepts", "schema")

    def __init__(self, accepts: Callable[[object], bool], schema: Json) -> None:
        self.accepts = accepts
        self.schema = schema

    def write(self, record: Json, name: str, value: object) -> None:
        """Puts a value that was accepted into a record, under a name."""
        record[name] = value

    def exact_schema(self) -> Json | None:
        """Gives the schema of the `_base64` field that can stand beside this one; None where none can."""
        return None


class TextType(FieldType):
    """A text whose bytes may be any."""

    def __init__(self) -> None:
        super().__init__(lambda value: isinstance(value, (str, bytes)), {"type": "string"})

    def write(self, record: Json, name: str, value: object) -> None:
        """Puts the text into the record, and its exact bytes beside it where they are needed."""
        assert isinstance(value, (str, bytes))
        record[name], exact = to_text(value)
        if exact is not None:
            record[name + BASE64] = exact

    def exact_schema(self) -> Json:
        """Gives the schema of one base64 string."""
        return _BASE64_SCHEMA


class TextListType(FieldType):
    """A list of texts; one that could not be read is None. If one is not UTF-8, the exact bytes of all are given."""

    def __init__(self) -> None:
        super().__init__(
            lambda value: (
                isinstance(value, (list, tuple)) and all(v is None or isinstance(v, (str, bytes)) for v in value)
            ),
            {"type": "array", "items": {"type": ["string", "null"]}},
        )

    def write(self, record: Json, name: str, value: object) -> None:
        """Puts the texts into the record, and beside them the exact bytes of every one where one needs them."""
        assert isinstance(value, (list, tuple))
        both = [(None, None) if text is None else to_text(text) for text in value]
        record[name] = [text for text, _ in both]
        if any(exact is not None for _, exact in both):
            record[name + BASE64] = [None if text is None else _base64(to_bytes(text)) for text in value]

    def exact_schema(self) -> Json:
        """Gives the schema of a list of base64 strings, of the same length as the texts."""
        return {"type": "array", "items": {"anyOf": [_BASE64_SCHEMA, {"type": "null"}]}}


class SentenceType(FieldType):
    """A text of rprun's own; should it carry foreign bytes, they are replaced and not kept."""

    def __init__(self) -> None:
        super().__init__(lambda value: isinstance(value, str), {"type": "string"})

    def write(self, record: Json, name: str, value: object) -> None:
        """Puts the text into the record."""
        assert isinstance(value, str)
        record[name], _ = to_text(value)


class ProcessListType(FieldType):
    """A list of `{"pid": ..., "name": ...}`; a name that could not be read is None."""

    def __init__(self) -> None:
        item: Json = {
            "type": "object",
            "properties": {
                "pid": INTEGER.schema,
                "name": {"type": ["string", "null"]},
                "name" + BASE64: _BASE64_SCHEMA,
            },
            "required": ["pid", "name"],
            "additionalProperties": False,
        }
        super().__init__(self._accepts, {"type": "array", "items": item})

    @staticmethod
    def _accepts(value: object) -> bool:
        return isinstance(value, (list, tuple)) and all(
            isinstance(item, dict)
            and item.keys() == {"pid", "name"}
            and INTEGER.accepts(item["pid"])
            and (item["name"] is None or TEXT.accepts(item["name"]))
            for item in value
        )

    def write(self, record: Json, name: str, value: object) -> None:
        """Puts the list into the record."""
        assert isinstance(value, (list, tuple))
        records: list[Json] = []
        for item in value:
            process: Json = {"pid": item["pid"], "name": None}
            if item["name"] is not None:
                TEXT.write(process, "name", item["name"])
            records.append(process)
        record[name] = records


def constant(value: bool) -> FieldType:
    """Makes the type of a field that is there with this value, or not there."""
    return FieldType(lambda given: given is value, {"const": value})


def one_of(*values: str) -> FieldType:
    """Makes the type of a field with a closed set of values."""
    return FieldType(lambda given: given in values, {"enum": list(values)})


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_result(value: object) -> bool:
    return isinstance(value, str) and (
        value == "ok" or (value[:1] == "E" and len(value) > 1 and _UPPER.issuperset(value))
    )


INTEGER = FieldType(_is_integer, {"type": "integer"})
COUNT = FieldType(
    lambda value: isinstance(value, int) and _is_integer(value) and value >= 0, {"type": "integer", "minimum": 0}
)
BOOLEAN = FieldType(lambda value: isinstance(value, bool), {"type": "boolean"})
# A word such as a protocol's name: open, because there are more of them than rprun knows.
WORD = FieldType(
    lambda value: isinstance(value, str) and value != "" and _LOWER.issuperset(value),
    {"type": "string", "pattern": "^[a-z0-9_-]+$"},
)
RESULT = FieldType(_is_result, {"type": "string", "pattern": "^(ok|E[A-Z0-9]+)$"})
TEXT = TextType()
TEXT_LIST = TextListType()
SENTENCE = SentenceType()
PROCESS_LIST = ProcessListType()

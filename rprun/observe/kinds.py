"""Every kind of event and its fields: the one table from which events are checked and the JSON Schema is rendered.

What to know when adding to it: a field that is required and could not be read is null, and the event still comes; a
field that is not required is either there with a value or not there.
"""

from __future__ import annotations

from enum import StrEnum

from rprun.observe.categories import EventCategory
from rprun.observe.fields import (
    BOOLEAN,
    COUNT,
    INTEGER,
    PROCESS_LIST,
    RESULT,
    SENTENCE,
    TEXT,
    TEXT_LIST,
    WORD,
    constant,
    one_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.observe.fields import FieldType


class ObserverEventKind(StrEnum):
    """What an event says happened. `ObserverEventKind("file-open")` finds a member by its name in the JSON."""

    STARTED = "started"
    EXITED = "exited"
    DESCENDANT_STARTED = "descendant-started"
    EXEC = "exec"
    DESCENDANT_EXITED = "descendant-exited"
    FILE_OPEN = "file-open"
    FILE_UNLINK = "file-unlink"
    FILE_MKDIR = "file-mkdir"
    FILE_RMDIR = "file-rmdir"
    FILE_TRUNCATE = "file-truncate"
    FILE_CHMOD = "file-chmod"
    FILE_CHOWN = "file-chown"
    FILE_RENAME = "file-rename"
    FILE_LINK = "file-link"
    FILE_SYMLINK = "file-symlink"
    FILE_WRITE = "file-write"
    FILE_CLOSE = "file-close"
    NET_CONNECT = "net-connect"
    NET_BIND = "net-bind"
    NET_LISTEN = "net-listen"
    NET_ACCEPT = "net-accept"
    NET_SEND = "net-send"
    NET_CLOSE = "net-close"
    LOST = "lost"
    UNOBSERVED = "unobserved"


class Field:
    """One field of a kind.

    Attributes:
        name: its key in the JSON.
        type: what it holds.
        required: it is in every event of the kind (null where it could not be read).
        nullable: it may be null.
        family: the event has it only where its `family` is this; with a leading `!`, only where it is not.
    """

    __slots__ = ("family", "name", "nullable", "required", "type")

    def __init__(
        self, name: str, type_: FieldType, *, required: bool = True, nullable: bool = True, family: str | None = None
    ) -> None:
        self.name = name
        self.type = type_
        self.required = required
        self.nullable = required and nullable
        self.family = family

    def belongs(self, family: object) -> bool:
        """Says whether an event of this address family has the field."""
        if self.family is None:
            return True
        return family != self.family[1:] if self.family[0] == "!" else family == self.family


_K = ObserverEventKind

# `result` where the outcome was seen; `attempt` where a call was seen before the kernel acted on it. Never both.
_OUTCOME = (Field("result", RESULT, required=False), Field("attempt", constant(True), required=False))
_PATH = (Field("path", TEXT), *_OUTCOME)
_TWO_PATHS = (Field("from", TEXT), Field("to", TEXT), *_OUTCOME)
_PEER = (
    Field("family", WORD),
    Field("protocol", WORD),
    Field("address", SENTENCE, family="!unix"),
    Field("port", COUNT, family="!unix"),
    Field("path", TEXT, family="unix"),
)

FIELDS: dict[ObserverEventKind, tuple[Field, ...]] = {
    _K.STARTED: (),
    _K.EXITED: (
        Field("exit_code", INTEGER),
        Field("core", constant(True), required=False),
        Field("limit", one_of("timeout", "idle-timeout"), required=False),
        Field("drained", constant(False), required=False),
        Field("orphans", PROCESS_LIST, required=False),
    ),
    _K.DESCENDANT_STARTED: (Field("ppid", INTEGER),),
    _K.EXEC: (Field("path", TEXT), Field("argv", TEXT_LIST), Field("cwd", TEXT), *_OUTCOME),
    _K.DESCENDANT_EXITED: (Field("exit_code", INTEGER),),
    _K.FILE_OPEN: (
        Field("path", TEXT),
        Field("flags", INTEGER),
        Field("access", one_of("read", "write", "readwrite")),
        Field("create", BOOLEAN),
        *_OUTCOME,
        Field("exists", BOOLEAN, required=False),
    ),
    _K.FILE_UNLINK: _PATH,
    _K.FILE_MKDIR: _PATH,
    _K.FILE_RMDIR: _PATH,
    _K.FILE_TRUNCATE: _PATH,
    _K.FILE_CHMOD: _PATH,
    _K.FILE_CHOWN: _PATH,
    _K.FILE_RENAME: _TWO_PATHS,
    _K.FILE_LINK: _TWO_PATHS,
    _K.FILE_SYMLINK: _TWO_PATHS,
    _K.FILE_WRITE: (Field("path", TEXT), Field("byte_count", COUNT), *_OUTCOME),
    _K.FILE_CLOSE: _PATH,
    _K.NET_CONNECT: (*_PEER, *_OUTCOME),
    _K.NET_BIND: (*_PEER, *_OUTCOME),
    _K.NET_LISTEN: (*_PEER, *_OUTCOME),
    _K.NET_ACCEPT: (*_PEER, *_OUTCOME),
    _K.NET_SEND: (*_PEER, *_OUTCOME),
    _K.NET_CLOSE: (*_PEER, Field("bytes_sent", COUNT), Field("bytes_received", COUNT), *_OUTCOME),
    _K.LOST: (Field("count", COUNT, nullable=False),),
    _K.UNOBSERVED: (Field("backend", SENTENCE, nullable=False), Field("reason", SENTENCE, nullable=False)),
}

FIELDS_BY_NAME = {kind: {field.name: field for field in fields} for kind, fields in FIELDS.items()}

# What an `exists` rests on: whether a path existed can only be said of a moment before the kernel acted.
NEEDS = {"exists": "attempt"}
EXCLUDES = ("result", "attempt")

_LIFECYCLE = (_K.STARTED, _K.EXITED)
_PROCESS = (_K.DESCENDANT_STARTED, _K.EXEC, _K.DESCENDANT_EXITED)
_OF_ANY = (_K.LOST, _K.UNOBSERVED)


def category_of(kind: ObserverEventKind) -> EventCategory | None:
    """Gives the one category a kind belongs to; None for the records that any category can have."""
    return _CATEGORIES[kind]


def _category(kind: ObserverEventKind) -> EventCategory | None:
    if kind in _OF_ANY:
        return None
    if kind in _LIFECYCLE:
        return EventCategory.LIFECYCLE
    if kind in _PROCESS:
        return EventCategory.PROCESS
    return EventCategory.FILE if kind.startswith("file-") else EventCategory.NETWORK


_CATEGORIES = {kind: _category(kind) for kind in ObserverEventKind}

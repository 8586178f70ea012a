"""The shipped schema is the table of kinds, and it is closed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jsonschema
import pytest

from rprun.observe.schema import FILE, render

COMMAND = [sys.executable, "-m", "rprun.observe.schema"]
SCHEMA: dict[str, Any] = json.loads(render())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EXITED = {"seq": 1, "category": "lifecycle", "kind": "exited", "pid": 1, "timestamp_ms": 1, "exit_code": 0}
OPEN = {"path": "/", "flags": 0, "access": "read", "create": False}
FILE_OPEN = {"seq": 1, "category": "file", "kind": "file-open", "pid": 1, "timestamp_ms": 1, **OPEN}


def test_the_shipped_file_is_current() -> None:
    """`--check` agrees that the file in the package is what the table renders to."""
    result = subprocess.run([*COMMAND, "--check"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    with open(FILE, encoding="utf-8") as file:
        assert file.read() == render()


def test_anything_else_is_a_usage_error() -> None:
    """Without an argument it neither checks nor writes."""
    result = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--check | --write" in result.stderr


def test_it_is_a_schema() -> None:
    """The draft's own metaschema accepts it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("record", [EXITED, FILE_OPEN, FILE_OPEN | {"attempt": True, "exists": True}])
def test_good_lines(record: dict[str, object]) -> None:
    """What the contract gives as examples is valid."""
    VALIDATOR.validate(record)


@pytest.mark.parametrize(
    "record",
    [
        EXITED | {"seq": 0},
        EXITED | {"category": "file"},
        EXITED | {"surprise": 1},
        EXITED | {"drained": True},
        EXITED | {"limit": "other"},
        {name: value for name, value in EXITED.items() if name != "exit_code"},
        FILE_OPEN | {"result": "ok", "attempt": True},
        FILE_OPEN | {"result": "no such file"},
        FILE_OPEN | {"exists": True},
        FILE_OPEN | {"path_base64": "not base64"},
        EXITED | {"kind": "net-bind", "category": "network"},
    ],
)
def test_bad_lines(record: dict[str, object]) -> None:
    """Unknown fields, missing ones, contradictions and values outside a closed set are invalid."""
    assert not VALIDATOR.is_valid(record)

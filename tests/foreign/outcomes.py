"""What `python -m test -v` printed becomes a mapping from test to outcome; no I/O here.

Some facts about that output. A test's name comes first and its outcome later, on the same line unless the test (or a
process it started) wrote in between, so that the outcome may stand on a line of its own or behind other text. A test
with a docstring takes two lines. A failed subtest has a line of its own, indented. On a terminal lines end in CR LF.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"^\s*(?P<name>\w+) \((?P<where>test\.[\w.]+)\)")
_OUTCOME = re.compile(
    r"(?:^|\.\.\. |[^\w'\"])(?P<outcome>ok|FAIL|ERROR|skipped ['\"].*|expected failure|unexpected success)$"
)
_MODULE_SKIPPED = re.compile(r"^(?P<name>test_\w+) skipped -- (?P<reason>.*)$")
_UNSETTLED = "no outcome"
# The worst of several outcomes of one test (its subtests) is its outcome.
_BADNESS = ("ok", "expected failure", "skipped", _UNSETTLED, "unexpected success", "FAIL", "ERROR")


def parse(output: bytes) -> dict[str, str]:
    """Return each test's outcome: `ok`, `skipped 'reason'`, `FAIL`, `ERROR`, and rarer ones."""
    found: dict[str, str] = {}
    current = ""
    for raw in output.decode("utf-8", "replace").replace("\r", "").split("\n"):
        line = raw.rstrip()
        # Everything below the first double rule repeats what failed, and says why.
        if line == "=" * 70:
            current = ""
        if skipped := _MODULE_SKIPPED.match(line):
            found[skipped["name"]] = f"skipped {skipped['reason']!r}"
        if named := _NAME.match(line):
            where = named["where"]
            current = where if where.endswith(f".{named['name']}") else f"{where}.{named['name']}"
            found.setdefault(current, _UNSETTLED)
        if current and (settled := _OUTCOME.search(line)):
            before = found[current]
            outcome = settled["outcome"]
            found[current] = outcome if before == _UNSETTLED else max(before, outcome, key=_badness)
    return found


def differences(expected: dict[str, str], actual: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return the tests whose outcomes differ, as (expected, actual)."""
    return {
        name: (expected.get(name, "absent"), actual.get(name, "absent"))
        for name in sorted(expected.keys() | actual.keys())
        if expected.get(name) != actual.get(name)
    }


def _badness(outcome: str) -> int:
    return next(rank for rank, name in enumerate(_BADNESS) if outcome.startswith(name))

"""CPython's own suites cannot tell whether they run inside rprun; the quick ones here, all of them by compare.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from compare import CELLS, QUICK, SLOW, Cell, Comparison
from outcomes import differences, parse
from running import rprun_argv

if TYPE_CHECKING:
    from pathlib import Path

OUTPUT = b"""\
0:00:00 load avg: 0.10 [1/1] test_pty\r
test_basic (test.test_pty.PtyTest.test_basic) ... Calling master_open()\r
Got master_fd '3'\r
ok\r
test_fork (test.test_pty.PtyTest.test_fork)\r
It says what it does. ... skipped 'no (real) terminal'\r
test_old (test.test_pty.PtyTest) ... noiseok\r
test_sub (test.test_pty.PtyTest.test_sub) ... \r
  test_sub (test.test_pty.PtyTest.test_sub) (number=1) ... FAIL\r
test_last (test.test_pty.PtyTest.test_last) ... expected failure\r
\r
======================================================================\r
FAIL: test_sub (test.test_pty.PtyTest.test_sub) (number=1)\r
test_other skipped -- No module named '_other'\r
"""


COMPARISON = Comparison(sys.executable, rprun_argv())
# A suite that this Python does not have (test_tty is young) is nothing to compare.
SUITES = COMPARISON.suites(QUICK + SLOW)
CASES = [(cell, suite) for suite in SUITES for cell in (CELLS if suite in QUICK else CELLS[1:2])]


def test_output_is_understood() -> None:
    """A name and its outcome are found on one line, on two, with text between, and for the worst of the subtests."""
    assert parse(OUTPUT) == {
        "test.test_pty.PtyTest.test_basic": "ok",
        "test.test_pty.PtyTest.test_fork": "skipped 'no (real) terminal'",
        "test.test_pty.PtyTest.test_old": "no outcome",
        "test.test_pty.PtyTest.test_sub": "FAIL",
        "test.test_pty.PtyTest.test_last": "expected failure",
        "test_other": "skipped \"No module named '_other'\"",
    }


def test_differences_name_both_outcomes() -> None:
    """What changed, what is gone and what is new are all differences."""
    assert differences({"a": "ok", "b": "ok", "c": "ok"}, {"a": "ok", "b": "FAIL", "d": "ok"}) == {
        "b": ("ok", "FAIL"),
        "c": ("ok", "absent"),
        "d": ("absent", "ok"),
    }


@pytest.mark.skipif(not SUITES, reason="this Python has no `test` package (Debian: libpython3-testsuite)")
@pytest.mark.parametrize(("cell", "suite"), CASES, ids=str)
def test_suite_ends_as_outside(cell: Cell, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test of the suite has the same outcome inside rprun as outside; a difference must come back to count."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = COMPARISON.differences(cell, suite)
    assert not found or not COMPARISON.repeat(cell, suite)

"""Where RPRUN_FORBID_SKIP is set, a skip is a failure: that machine is said to have all that the tests need.

Loaded by `pytest -p forbid_skip`. A test that is about being root, or about not being root, says so with the word in
its reason, and may be skipped: CI runs the tests as both.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

_ABOUT_PRIVILEGE = re.compile(r"\b(root|privileged?|unprivileged)\b")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a forbidden skip into a failure that gives its reason."""
    del item, call
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _forbid(report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Turn the skip of a whole module into an error."""
    if report.skipped:
        _forbid(report)


def _forbid(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if os.environ.get("RPRUN_FORBID_SKIP") and not _ABOUT_PRIVILEGE.search(reason):
        report.outcome = "failed"
        report.longrepr = f"a skip is a failure here: {reason}"

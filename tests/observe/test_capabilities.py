"""The matrix says what this version really sees, on this host and, as tables, on others."""

from __future__ import annotations

import copy
import re
import subprocess
import sys

import pytest

from rprun.backends.choice import choose
from rprun.backends.registry import candidates, for_run
from rprun.errors import RprunError, UsageError
from rprun.observe.capabilities import CategoryCapability, ObserverCapabilities
from rprun.observe.categories import CapabilitySupport, EventCategory

ROWS = (
    CategoryCapability("process", "unavailable", "none", "no process"),
    CategoryCapability("lifecycle", "supported", "life", "all of it"),
    CategoryCapability("network", "unavailable", "none", "no network"),
    CategoryCapability("file", "partial", "a-backend", "some of it"),
)


def test_negotiation_is_cached_for_the_process() -> None:
    """Two negotiations give one object."""
    assert ObserverCapabilities.negotiate() is ObserverCapabilities.negotiate()


def test_each_row_is_a_backend_that_sees_or_a_reason_that_helps() -> None:
    """Lifecycle is supported by portable-lifecycle; a row without a backend says what is missing."""
    matrix = ObserverCapabilities.negotiate()
    assert matrix.category("lifecycle").backend == "portable-lifecycle"
    assert matrix.is_supported("lifecycle")
    for row in matrix.categories():
        assert (row.backend == "none") == (row.support == "unavailable")
        assert row.reason


FOREIGN = "kqueue" if sys.platform == "win32" else "etw"


def test_a_forced_backend_has_its_row_whatever_it_sees() -> None:
    """Only the rows that were forced differ, by name and by the backend's own answer; candidates stay."""
    best, forced = ObserverCapabilities.negotiate(), ObserverCapabilities.negotiate({"file": FOREIGN})
    assert forced.category("file").to_row()[:3] == ["file", "unavailable", FOREIGN]
    assert forced.category("file") in best.candidates()
    assert [row for row in forced.categories() if row.category != "file"] == [
        row for row in best.categories() if row.category != "file"
    ]
    assert forced.candidates() == best.candidates()
    same = ObserverCapabilities.negotiate({"lifecycle": "portable-lifecycle"})
    assert same.to_table_rows() == best.to_table_rows()


def test_a_forced_negotiation_is_cached_too() -> None:
    """The same backends give the same matrix, in whatever order; none give that of the best."""
    forced = ObserverCapabilities.negotiate({"file": FOREIGN, "lifecycle": "portable-lifecycle"})
    assert forced is ObserverCapabilities.negotiate({EventCategory.LIFECYCLE: "portable-lifecycle", "file": FOREIGN})
    assert forced is not ObserverCapabilities.negotiate({"file": FOREIGN})
    assert ObserverCapabilities.negotiate({}) is ObserverCapabilities.negotiate()


def test_requirements_are_about_the_forced_backend() -> None:
    """What another backend would see does not help; both complaints have the forced one's own reason."""
    forced = ObserverCapabilities.negotiate({"file": FOREIGN})
    reason = forced.category("file").reason
    with pytest.raises(RprunError, match=re.escape(f"--require file=partial: it is unavailable here: {reason}")):
        forced.require([("file", "partial")])
    with pytest.raises(RprunError, match=re.escape(f"--backend file={FOREIGN}: {reason}")):
        forced.require_backends({"lifecycle": "portable-lifecycle", "file": FOREIGN})
    forced.require_backends({"lifecycle": "portable-lifecycle"})


def test_a_backend_nobody_knows_is_refused_with_the_candidates() -> None:
    """A name that no backend of the category has is the caller's mistake."""
    with pytest.raises(UsageError, match=r"file=proc-connector: there is no such backend \(try .*ebpf"):
        ObserverCapabilities.negotiate({"file": "proc-connector"})
    with pytest.raises(ValueError, match="not an event category"):
        ObserverCapabilities.negotiate({"files": "ebpf"})


def test_a_run_gets_one_backend_for_all_of_its_categories() -> None:
    """Rows of one backend share an instance; what is unavailable has none."""
    rows = [
        CategoryCapability("file", "partial", "ebpf", "some"),
        CategoryCapability("lifecycle", "supported", "portable-lifecycle", "all"),
        CategoryCapability("process", "supported", "ebpf", "all"),
        CategoryCapability("network", "unavailable", "ebpf", "nothing"),
    ]
    found = [(backend.name, categories) for backend, categories in for_run(rows, sys.platform)]
    assert found == [("ebpf", ("file", "process")), ("portable-lifecycle", ("lifecycle",))]


def test_rows_come_in_order_whatever_they_were_given_in() -> None:
    """to_table_rows gives four strings for each category, in ALL order."""
    rows = ObserverCapabilities(ROWS).to_table_rows()
    assert [row[0] for row in rows] == list(EventCategory.ALL)
    assert rows[1] == ["file", "partial", "a-backend", "some of it"]
    assert all(type(cell) is str for row in rows for cell in row)


def test_summary_is_aligned() -> None:
    """Two spaces of indent, two between columns, the first three as wide as their longest cell."""
    assert ObserverCapabilities(ROWS).render_summary() == (
        "observer capabilities:\n"
        "  lifecycle  supported    life       all of it\n"
        "  file       partial      a-backend  some of it\n"
        "  network    unavailable  none       no network\n"
        "  process    unavailable  none       no process"
    )


def test_partial_support_is_not_supported() -> None:
    """is_supported is true of full support only."""
    matrix = ObserverCapabilities(ROWS)
    assert matrix.support("file") is CapabilitySupport.PARTIAL
    assert not matrix.is_supported(EventCategory.FILE)


def test_a_matrix_has_each_category_once() -> None:
    """A row too few, or one twice, is refused."""
    with pytest.raises(ValueError, match="one row of each"):
        ObserverCapabilities(ROWS[:3])
    with pytest.raises(ValueError, match="one row of each"):
        ObserverCapabilities((*ROWS[:3], ROWS[0]))


def test_require_fails_with_the_reason() -> None:
    """What is not met ends in exit status 125, and the message is one line with the matrix's reason."""
    matrix = ObserverCapabilities(ROWS)
    matrix.require([("lifecycle", "supported"), ("file", "partial")])
    with pytest.raises(RprunError, match="--require file=supported: .* partial .* some of it") as caught:
        matrix.require([("file", "supported")])
    assert caught.value.status == 125
    assert "\n" not in str(caught.value)


def test_rows_are_values() -> None:
    """Rows are frozen, comparable, hashable and can be copied."""
    row = ROWS[0]
    assert copy.deepcopy(row) == row
    assert len({row, copy.copy(row)}) == 1
    with pytest.raises(AttributeError, match="frozen"):
        row.reason = "other"


@pytest.mark.parametrize(
    ("platform", "category", "names"),
    [
        ("linux", "lifecycle", ["portable-lifecycle"]),
        (
            "linux",
            "process",
            ["ebpf", "proc-connector", "seccomp-user-notify", "psutil-poll", "etw", "endpoint-security"],
        ),
        ("linux", "file", ["ebpf", "seccomp-user-notify", "psutil-poll", "etw", "kqueue"]),
        ("win32", "network", ["etw", "psutil-poll", "ebpf", "seccomp-user-notify", "endpoint-security"]),
        ("darwin", "file", ["kqueue", "psutil-poll", "ebpf", "seccomp-user-notify", "etw"]),
        ("freebsd14", "file", ["psutil-poll", "ebpf", "seccomp-user-notify", "etw", "kqueue"]),
    ],
)
def test_candidates_of_the_system_come_first(platform: str, category: str, names: list[str]) -> None:
    """Candidates are listed best first, those that are for other systems last."""
    assert [backend.name for backend in candidates(EventCategory(category), platform)] == names


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32", "freebsd14"])
@pytest.mark.parametrize("category", EventCategory.ALL)
def test_every_answer_is_one_honest_sentence(platform: str, category: EventCategory) -> None:
    """Each choice and each candidate has a reason of one line; what is not built claims nothing."""
    choice = choose(category, platform)
    planned = {candidate.name for candidate in candidates(category, platform) if not candidate.is_built}
    assert choice.reason
    assert (choice.backend is None) == (choice.support is CapabilitySupport.UNAVAILABLE)
    for answer in choice.answers():
        assert answer.reason.isprintable()
        assert answer.support is CapabilitySupport.UNAVAILABLE or answer.backend not in planned


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
@pytest.mark.parametrize("category", ["process", "file", "network"])
def test_other_systems_have_snapshots(platform: str, category: str) -> None:
    """Where nothing better is built, psutil-poll is the answer, partial, and its reason says what it misses."""
    choice = choose(EventCategory(category), platform)
    assert (choice.backend, choice.support) == ("psutil-poll", CapabilitySupport.PARTIAL)
    assert "between two looks" in choice.reason
    assert "5 ms" in choice.reason


ASKED = """
import sys
from rprun.backends.choice import choose
from rprun.observe.categories import EventCategory
choice = choose(EventCategory.LIFECYCLE, sys.platform)
for category in map(EventCategory, ("process", "file", "network")):
    choice = choose(category, sys.platform)
    assert ("psutil" in sys.modules) == (choice.backend in ("psutil-poll", None)), choice.backend
assert "psutil-poll" in [answer.backend for answer in choice.answers()]
assert "psutil" in sys.modules
"""


def test_a_backend_that_cannot_win_is_not_asked() -> None:
    """Where another one sees as much as snapshots can, psutil is imported for a list of all only."""
    subprocess.run([sys.executable, "-c", ASKED], check=True, timeout=60)

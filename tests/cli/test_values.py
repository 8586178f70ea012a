"""Each value parser takes what its manual says, in the units of `RunOptions`, and refuses the rest in one line."""

from __future__ import annotations

import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rprun.backends.registry import candidates
from rprun.cli import values
from rprun.errors import UsageError
from rprun.observe.categories import EventCategory

INF = float("inf")
CATEGORIES = ("lifecycle", "file", "network", "process")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("3s", 3), ("250ms", 0.25), (".5", 0.5), ("5.", 5),
        ("1e3", 1000), ("1e1s", 10), ("1E+1m", 600), ("+5", 5), ("0", 0), ("00", 0), ("0.0s", 0), ("1e-400", 1e-9),
    ],
)  # fmt: skip
def test_duration_follows_timeout(text: str, seconds: float) -> None:
    """Decimal numbers, their suffixes and `ms` are seconds; what is too small for a float is not nothing."""
    assert values.duration(text) == pytest.approx(seconds, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "-1", "-0", "nan", "NaN", "1_0", "0x10", "٣", "²", "1 s", " 1", "1\n", "1ss", "1D", "1M", "m", ".",
        "1e", "e3", "1e400", "1e308d", "--", "infs", "in", "1,5", "1w", "+-1", "1+1", "\udcff", "９",
    ],
)  # fmt: skip
def test_duration_refuses(text: str) -> None:
    """What timeout(1) refuses is refused, and so are hexadecimal, blanks and infinities that are written as numbers."""
    with pytest.raises(UsageError, match=r"\(try "):
        values.duration(text, infinite=True)


def test_infinity_only_where_it_makes_sense() -> None:
    """`inf` waits for ever in a drain, is no limit as a timeout, and is no grace before KILL."""
    assert values.drain("inf") == values.drain("Infinity") == INF
    assert values.limit("inf") is None
    with pytest.raises(UsageError):
        values.duration("inf")


def test_zero_disables_a_limit() -> None:
    """0 sets no limit, as in timeout(1), while anything above it does."""
    assert values.limit("0") is None
    assert values.limit("0ms") is None
    assert values.limit("1ms") == 0.001
    assert values.limit("1e-400") is not None


@given(st.text())
def test_duration_is_a_number_or_a_usage_error(text: str) -> None:
    """No text whatever gives another exception, or a duration that is negative, infinite or no number."""
    try:
        seconds = values.duration(text)
    except UsageError:
        return
    assert 0 <= seconds < INF


@pytest.mark.parametrize(("text", "size"), [("80x24", (80, 24)), ("1X65535", (1, 65535)), ("0080x024", (80, 24))])
def test_size(text: str, size: tuple[int, int]) -> None:
    """Columns come first, the x may be large, and 16 bits are the limit."""
    assert values.size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80",
        "80x",
        "x24",
        "0x24",
        "80x0",
        "65536x1",
        "80x24x1",
        "80 x24",
        "-1x5",
        "٣x٣",
        "8_0x24",
        "9" * 9999 + "x1",
    ],
)
def test_size_refuses(text: str) -> None:
    """What is not two numbers from 1 to 65535 is refused, however long."""
    with pytest.raises(UsageError):
        values.size(text)


@pytest.mark.skipif(sys.platform == "win32", reason="names of POSIX signals")
def test_signal_names_and_numbers() -> None:
    """Names go with and without SIG, in any case; numbers and offsets from RTMIN are the kernel's."""
    assert {values.signal(text) for text in ("TERM", "term", "SIGTERM", "SigTerm", "15", "015")} == {signal.SIGTERM}
    assert values.signal("rtmin+3") == signal.SIGRTMIN + 3
    assert values.signal("RTMIN") == signal.SIGRTMIN
    assert values.signal("SIGRTMAX-1") == signal.SIGRTMAX - 1


def test_every_signal_of_this_system_is_known() -> None:
    """Each name and number the signal module knows is taken, and means the same."""
    for member in signal.Signals:
        assert values.signal(member.name) == values.signal(str(member.value)) == member
        assert values.signal_names()[member.name[3:]] == member


@pytest.mark.parametrize(
    "text",
    ["", "0", "65", "999999999999", "-9", "32", "_DFL", "SIG_IGN", "SIG", "SIGSIGTERM", "TERM+1", "RTMIN+99", "RTMIN-1",
     "RTMAX+1", "RTMIN+", "RTMIN+x", "FOO", "TERM ", "٩", "ſIGTERM", "9 "],
)  # fmt: skip
def test_signal_refuses(text: str) -> None:
    """What kill(1) would not send is refused, and so are the module's own constants."""
    with pytest.raises(UsageError, match="no such signal"):
        values.signal(text)


def test_categories_keep_the_order_asked_for() -> None:
    """Comma lists and repetitions add up; `all` stands for the four in their fixed order; each comes once."""
    assert values.categories(["network,file", "file"]) == ("network", "file")
    assert values.categories(["all"]) == CATEGORIES
    assert values.categories(["process,all"]) == ("process", "lifecycle", "file", "network")


@pytest.mark.parametrize(
    "texts", [[""], ["file,"], [",file"], ["file,,network"], ["files"], ["File"], ["file ,network"]]
)
def test_categories_refuse(texts: list[str]) -> None:
    """An empty item or an unknown word is a mistake, and the message lists what there is."""
    with pytest.raises(UsageError, match="lifecycle"):
        values.categories(texts)


def test_requirements() -> None:
    """A category alone asks for partial support, `=supported` for full; the higher of two holds."""
    assert values.requirements(["file", "network=supported"]) == (("file", "partial"), ("network", "supported"))
    assert values.requirements(["file=supported,file"]) == (("file", "supported"),)
    assert values.requirements(["all=partial"]) == tuple((category, "partial") for category in CATEGORIES)


@pytest.mark.parametrize("text", ["", "file=", "file=full", "file=unavailable", "x=supported", "=supported"])
def test_requirements_refuse(text: str) -> None:
    """A level that nothing can have is refused."""
    with pytest.raises(UsageError):
        values.requirements([text])


def test_backends() -> None:
    """Items name a backend for a category; of two for one category the last holds."""
    assert values.backends(["file=ebpf,network=psutil-poll", "process=etw"]) == (
        ("file", "ebpf"),
        ("network", "psutil-poll"),
        ("process", "etw"),
    )
    assert values.backends(["file=ebpf", "file=etw"]) == (("file", "etw"),)


@pytest.mark.parametrize(
    ("text", "candidate"),
    [
        ("", "file=ebpf"),
        ("file=ebpf,", "file=ebpf"),
        ("file", "file=kqueue"),
        ("file=", "file=kqueue"),
        ("file=EBPF", "file=ebpf"),
        ("file=portable-lifecycle", "file=seccomp-user-notify"),
        ("network=kqueue", "network=endpoint-security"),
        ("process=ebpf=1", "process=proc-connector"),
        ("files=ebpf", "network"),
        ("all=ebpf", "lifecycle"),
        ("=ebpf", "process"),
    ],
)
def test_backends_refuse(text: str, candidate: str) -> None:
    """What is unknown is refused with what there is instead."""
    with pytest.raises(UsageError, match=rf"\(try .*{candidate}"):
        values.backends([text])


@pytest.mark.parametrize("category", CATEGORIES)
def test_backends_are_those_of_the_registry(category: str) -> None:
    """The names that the command line knows are those of the backends there are, in the same order on Linux."""
    assert [backend.name for backend in candidates(EventCategory(category), "linux")] == [*values.BACKENDS[category]]


def test_environment() -> None:
    """A variable may be set to nothing and to text with equals signs, but needs a name."""
    assert values.assignment("A=b=c") == ("A", "b=c")
    assert values.assignment("A=") == ("A", "")
    assert values.variable("A") == "A"
    for text in ("", "A", "=b", "A=\0"):
        with pytest.raises(UsageError):
            values.assignment(text)
    for text in ("", "A=b", "A\0"):
        with pytest.raises(UsageError):
            values.variable(text)


def test_events_destination() -> None:
    """`-`, a file and a descriptor are destinations; a mistyped descriptor is not taken for a file."""
    assert [values.events(text) for text in ("-", "a b", "fd:3", "fd:007", "fd:0", "./fd:x")] == [
        "-", "a b", "fd:3", "fd:7", "fd:0", "./fd:x",
    ]  # fmt: skip
    for text in ("", "fd:", "fd:x", "fd:-1", "fd:1_0", "fd:٣", "fd:2147483648", "fd:" + "9" * 9999):
        with pytest.raises(UsageError):
            values.events(text)


def test_orphans_and_directory() -> None:
    """The choices are what the contract lists; a directory's name is not empty."""
    assert [values.orphans(text) for text in values.ORPHANS] == ["leave", "report", "wait", "kill"]
    assert values.directory("x") == "x"
    for parse in (values.orphans, values.directory):
        with pytest.raises(UsageError):
            parse("")

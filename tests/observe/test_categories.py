"""The words of the matrix are what users script against."""

from __future__ import annotations

import pytest

from rprun.observe.categories import CapabilitySupport, EventCategory


def test_all_is_in_the_order_of_every_table() -> None:
    """ALL holds the four members, lifecycle first, and is not one of them."""
    assert EventCategory.ALL == ("lifecycle", "file", "network", "process")
    assert all(isinstance(category, EventCategory) for category in EventCategory.ALL)
    assert len(EventCategory) == 4


def test_plain_strings_do() -> None:
    """A member is found by its string, equals it and prints as it."""
    assert EventCategory("file") is EventCategory.FILE
    assert {EventCategory.FILE} == {"file"}
    assert f"{EventCategory.FILE}" == "file"


def test_an_unknown_category_is_named_with_those_there_are() -> None:
    """The error says what was given and what could have been."""
    with pytest.raises(ValueError, match="'files' is not an event category .*lifecycle, file, network, process"):
        EventCategory("files")


@pytest.mark.parametrize(
    ("level", "wanted", "enough"),
    [
        ("supported", "supported", True),
        ("supported", "partial", True),
        ("partial", "partial", True),
        ("partial", "supported", False),
        ("unavailable", "partial", False),
        ("unavailable", "unavailable", True),
    ],
)
def test_levels_are_ordered(level: str, wanted: str, enough: bool) -> None:
    """Supported is as good as partial, and partial as unavailable, never the other way round."""
    assert CapabilitySupport(level).at_least(wanted) is enough

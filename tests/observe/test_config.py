"""What was asked for keeps its order and cannot change."""

from __future__ import annotations

import copy
import pickle

import pytest

from rprun.observe.categories import EventCategory
from rprun.observe.config import ObserverConfig


def test_order_asked_for_is_kept_without_repeats() -> None:
    """categories gives members in the order asked for, each once."""
    config = ObserverConfig.with_categories(["process", "file", EventCategory.PROCESS])
    assert config.categories() == (EventCategory.PROCESS, EventCategory.FILE)


def test_lifecycle_is_only_lifecycle() -> None:
    """The short form asks for lifecycle; a list without it does not."""
    assert ObserverConfig.lifecycle().categories() == (EventCategory.LIFECYCLE,)
    assert ObserverConfig.lifecycle().observes("lifecycle")
    assert not ObserverConfig.with_categories(["file"]).observes("lifecycle")


def test_a_config_is_a_value() -> None:
    """It is frozen, comparable, hashable and can be copied."""
    config = ObserverConfig.with_categories(["file"])
    assert copy.deepcopy(config) == config
    assert len({config, copy.copy(config)}) == 1
    assert config != ObserverConfig.lifecycle()
    with pytest.raises(AttributeError, match="frozen"):
        config.anything = 1


def test_backends_are_part_of_the_value() -> None:
    """A config keeps the backends that were asked for, in whatever order, through copies and pickles."""
    config = ObserverConfig.with_categories(["file"], backends={"process": "b", "file": "a"})
    assert list(config.backends().items()) == [(EventCategory.FILE, "a"), (EventCategory.PROCESS, "b")]
    same = ObserverConfig.with_categories(["file"], backends={EventCategory.FILE: "a", EventCategory.PROCESS: "b"})
    assert len({config, same, copy.deepcopy(config), pickle.loads(pickle.dumps(config))}) == 1
    assert config != ObserverConfig.with_categories(["file"])
    assert config != ObserverConfig.with_categories(["file"], backends={"file": "b"})
    assert eval(repr(config), {"ObserverConfig": ObserverConfig}) == config
    config.backends()["network"] = "c"  # type: ignore[index]
    assert config == same
    assert ObserverConfig.lifecycle().backends() == {}


def test_backends_are_checked() -> None:
    """A key that is no category and a name that is no text raise where they are given."""
    with pytest.raises(ValueError, match="not an event category"):
        ObserverConfig.with_categories(["file"], backends={"files": "a"})
    with pytest.raises(TypeError, match="must be a name"):
        ObserverConfig.with_categories(["file"], backends={"file": None})  # type: ignore[dict-item]


def test_an_unknown_category_is_refused() -> None:
    """A name that is no category's raises where it is given."""
    with pytest.raises(ValueError, match="not an event category"):
        ObserverConfig.with_categories(["lifecycles"])

"""rprun's account of a run, as items that can be compared; no I/O here."""

from __future__ import annotations

import base64
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from items import ONLY_CLAIMS, UNKNOWN, Item, path_of, port_of, target_of, unix_name, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


_ENDS = ("file-write", "file-close")


def of_rprun(events: Iterable[Mapping[str, Any]], *, results: bool = False, counts: bool = False) -> Counter[Item]:
    """Return what rprun's events say; lifecycle, `lost` and `unobserved` are not among it, nor are ends of sockets.

    Args:
        events: as they were written.
        results: whether an event's result is a part of its item.
        counts: whether the ends of files are among it, and how much was written to them.
    """
    found: Counter[Item] = Counter()
    for event in events:
        if event["kind"] == "net-close" or (event["kind"] in _ENDS and not counts):
            continue
        if make := _OF_EVENTS.get(event["kind"].split("-")[0]):
            outcome = (str(event["result"]),) if results and "result" in event else ()
            found[event["kind"], *make(event), *outcome] += 1
    return found


def _text(event: Mapping[str, Any], name: str) -> str | None:
    """Return a field with its exact bytes, those that are not UTF-8 as surrogates."""
    exact = event.get(f"{name}_base64")
    return os.fsdecode(base64.b64decode(exact)) if exact is not None else event.get(name)


def _of_file(event: Mapping[str, Any]) -> Item:
    if event["kind"] == "file-open":
        return path_of(_text(event, "path")), str(event["access"]), "create" if event["create"] else ""
    if event["kind"] == "file-symlink":
        return path_of(_text(event, "to")), target_of(_text(event, "from"))
    if event["kind"] == "file-write":
        return path_of(_text(event, "path")), str(event["byte_count"])
    if "from" in event:
        return path_of(_text(event, "from")), path_of(_text(event, "to"))
    return (path_of(_text(event, "path")),)


def _of_exec(event: Mapping[str, Any]) -> Item:
    words, exact = event["argv"], event.get("argv_base64") or []
    if words is None:
        return path_of(_text(event, "path")), UNKNOWN
    for index, data in enumerate(exact):
        words = (
            [*words[:index], os.fsdecode(base64.b64decode(data)), *words[index + 1 :]] if data is not None else words
        )
    return path_of(_text(event, "path")), words_of(words)


def _of_net(event: Mapping[str, Any]) -> Item:
    if event["kind"] in ONLY_CLAIMS:
        return ()
    family = str(event["family"])
    if family == "unix":
        path = _text(event, "path")
        return family, UNKNOWN if path is None else unix_name(path)
    if family not in ("inet", "inet6"):
        return (family,) if event["family"] else (UNKNOWN,)
    if event["kind"] == "net-send" and event["address"] is None:
        return (UNKNOWN,)
    return family, str(event["address"] or UNKNOWN), port_of(event["port"])


def _of_descendant(event: Mapping[str, Any]) -> Item:
    if event["kind"] == "descendant-started":
        return ()
    code = event["exit_code"]
    return (UNKNOWN if code is None else str(code),)


_OF_EVENTS: dict[str, Callable[[Mapping[str, Any]], Item]] = {
    "file": _of_file,
    "exec": _of_exec,
    "net": _of_net,
    "descendant": _of_descendant,
}

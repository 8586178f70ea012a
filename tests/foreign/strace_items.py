"""strace's account of a run, as items that can be compared; no I/O here."""

from __future__ import annotations

import re
import signal
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from items import ONLY_CLAIMS, UNKNOWN, Item, path_of, port_of, target_of, unix_name, words_of
from strace_log import Call, Log, at, split, string

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENS = ("open", "openat", "openat2", "creat")
"""The calls that make a `file-open`."""

_TWO_PATHS = {"rename": "file-rename", "link": "file-link"}
_ONE_PATH = {
    "mkdir": "file-mkdir",
    "rmdir": "file-rmdir",
    "unlink": "file-unlink",
    "truncate": "file-truncate",
    "chmod": "file-chmod",
    "chown": "file-chown",
    "lchown": "file-chown",
}
_BY_DESCRIPTOR = {"ftruncate": "file-truncate", "fchmod": "file-chmod", "fchown": "file-chown"}
_SOCKETS = {"connect": "net-connect", "bind": "net-bind", "listen": "net-listen", "accept": "net-accept"}
_SENDS = ("sendto", "sendmsg", "sendmmsg")

TRACED = (
    *OPENS,
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "truncate", "chmod", "fchmodat", "fchmodat2"),
    *("chown", "lchown", "fchownat"),
    *_BY_DESCRIPTOR,
    *_SOCKETS,
    *("accept4", *_SENDS, "execve", "execveat"),
)
"""The calls that items are made of. A version of strace need not know every one: 6.1 has no `fchmodat2` (Linux 6.6)."""

FOLLOWED = ("chdir", "fchdir", "fork", "vfork", "clone", "clone3")
"""The calls that say in which directory a process is, and which processes there are."""


class Account(NamedTuple):
    """What must be known of a run, and what may be claimed of it; each with its count."""

    certain: Counter[Item]
    possible: Counter[Item]


def of_strace(log: Log, *, results: bool = False) -> Account:
    """Return what strace saw: done for certain (for connects: tried), and all that was tried.

    Args:
        log: what it wrote.
        results: whether a call's result is a part of its item. Then all that ended is certain, but execs that failed;
            and what was interrupted, to be done again, is neither.
    """
    account = Account(Counter(), Counter())
    for call in log.calls:
        if results and call.value is None:
            continue
        for item in _items(call):
            is_told = item[0] == "net-connect" or call.succeeded or (results and item[0] != "exec")
            outcome = (call.error or "ok",) if results and not item[0].startswith("descendant") else ()
            account.possible[*item, *outcome] += 1
            if item[0] == "net-connect" or (is_told and item[0] not in ONLY_CLAIMS and item[1:] != (UNKNOWN,)):
                account.certain[*item, *outcome] += 1
    for end in log.ended:
        if not end.thread:
            status = f"-{int(signal.Signals[end.status[1:]])}" if end.status.startswith("-") else end.status
            account.possible["descendant-exited", status] += 1
            account.possible["descendant-exited", UNKNOWN] += 1
    return account


def _items(call: Call) -> Iterator[Item]:
    name, arguments = call.name, call.arguments
    if name in OPENS:
        yield open_item(call)
    elif name.removesuffix("at2").removesuffix("at") in _TWO_PATHS:
        yield _two_paths(call)
    elif name in ("symlink", "symlinkat"):
        link = path_of(string(arguments[1]), call.cwd) if name == "symlink" else _path_at(call, 1)
        yield "file-symlink", link, target_of(string(arguments[0]))
    elif name in ("execve", "execveat"):
        yield _exec(call)
    elif name == "unlinkat" and "AT_REMOVEDIR" in arguments[-1]:
        yield "file-rmdir", _path_at(call, 0)
    elif name in _BY_DESCRIPTOR:
        yield _BY_DESCRIPTOR[name], path_of(at(arguments[0]))
    elif kind := _ONE_PATH.get(name):
        yield kind, path_of(string(arguments[0]), call.cwd)
    elif kind := _ONE_PATH.get(name.removesuffix("2").removesuffix("at").removeprefix("f")):
        yield kind, _path_at(call, 0)
    elif name in ("fork", "vfork", "clone", "clone3"):
        yield from () if "CLONE_THREAD" in " ".join(arguments) else [("descendant-started",)]
    else:
        yield from _of_socket(call)


def _path_at(call: Call, first: int) -> str:
    """Return the path given by a directory and a path in it; the directory itself where the path is empty."""
    base, path = at(call.arguments[first]), string(call.arguments[first + 1])
    if call.arguments[first].startswith("AT_FDCWD"):
        base = base or call.cwd
    return path_of(base) if path in (None, "") and base else path_of(path, base)


def open_item(call: Call) -> Item:
    """Return the item of one of `OPENS`."""
    if call.name == "creat":
        return "file-open", path_of(string(call.arguments[0]), call.cwd), "write", "create"
    is_at = call.name != "open"
    path = _path_at(call, 0) if is_at else path_of(string(call.arguments[0]), call.cwd)
    flags = call.arguments[2 if is_at else 1]
    if call.name == "openat2":
        flags = next((part for part in split(flags.strip("{}")) if part.startswith("flags=")), "")
    access = "readwrite" if "O_RDWR" in flags else "write" if "O_WRONLY" in flags else "read"
    return "file-open", path, access, "create" if "O_CREAT" in flags or "O_TMPFILE" in flags else ""


def _two_paths(call: Call) -> Item:
    stem = call.name.removesuffix("at2").removesuffix("at")
    if stem == call.name:
        old, new = (path_of(string(argument), call.cwd) for argument in call.arguments[:2])
    else:
        old, new = _path_at(call, 0), _path_at(call, 2)
    return _TWO_PATHS[stem], old, new


def _exec(call: Call) -> Item:
    first = int(call.name == "execveat")
    path = _path_at(call, 0) if first else path_of(string(call.arguments[0]), call.cwd)
    words = call.arguments[first + 1]
    return "exec", path, words_of(string(word) for word in split(words[1:-1])) if words.startswith("[") else UNKNOWN


def _of_socket(call: Call) -> Iterator[Item]:
    if call.name in _SENDS:
        yield from _sends(call)
    elif kind := _SOCKETS.get(call.name.removesuffix("4")):
        yield from [(kind,)] if kind in ONLY_CLAIMS else _addresses(kind, call.arguments[1])


def _sends(call: Call) -> Iterator[Item]:
    """Yield one item for each destination; a send without one is a claim that may be made, and need not be."""
    # What is sent may look like anything, an address too.
    places = [_DATA.sub("", part) for part in call.arguments[1:] if not part.startswith('"')]
    found = [item for place in places for item in _addresses("net-send", place)]
    yield from found or [("net-send", UNKNOWN)]


_DATA = re.compile(r'iov_base="(?:[^"\\]|\\.)*"')
_FAMILY = re.compile(r'\{sa_family=AF_(\w+)((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\}')
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_ADDRESS = re.compile(r'(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]*)"')
_SCOPE = re.compile(r'sin6_scope_id=(?:if_nametoindex\("(\w+)"\)|(\d+))')
_SUN_PATH = re.compile(r'sun_path=(@?"(?:[^"\\]|\\.)*")')


def _addresses(kind: str, text: str) -> Iterator[Item]:
    for family, rest in _FAMILY.findall(text):
        if family == "UNIX":
            named = _SUN_PATH.search(rest)
            path = (string(named[1]) or "") if named else ""
            yield kind, "unix", unix_name("@" + path if named and named[1].startswith("@") else path)
        elif family in ("INET", "INET6"):
            port, address, scope = _PORT.search(rest), _ADDRESS.search(rest), _SCOPE.search(rest)
            suffix = f"%{scope[2]}" if scope and scope[2] not in (None, "0") else ""
            yield (
                kind,
                family.lower(),
                f"{address[1]}{suffix}" if address else UNKNOWN,
                port_of(int(port[1]) if port else 0),
            )
        elif family != "UNSPEC":
            yield kind, family.lower()

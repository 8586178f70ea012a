"""What the tests of the programs that follow a tree of processes have in common: a tree, and what is told of it."""

from __future__ import annotations

import os
import re
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from running import wait_until

sys.path.append(str(Path(__file__).parents[1] / "linux"))
from children import forked

from rprun.backends.ebpf.kernel import Kernel
from rprun.backends.ebpf.layout import HEADER, Kind, Lost
from rprun.backends.ebpf.maps import Maps
from rprun.backends.ebpf.process_decode import ProcessDecoder
from rprun.backends.ebpf.process_programs import prepare
from rprun.linux.timer import since_epoch
from rprun.linux.token import make, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39
# By machine: execveat, clone, exit, unshare.
EXECVEAT, CLONE, EXIT, UNSHARE = {"x86_64": (322, 56, 60, 272), "aarch64": (281, 220, 93, 97)}.get(
    os.uname().machine, (-1,) * 4
)
STARTED, EXEC, EXITED = "descendant-started", "exec", "descendant-exited"


class Event(NamedTuple):
    """An event as the emitter would get it."""

    kind: str
    pid: int
    at_ns: int
    fields: dict[str, Any]


class Seen:
    """What came of one run.

    Attributes:
        root: the command.
        status: its wait status.
        records: kinds of all records.
        lost: the counter.
    """

    def __init__(self, root: int, status: int, records: list[bytes], lost: int) -> None:
        self.root, self.status, self.lost = root, status, lost
        self.records = [Kind(HEADER.unpack_from(record)[0]) for record in records]
        decoder, offset = ProcessDecoder(), since_epoch()
        self.events = [Event(*event) for record in records for event in decoder.decode(record, offset)]

    def of(self, kind: str) -> list[Event]:
        """Return the events of a kind."""
        return [event for event in self.events if event.kind == kind]

    def execs(self) -> list[dict[str, Any]]:
        """Return the fields of all execs."""
        return [event.fields for event in self.of(EXEC)]

    def codes(self) -> dict[int, int]:
        """Return how each descendant ended, and check that each is said to have started and ended once."""
        started, ended = ([event.pid for event in self.of(kind)] for kind in (STARTED, EXITED))
        assert sorted(started) == sorted(ended)
        assert len(set(started)) == len(started)
        return {event.pid: event.fields["exit_code"] for event in self.of(EXITED)}


def needs_bpf() -> None:
    """Skip where the kernel would refuse everything."""
    status = Path("/proc/self/status").read_text()
    capabilities = int(re.findall(r"CapEff:\s+(\w+)", status)[0], 16)
    if not capabilities >> CAP_SYS_ADMIN & 1 and (capabilities >> CAP_BPF & capabilities >> CAP_PERFMON & 1) == 0:
        pytest.skip("CAP_BPF is missing, which only root has")


@contextmanager
def programs(**sizes: int) -> Iterator[tuple[Maps, int]]:
    """Maps and programs, with the token."""
    needs_bpf()
    token = make()
    with closing(Maps(**sizes)) as maps:
        links = [load() for load in prepare(maps, Kernel.here(), token, os.stat("/proc/self/ns/pid").st_ino)]
        try:
            assert not any(map(os.get_inheritable, links))
            yield maps, token
        finally:
            for link in links:
                os.close(link)


def watch(body: Callable[[], object], **sizes: int) -> Seen:
    """Return what is told of a child that does `body`, once it and all below it have ended."""
    with programs(**sizes) as (maps, token):

        def child() -> None:
            tell(token)
            body()

        root = forked(child)
        _, status = os.waitpid(root, 0)
        wait_until(lambda: not list(maps.tree.keys()), "the end of the tree")
        return Seen(root, status, maps.ring.take(1 << 20), maps.read_lost()[Lost.PROCESS])


def run(*argv: str | bytes, **sizes: int) -> Seen:
    """Return what is told of a command, which must be there and end well."""
    seen = watch(lambda: os.execvp(argv[0], argv), **sizes)
    assert seen.status == 0
    return seen


def python(program: str, *argv: str) -> Seen:
    """Return what is told of a Python program."""
    return run(sys.executable, "-c", program, *argv)


def script(path: Path, text: str) -> str:
    """Make an executable file; return its path."""
    # Nobody forks meanwhile who would keep it open for writing (ETXTBSY).
    path.write_text(text)
    path.chmod(0o755)
    return str(path)

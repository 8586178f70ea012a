"""The programs that follow a tree of processes, as programs: what has no room, what is used again, the end."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_process import Seen, needs_bpf, programs, run
from running import wait_until

sys.path.append(str(Path(__file__).parents[1] / "linux"))
from children import forked

from rprun.backends.ebpf import probing
from rprun.backends.ebpf.kernel import Kernel
from rprun.backends.ebpf.layout import Kind, Lost
from rprun.backends.ebpf.maps import Maps
from rprun.backends.ebpf.process_programs import prepare
from rprun.backends.ebpf.session import Session
from rprun.linux import seen
from rprun.linux.token import tell
from rprun.observe.categories import EventCategory


@pytest.mark.parametrize("has_machine_code", [True, False])
def test_trying_out(monkeypatch: pytest.MonkeyPatch, *, has_machine_code: bool) -> None:
    """What the child does is seen, whether it is a fork or not; where nothing is listened for, that is found out."""
    needs_bpf()
    if not has_machine_code:
        monkeypatch.setattr(seen, "OBJECT", "/nowhere")
    with closing(Session(EventCategory.ALL)) as session:
        probing.try_out(session, EventCategory.ALL)
        probing.try_out(session, EventCategory.ALL)
        session.stop_listening()
        monkeypatch.setattr(probing, "_PATIENCE", 0)
        with pytest.raises(RuntimeError, match="did not see"):
            probing.try_out(session, EventCategory.ALL)


def test_a_number_that_is_used_again() -> None:
    """A process that has ended does not lend its number's place in the tree to the next."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    with programs() as (maps, token):
        if not os.access(last, os.W_OK):
            pytest.skip("needs root, to choose the next process's number")

        def once() -> bool:
            root = forked(lambda: tell(token))
            os.waitpid(root, 0)
            maps.ring.take(100)
            last.write_text(str(root - 1))
            other = forked(lambda: os.execv("/bin/true", ["true"]))
            os.waitpid(other, 0)
            assert maps.ring.take(100) == []
            return other == root

        wait_until(once, "the same number twice")


def test_a_full_ring() -> None:
    """What finds no room is counted: what was seen and what was lost make up what was done."""
    seen = run("/bin/sh", "-c", "for i in $(seq 150); do (:); done", ring_size=4096)
    told = sum(seen.records.count(kind) for kind in (Kind.FORK, Kind.EXEC, Kind.EXIT))
    # sh and seq; of the command there is no FORK.
    assert told + seen.lost == 2 * 151 + 1 + 2
    assert seen.lost > 100


def test_a_full_tree() -> None:
    """Who finds no room in the tree is counted, and what it does is not seen."""
    needs_bpf()
    read, write = os.pipe()

    def body() -> None:
        for _ in range(20):
            if not os.fork():
                os.close(write)
                os.read(read, 1)
                os._exit(0)
        os.close(write)
        for _ in range(20):
            os.wait()

    with programs(tree_size=8) as (maps, token):

        def child() -> None:
            tell(token)
            body()

        root = forked(child)
        os.close(read)
        os.close(write)
        os.waitpid(root, 0)
        counts = maps.read_lost()
        seen = Seen(root, 0, maps.ring.take(1000), counts[Lost.PROCESS])
    # Nor will anything else of those be seen.
    assert counts == (seen.lost,) * 3
    assert len(seen.codes()) + seen.lost == 20
    assert len(seen.codes()) == 7


def test_calls_are_left_alone_again() -> None:
    """Once the command has been found, the program at the entry of every call is of no more use."""
    needs_bpf()
    read, write = os.pipe()
    with closing(Maps()) as maps:
        links = [load() for load in prepare(maps, Kernel.here(), 7, os.stat("/proc/self/ns/pid").st_ino)]

        def child() -> None:
            tell(7)
            os.read(read, 1)
            os.execv("/bin/sh", ["sh", "-c", "/bin/true; exit 0"])

        root = forked(child)
        wait_until(lambda: list(maps.tree.keys()), "the announcement")
        os.close(links.pop())
        os.write(write, b".")
        _, status = os.waitpid(root, 0)
        seen = Seen(root, status, maps.ring.take(100), maps.read_lost()[Lost.PROCESS])
        for descriptor in (*links, read, write):
            os.close(descriptor)
    assert [one["path"] for one in seen.execs()] == [b"/bin/sh", b"/bin/true"]
    assert list(seen.codes().values()) == [0]


def test_the_end() -> None:
    """With the links goes everything: nothing is told any more."""
    needs_bpf()
    with closing(Maps()) as maps:
        with programs():
            pass
        links = [load() for load in prepare(maps, Kernel.here(), 1, os.stat("/proc/self/ns/pid").st_ino)]
        for link in links:
            os.close(link)
        os.waitpid(forked(lambda: tell(1)), 0)
        assert maps.ring.take(10) == []
    maps.close()

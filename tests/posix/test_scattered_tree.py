"""A look at a tree whose orphans nobody gathers, while that tree changes."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest
from running import kill_quietly, wait_gone

from rprun.runner.loop import Loop
from rprun.runner.tree import ScatteredTree

if TYPE_CHECKING:
    from collections.abc import Iterator

# Leads a session, in which another process starts a third and ends, once it may.
LEADER = "exec 3<&0; (read go; sleep 1000 </dev/null >/dev/null & echo $!) <&3 & echo $!; wait; read end"


@pytest.mark.parametrize("knows", [False, True], ids=["first look", "seen before"])
@pytest.mark.parametrize("when", ["listed", "looked at"])
def test_who_ends_during_a_look(knows: bool, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has been listed, and has ended before it was looked at, leaves somebody who is found all the same."""
    loop = Loop()
    with subprocess.Popen(
        ["sh", "-c", LEADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    ) as leader:
        assert leader.stdin
        assert leader.stdout
        parent, orphans = int(leader.stdout.readline()), list[int]()
        is_listing: list[bool] = []
        real_pids, real_iter = psutil.pids, psutil.process_iter

        def change() -> None:
            if not orphans and leader.stdin and leader.stdout:
                leader.stdin.write(b"\n")
                orphans.append(int(leader.stdout.readline()))
                wait_gone(parent)

        def pids() -> list[int]:
            found: list[int] = real_pids()
            if when == "listed" and is_listing:
                change()
            return found

        def process_iter() -> Iterator[psutil.Process]:
            is_listing.append(True)
            found = list(real_iter())
            change()
            yield from found

        tree = ScatteredTree(loop, leader.pid, leads_session=True)
        try:
            if knows:
                assert [each.pid for each in tree.living()] == [parent]
            monkeypatch.setattr(psutil, "process_iter", process_iter)
            monkeypatch.setattr(psutil, "pids", pids)
            assert [each.pid for each in tree.living()] == orphans
            assert orphans
        finally:
            for each in orphans:
                kill_quietly(each)
                wait_gone(each)
            loop.close()

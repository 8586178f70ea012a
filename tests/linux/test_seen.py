"""The child that is there to be seen, by machine code: that it is what its source says, and where there is none."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from machine_code import assert_depends_on_nothing

from rprun.linux import seen, token
from rprun.linux.syscalls import X86_64, native


def test_it_depends_on_nothing() -> None:
    """Its functions call nothing."""
    assert_depends_on_nothing("seen", {"have_seen", "have_renamed"})


@pytest.mark.parametrize("beside", [False, True])
def test_a_child_that_ends(*, beside: bool) -> None:
    """It ends well, also beside other threads, and this process is as it was."""
    if native() != X86_64:
        pytest.skip("needs x86_64, for which there is machine code")
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(4 if beside else 0)]
    for thread in threads:
        thread.start()
    before = os.listdir("/proc/self/fd"), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    for _ in range(20):
        pid = seen.start(token.make())
        assert pid is not None
        assert os.waitpid(pid, 0) == (pid, 0)
    assert (os.listdir("/proc/self/fd"), signal.pthread_sigmask(signal.SIG_BLOCK, ())) == before
    done.set()
    for thread in threads:
        thread.join()


def test_a_child_with_another_name() -> None:
    """It ends as it is to, and this process has the name that it had."""
    if native() != X86_64:
        pytest.skip("needs x86_64, for which there is machine code")
    own = Path("/proc/self/comm").read_text()
    pid = seen.start_renamed()
    assert pid is not None
    assert Path(f"/proc/{pid}/comm").read_text() == "rprun-probe\n"
    assert os.waitpid(pid, 0) == (pid, 42 << 8)
    assert Path("/proc/self/comm").read_text() == own


def test_where_there_is_no_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started."""
    monkeypatch.setattr(seen, "OBJECT", "/nowhere")
    assert seen.start(token.make()) is None
    assert seen.start_renamed() is None
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)

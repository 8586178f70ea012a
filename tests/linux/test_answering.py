"""The machine code that answers the usual notifications: that it is what its source says, and where there is none."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("Linux is what this is about", allow_module_level=True)

from machine_code import TREE, assert_depends_on_nothing

from rprun.backends.seccomp import record
from rprun.linux import answering

REQUEST = 1024


def load(memory: mmap.mmap | None = None, beside: answering.Answering | None = None) -> answering.Answering:
    """Load it, to work on nothing."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE) if memory is None else memory
    return answering.Answering(
        memory,
        {},
        listener=-1,
        ended=-1,
        bell=-1,
        window=25_000,
        receive_ends=True,
        is_sync=False,
        request=REQUEST,
        data=mmap.PAGESIZE,
        beside=beside,
    )


def test_the_object_is_what_its_source_gives() -> None:
    """The committed object is what this compiler makes of the committed source; the one that is tested is that."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    done = subprocess.run(
        [sys.executable, str(TREE / "scripts/build_machine_code.py"), "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if os.uname().machine == "x86_64":
        committed = TREE / "rprun/linux/answering_x86_64.so"
        assert Path(answering.OBJECT).read_bytes() == committed.read_bytes()


def test_it_depends_on_nothing() -> None:
    """The object names no library, and no symbol that another one has to have."""
    assert_depends_on_nothing("answering", {"answer", "is_to_go_elsewhere", "reserve"})


def test_records_are_those_of_the_interpreter() -> None:
    """The header that the source has is as long as the one that is unpacked; so is its table of fields."""
    source = Path(answering.__file__).with_name("answering.c").read_text()
    header = len(record.pack(0, 0, 0, 0, 0, [0] * 6, record.pack_captured(())))
    assert f"sizeof(struct record) == {header}," in source
    assert f"sizeof(struct context) == {len(answering._FIELDS)} * 8," in source


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="there is machine code for x86_64 only")
def test_what_two_have_in_common() -> None:
    """What holds for one that answers a listener holds for the one beside it, made before that or after."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    first = load(memory)
    second = load(memory, beside=first)
    first.is_careful = True
    assert second.is_careful
    assert load(memory, beside=second).is_careful
    second.is_careful = False
    assert not first.is_careful
    # The same memory in the source.
    source = "".join(path.read_text() for path in Path(answering.__file__).parent.glob("answering.[ch]"))
    numbers, sets = answering._COMPANY_NUMBERS, 1 + answering._THREADS
    assert f"sizeof(struct company) == {numbers} * 4 + {sets} * PROCESSORS / 8," in source
    assert f"PROCESSORS = {answering._PROCESSORS} " in source
    assert len(first.common.company) == 4 * numbers + sets * answering._PROCESSORS // 8


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="there is machine code for x86_64 only")
def test_no_listener() -> None:
    """That RECV fails is said, and the time of it is that of the clock."""
    assert load().answer() == answering.FAILED


def test_where_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the reason for which it cannot be loaded, that is an OSError."""
    (tmp_path / "empty.so").touch()
    (tmp_path / "noise.so").write_bytes(os.urandom(8192))
    for name in ("none.so", "empty.so", "noise.so"):
        monkeypatch.setattr(answering, "OBJECT", str(tmp_path / name))
        with pytest.raises(OSError, match=name):
            load()


def test_who_stands_still_elsewhere(tmp_path: Path) -> None:
    """A thread goes on on the processor it was on, whatever its process is called; who is gone goes on anywhere."""
    here, there = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    if here == there:
        pytest.skip("needs two processors")
    if os.uname().machine != "x86_64":
        pytest.skip("there is no machine code for this machine")
    program = tmp_path / "a) R 1 (b"
    program.symlink_to(shutil.which("cat") or "cat")
    allowed = os.sched_getaffinity(0)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            os.sched_setaffinity(0, {here})
            for processor, expected in ((there, True), (here, False), (there, True)):
                os.sched_setaffinity(process.pid, {processor})
                # It has run there once it has answered.
                process.stdin.write(b"x")
                process.stdin.flush()
                assert process.stdout.read(1) == b"x"
                memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
                # struct seccomp_notif: the id, the thread.
                memory[REQUEST + 8 : REQUEST + 12] = process.pid.to_bytes(4, sys.byteorder)
                machine_code = load(memory)
                machine_code.last = process.pid
                assert machine_code.is_to_go_elsewhere() is expected
                machine_code.close()
        finally:
            os.sched_setaffinity(0, allowed)
            process.kill()
    machine_code = load(memory)
    machine_code.last = process.pid
    assert not machine_code.is_to_go_elsewhere()

"""bpf(2): structures as the kernel's header has them, programs and why they are refused, links."""

from __future__ import annotations

import errno
import os
import re
import signal
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from bpf_running import (
    CAP_BPF,
    CAP_PERFMON,
    CAP_SETUID,
    CAP_SYS_ADMIN,
    PROG_TEST_RUN,
    TEST_RUN,
    count,
    counter,
    counting,
    descriptor,
    needs_bpf,
)
from children import NOBODY, compiled, exit_code, forked, has_capability

from rprun.linux import bpf, bpf_map
from rprun.linux.bpf import MapKind, ProgramKind
from rprun.linux.bpf_assembler import R0, R1, R2, R6, Assembler
from rprun.linux.bpf_map import Map

LAYOUTS = {
    bpf.MAP_CREATE: "map_type key_size value_size max_entries map_flags inner_map_fd numa_node map_name",
    bpf_map.ELEMENT: "map_fd key value flags",
    bpf.PROG_LOAD: "prog_type insn_cnt insns license log_level log_size log_buf kern_version prog_flags prog_name",
    bpf.RAW_TRACEPOINT: "raw_tracepoint.name raw_tracepoint.prog_fd",
    TEST_RUN: "test.prog_fd test.retval test.data_size_in test.data_size_out test.data_in test.data_out test.repeat "
    "test.duration",
}
# Numbers and names of the header; what came after Linux 6.1 may be missing there.
NUMBERS = {
    **{f"BPF_MAP_TYPE_{kind.name}": kind.value for kind in MapKind},
    **{f"BPF_PROG_TYPE_{kind.name}": kind.value for kind in ProgramKind},
    "BPF_F_MMAPABLE": bpf.MMAPABLE,
    "BPF_MAP_CREATE": bpf._MAP_CREATE,
    "BPF_MAP_LOOKUP_ELEM": bpf_map._LOOKUP,
    "BPF_MAP_UPDATE_ELEM": bpf_map._UPDATE,
    "BPF_MAP_DELETE_ELEM": bpf_map._DELETE,
    "BPF_MAP_GET_NEXT_KEY": bpf_map._GET_NEXT_KEY,
    "BPF_PROG_LOAD": bpf._PROG_LOAD,
    "BPF_PROG_TEST_RUN": PROG_TEST_RUN,
    "BPF_RAW_TRACEPOINT_OPEN": bpf._RAW_TRACEPOINT_OPEN,
}


def test_layouts_and_numbers_are_those_of_the_header(tmp_path: Path) -> None:
    """Sizes, offsets and constants, as a C compiler sees them."""
    lines, here = [], []
    for layout, names in LAYOUTS.items():
        formats = [item for item in re.findall(r"\d*[a-zA-Z]", layout.format[1:]) if not item.endswith("x")]
        items = [
            part for item in formats for part in ([item] if item.endswith("s") else item[-1] * int(item[:-1] or 1))
        ]
        gap = "4x" if "x" in layout.format else ""
        for index, (name, item) in enumerate(zip(names.split(), items, strict=True)):
            before = "".join(items[:index])
            before = before.replace("I", "I" + gap, 1) if gap else before
            here.append(f"{name} {struct.calcsize('=' + before)} {struct.calcsize('=' + item)}")
            lines.append(
                f'printf("{name} %zu %zu\\n", offsetof(union bpf_attr, {name}), sizeof(((union bpf_attr *)0)->{name}));'
            )
    here += [f"{name} {number}" for name, number in NUMBERS.items()]
    lines += [f'printf("{name} %d\\n", (int){name});' for name in NUMBERS]
    includes = "#include <linux/bpf.h>\n#include <stddef.h>\n#include <stdio.h>\n"
    program = compiled(tmp_path, includes + "int main(void) {" + "\n".join(lines) + "return 0; }")
    assert subprocess.check_output([program], text=True).splitlines() == here
    assert [layout.size for layout in LAYOUTS][:4] == [44, 32, 64, 12]


def test_without_privilege() -> None:
    """It is said as it is; there is no map, no program and no descriptor left."""
    privileged = has_capability(CAP_BPF) or has_capability(CAP_SYS_ADMIN)
    if privileged and not has_capability(CAP_SETUID):
        pytest.skip("needs all of root's capabilities, or none: this one gives them up")

    def body() -> None:
        if privileged:
            os.setresuid(NOBODY, NOBODY, NOBODY)
        code = Assembler()
        code.move(R0, 0)
        code.exit()
        with pytest.raises(PermissionError):
            Map(MapKind.LRU_HASH, 4, 4, 1)
        with pytest.raises(PermissionError) as caught:
            bpf.load_program(ProgramKind.RAW_TRACEPOINT, code.assemble())
        assert not isinstance(caught.value, bpf.VerifierError)

    assert exit_code(forked(body)) == 0


def test_why_a_program_is_refused() -> None:
    """The last lines of the verifier's log say it, with the program's name."""
    needs_bpf()
    code = Assembler()
    code.move(R0, R2)
    code.exit()
    with pytest.raises(bpf.VerifierError, match=r"program 'reads_R2': .*\n[^$]*R2 !read_ok") as caught:
        bpf.load_program(ProgramKind.SOCKET_FILTER, code.assemble(), name="reads_R2")
    assert caught.value.errno == errno.EACCES
    assert "0: (bf) r0 = r2" in caught.value.log


def test_a_long_log() -> None:
    """However much the verifier says, its end is there, and not all of it is in the error's text."""
    needs_bpf()
    code = Assembler()
    code.load(R0, R1, 0, size=4)
    for number in range(4000):
        code.add(R0, number)
    code.move(R0, R6)
    code.exit()
    with pytest.raises(bpf.VerifierError, match="R6 !read_ok") as caught:
        bpf.load_program(ProgramKind.SOCKET_FILTER, code.assemble())
    assert len(caught.value.log) > bpf._LOG_SIZES[0]
    assert "0: R1=ctx" in caught.value.log
    assert len(str(caught.value).splitlines()) == 1 + bpf._LOG_LINES


def test_a_refusal_without_a_log() -> None:
    """What fails before the verifier has seen the program is no matter of the verifier."""
    needs_bpf()
    with closing(counter()) as held, pytest.raises(OSError, match=os.strerror(errno.EINVAL)) as caught:
        bpf.load_program(ProgramKind.SOCKET_FILTER, counting(held, 1), name="not a name")
    assert not isinstance(caught.value, bpf.VerifierError)


def test_a_raw_tracepoint() -> None:
    """The program is called for each call of this process while there is a link, and no longer."""
    needs_bpf(CAP_PERFMON)
    with closing(counter()) as held:
        code = counting(held, 0, os.getpid())
        with descriptor(bpf.load_program(ProgramKind.RAW_TRACEPOINT, code, name="counts")) as program:
            link = bpf.open_raw_tracepoint("sys_enter", program)
            assert not os.get_inheritable(link)
            assert not os.get_inheritable(program)
            for _ in range(100):
                os.getppid()
            os.close(link)
            seen = count(held)
            assert seen > 100
            os.getppid()
            assert count(held) == seen
            with pytest.raises(FileNotFoundError):
                bpf.open_raw_tracepoint("no_such_tracepoint", program)


def test_a_link_dies_with_its_process() -> None:
    """Also if that is killed: there is nothing to clean up."""
    needs_bpf(CAP_PERFMON)
    pid = os.getpid()
    ready, tell = os.pipe()

    def body() -> None:
        program = bpf.load_program(ProgramKind.RAW_TRACEPOINT, counting(held, 0, pid))
        bpf.open_raw_tracepoint("sys_enter", program)
        os.write(tell, b".")
        signal.pause()

    with closing(counter()) as held, descriptor(ready):
        child = forked(body)
        os.close(tell)
        attached = os.read(ready, 1)
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
        assert attached
        seen = count(held)
        assert seen > 0
        os.getppid()
        assert count(held) == seen

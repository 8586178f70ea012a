"""The program for calls that are about sockets and their addresses."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.call_parts import Part, continue_with, take_over
from rprun.backends.ebpf.call_peers import append_addresses
from rprun.backends.ebpf.common import append_none, emit, end
from rprun.backends.ebpf.flows import Flow
from rprun.backends.ebpf.layout import Lost
from rprun.backends.ebpf.socket_address import UNIX
from rprun.backends.ebpf.walk import AT_FDCWD, append_path
from rprun.linux.bpf_assembler import R1, R2, R8, R9, Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel
    from rprun.backends.ebpf.maps import Maps


def assemble(maps: Maps, kernel: Kernel, table: int, programs: int) -> bytes:
    """Return the program; the arguments are those of `call_program.assemble`."""
    code = Assembler()
    take_over(code, maps, table)
    append_addresses(code, maps, kernel)
    # The path in a Unix socket's address may be relative.
    code.load(R2, R8, plans.DOMAIN_AT, size=4)
    code.jump_if_equal(R2, UNIX, "directory")
    append_none(code, "out")
    code.jump("captured")
    code.label("directory")
    code.move(R1, AT_FDCWD)
    append_path(code, kernel, "out")
    code.label("captured")
    emit(code, maps, Lost.NETWORK)
    code.label("count")
    code.load(R1, R9, plans.FLOW_AT, size=1)
    code.jump_if_equal(R1, Flow.NONE, "out")
    continue_with(code, programs, Part.COUNTS)
    code.label("out")
    end(code)
    return code.assemble()

"""The address of a socket or of its peer, as getsockname(2) gives it, out of struct sock (include/net/sock.h)."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.ebpf import plans
from rprun.backends.ebpf.call_frame import LENGTH, SK, copy_parts, load_end
from rprun.backends.ebpf.common import append_none, need_room, new_label, read_kernel
from rprun.backends.ebpf.kernel import UNKNOWN
from rprun.linux.bpf_assembler import R1, R2, R3, R7, R8, R10, Assembler, Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rprun.backends.ebpf.kernel import Kernel

UNIX, INET, INET6 = 1, 2, 10  # include/linux/socket.h
ADDRESS_MAX = 128
"""sizeof(struct sockaddr_storage): what the kernel takes at most."""


def append_socket_address(code: Assembler, kernel: Kernel, *, peer: bool) -> None:
    """Append the address of the socket at `SK`, or of its peer, as getsockname(2) or getpeername(2) gives it."""
    inet, inet6, unix, none, done = map(new_label, ("inet", "inet6", "unix", "no address", "address"))
    code.load(R1, R10, SK)
    code.jump_if_equal(R1, 0, none)
    need_room(code, 4 + ADDRESS_MAX, "out")
    code.load(R2, R8, plans.DOMAIN_AT, size=4)
    code.jump_if_equal(R2, INET, inet)
    has_inet6 = UNKNOWN not in (kernel.sock_skc_v6_daddr, kernel.sock_skc_v6_rcv_saddr)
    if has_inet6:
        code.jump_if_equal(R2, INET6, inet6)
    of_unix = (kernel.unix_sock_peer, kernel.unix_sock_addr, kernel.unix_address_len, kernel.unix_address_name)
    if UNKNOWN not in of_unix:
        code.jump_if_equal(R2, UNIX, unix)
    code.label(none)
    append_none(code, "out")
    code.jump(done)

    code.label(inet)
    _append_inet(code, kernel, peer=peer)
    code.jump(done)
    if has_inet6:
        code.label(inet6)
        _append_inet6(code, kernel, peer=peer)
        code.jump(done)
    if UNKNOWN not in of_unix:
        code.label(unix)
        _append_unix(code, kernel, none, peer=peer)
    code.label(done)


def _append_inet(code: Assembler, kernel: Kernel, *, peer: bool) -> None:
    """Append a struct sockaddr_in."""
    address = kernel.sock_skc_daddr if peer else kernel.sock_skc_rcv_saddr
    host = _store_port(code, kernel, INET, 16, (address, 4), peer=peer)
    code.load(R2, R10, host, size=4)
    code.store(R1, 8, R2, size=4)
    code.store_immediate(R1, 12, 0)
    code.add(R7, 4 + 16)


def _append_inet6(code: Assembler, kernel: Kernel, *, peer: bool) -> None:
    """Append a struct sockaddr_in6."""
    done = new_label("scoped")
    address = kernel.sock_skc_v6_daddr if peer else kernel.sock_skc_v6_rcv_saddr
    host = _store_port(code, kernel, INET6, 28, (address, 16), peer=peer)
    code.store_immediate(R1, 8, 0, size=4)
    for at in (0, 8):
        code.load(R2, R10, host + at)
        code.store(R1, 12 + at, R2)
    code.add(R7, 4 + 28)
    code.store_immediate(R1, 28, 0, size=4)
    # Only an address of a link has a scope (ipv6_iface_scope_id): fe80::/10.
    code.load(R2, R1, 12, size=2)
    code.to_big_endian(R2, 16)
    code.bit_and(R2, 0xFFC0)
    code.jump_if_not_equal(R2, 0xFE80, done)
    code.load(R1, R10, SK)
    read_kernel(code, R2, R1, kernel.sock_skc_bound_dev_if, 4)
    load_end(code, R1)
    code.store(R1, -4, R2, size=4)
    code.label(done)


def _append_unix(code: Assembler, kernel: Kernel, none: str, *, peer: bool) -> None:
    """Append the struct sockaddr_un of the socket at R1, or of its peer: only a family if that has no name."""
    named, done = new_label("named"), new_label("unix")
    if peer:
        read_kernel(code, R1, R1, kernel.unix_sock_peer)
        code.jump_if_equal(R1, 0, none)
    read_kernel(code, R1, R1, kernel.unix_sock_addr)
    code.jump_if_not_equal(R1, 0, named)
    load_end(code, R1)
    code.store_immediate(R1, 0, 2, size=4)
    code.store_immediate(R1, 4, UNIX, size=2)
    code.add(R7, 4 + 2)
    code.jump(done)
    code.label(named)
    code.store(R10, LENGTH, R1)
    read_kernel(code, R2, R1, kernel.unix_address_len, 4)
    code.jump_if_greater(R2, ADDRESS_MAX, none)
    code.load(R3, R10, LENGTH)
    code.add(R3, kernel.unix_address_name)
    load_end(code, R1)
    code.store(R1, 0, R2, size=4)
    code.add(R7, 4)
    code.add(R1, 4)
    code.add(R7, R2)
    code.call(Helper.probe_read_kernel)
    code.label(done)


def _store_port(code: Assembler, kernel: Kernel, family: int, size: int, host: tuple[int, int], *, peer: bool) -> int:
    """Store the length of a blob with a struct sockaddr_in or sockaddr_in6, and of this family and port.

    R1 is the address of the blob then.

    Args:
        code: the program.
        kernel: offsets.
        family: AF_INET or AF_INET6.
        size: of the structure.
        host: offset and size of the member of the socket that is the host's address.
        peer: whether the port is the peer's.

    Returns:
        Where on the stack the host's address is.
    """
    port = (kernel.sock_skc_dport if peer else kernel.sock_skc_num, 2)
    port_at, host_at = copy_parts(code, SK, port, host)
    load_end(code, R1)
    code.store_immediate(R1, 0, size, size=4)
    code.store_immediate(R1, 4, family, size=2)
    code.load(R2, R10, port_at, size=2)
    if not peer:
        code.to_big_endian(R2, 16)
    code.store(R1, 6, R2, size=2)
    return host_at

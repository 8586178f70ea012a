"""What the tests of the program at the end of calls have in common: a child, its calls and what is told of them."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

sys.path.append(str(Path(__file__).parents[1] / "linux"))
from children import CAP_SYS_ADMIN, exit_code, forked, has_capability

from rprun.backends.ebpf import call_program
from rprun.backends.ebpf.call_decode import CallDecoder
from rprun.backends.ebpf.kernel import Kernel
from rprun.backends.ebpf.maps import Maps
from rprun.linux import libc
from rprun.linux.syscalls import NUMBERS, X86_64, native
from rprun.observe.categories import EventCategory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAP_PERFMON, CAP_BPF = 38, 39
FILE, NETWORK = EventCategory.FILE, EventCategory.NETWORK
AT_FDCWD = -100
BAD = 8  # An address in the page that nobody has.
BEGIN, END = "/nothing begins here", "/nothing ends here"
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h

# A call has an event of this kind and fields.
Told = tuple[str, dict[str, Any]]


@contextmanager
def attached(*categories: EventCategory, ring_size: int = 1 << 20) -> Iterator[Maps]:
    """The program, attached; skips where that is not allowed."""
    if native() != X86_64:
        pytest.skip("needs x86_64: the tests make its calls")
    if not has_capability(CAP_SYS_ADMIN) and not all(map(has_capability, (CAP_BPF, CAP_PERFMON))):
        pytest.skip("CAP_BPF and CAP_PERFMON are missing, which only root has")
    if os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE:
        pytest.skip("needs the initial pid namespace, as only root of the machine has it")
    with closing(Maps(ring_size)) as maps:
        links = call_program.load(maps, Kernel.here(), categories or (FILE, NETWORK))
        try:
            yield maps
        finally:
            for link in links:
                os.close(link)


@contextmanager
def in_tree(maps: Maps, body: Callable[[], object], status: int = 0) -> Iterator[int]:
    """A child of which all calls are seen does `body` and ends with a status: 0 if that raises nothing."""
    ready, start = os.pipe()

    def child() -> None:
        os.close(start)
        os.read(ready, 1)
        os.close(ready)
        with suppress(OSError):
            os.open(BEGIN, os.O_RDONLY)
        body()
        with suppress(OSError):
            os.open(END, os.O_RDONLY)

    pid = forked(child)
    os.close(ready)
    number = struct.pack("=I", pid)
    maps.tree.update(number, number)
    os.close(start)
    try:
        yield pid
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    assert exit_code(pid) == status


def events(maps: Maps, pid: int) -> list[Told]:
    """Return kind and fields of what one process did between its marks."""
    decoder, offset = CallDecoder(), time.time_ns() - time.monotonic_ns()
    found = [event for data in maps.ring.take(1 << 20) for event in decoder.decode(data, offset)]
    now = time.time_ns()
    assert all(now - 60 * 10**9 < at <= now + 10**9 for _, _, at, _ in found)
    mine = [(kind.value, dict(fields)) for kind, by, _, fields in found if by == pid]
    marks = [fields.get("path") for _, fields in mine]
    return mine[marks.index(BEGIN.encode()) + 1 : marks.index(END.encode())]


def told(body: Callable[[], object]) -> list[Told]:
    """Return what is told of a child that does `body`."""
    with attached() as maps:
        with in_tree(maps, body) as pid:
            pass
        assert maps.read_lost() == (0, 0, 0)
        return events(maps, pid)


def call(name: str, *arguments: int | bytes | bytearray | None, abi: str = X86_64) -> int:
    """Make a call; return its result, or -errno."""
    held = [
        ctypes.create_string_buffer(bytes(a), len(a) + 1) if isinstance(a, (bytes, bytearray)) else a for a in arguments
    ]
    words = [ctypes.addressof(a) if isinstance(a, ctypes.Array) else a or 0 for a in held]
    try:
        return libc.syscall(NUMBERS[abi][name], *words)
    except OSError as error:
        return -(error.errno or 0)


def opened(path: bytes | None, flags: int, result: str = "ok") -> Told:
    """Return what is told of an open."""
    access = "read" if flags & os.O_PATH else ("read", "write", "readwrite", "readwrite")[flags & 3]
    create = bool(flags & (os.O_CREAT | 0o20000000)) and not flags & os.O_PATH
    return "file-open", {"path": path, "flags": flags, "access": access, "create": create, "result": result}


def one(kind: str, path: bytes | None, result: str = "ok") -> Told:
    """Return what is told of a call with one path."""
    return f"file-{kind}", {"path": path, "result": result}


def two(kind: str, old: bytes | None, new: bytes | None, result: str = "ok") -> Told:
    """Return what is told of a call with two."""
    return f"file-{kind}", {"from": old, "to": new, "result": result}


def v4(host: str, port: int) -> bytes:
    """Return a struct sockaddr_in."""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def unix(path: bytes) -> bytes:
    """Return a struct sockaddr_un."""
    return struct.pack("=H", socket.AF_UNIX) + path


def peer(kind: str, host: str | None, port: int | None, result: str = "ok", **more: str) -> Told:
    """Return what is told of an address of the internet."""
    fields = {"family": "inet", "protocol": "tcp", **more, "address": host, "port": port, "result": result}
    return f"net-{kind}", fields


def local(kind: str, path: bytes | None, result: str = "ok", protocol: str | None = "stream") -> Told:
    """Return what is told of a Unix socket's."""
    return f"net-{kind}", {"family": "unix", "protocol": protocol, "path": path, "result": result}


def free_port() -> int:
    """Return the number of a port where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

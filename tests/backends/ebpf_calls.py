"""What the tests of the program at the end of calls have in common: a child, its calls and what is told of them."""

from __future__ import annotations

import ctypes
import errno
import mmap
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

from rprun.backends.ebpf import layout
from rprun.backends.ebpf.call_decode import CallDecoder
from rprun.backends.ebpf.call_parts import Part
from rprun.backends.ebpf.call_program import CallPrograms
from rprun.backends.ebpf.kernel import Kernel
from rprun.backends.ebpf.maps import Maps
from rprun.backends.ebpf.open_files import OpenFiles
from rprun.linux import libc
from rprun.linux.syscalls import I386, NUMBERS, X86_64, native
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
    need_privilege()
    with closing(Maps(ring_size)) as maps:
        programs = CallPrograms(maps, Kernel.here(), categories or (FILE, NETWORK))
        programs.load(*Part)
        links = programs.attach()
        try:
            yield maps
        finally:
            for link in links:
                os.close(link)


def need_privilege() -> None:
    """Skip where the program may not be loaded."""
    if native() != X86_64:
        pytest.skip("needs x86_64: the tests make its calls")
    if not has_capability(CAP_SYS_ADMIN) and not all(map(has_capability, (CAP_BPF, CAP_PERFMON))):
        pytest.skip("CAP_BPF and CAP_PERFMON are missing, which only root has")
    if os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE:
        pytest.skip("needs the initial pid namespace, as only root of the machine has it")


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
    decoder, offset = CallDecoder(OpenFiles(lambda _: None, lambda _: None)), time.time_ns() - time.monotonic_ns()
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


def ends(maps: Maps, pid: int) -> list[Told]:
    """Return what is told of the ends of descriptors, all those of one process after it has ended, in their order."""
    files = OpenFiles(maps.descriptors.lookup, maps.descriptors.delete_all)
    decoder, offset = CallDecoder(files), time.time_ns() - time.monotonic_ns()
    take = {
        layout.Kind.CALL: lambda data: decoder.decode(data, offset),
        layout.Kind.FOUND: lambda data: decoder.found(data, offset) or [],
        layout.Kind.CLOSED: lambda data: decoder.closed(data, offset),
    }
    found = []
    for data in maps.ring.take(1 << 20):
        found += take[layout.Kind(layout.HEADER.unpack_from(data)[0])](data)
    found += files.ended(pid, time.time_ns())
    files.forget_ended()
    return [
        (kind.value, dict(fields))
        for kind, by, _, fields in found
        if by == pid and kind.value in ("file-write", "file-close", "net-close")
    ]


def told_ends(body: Callable[[], object], *categories: EventCategory) -> list[Told]:
    """Return what is told of the ends of descriptors of a child that does `body`."""
    with attached(*categories) as maps:
        with in_tree(maps, body) as pid:
            pass
        assert maps.read_lost() == (0, 0, 0)
        found = ends(maps, pid)
        assert next(maps.descriptors.keys(), None) is None
        return found


def written(path: bytes | None, count: int = 0) -> list[Told]:
    """Return what is told of the end of a file's descriptor, through which so many bytes were written."""
    closed: Told = ("file-close", {"path": path, "result": "ok"})
    write: Told = ("file-write", {"path": path, "byte_count": count, "result": "ok"})
    return [write, closed] if count else [closed]


def net_close(sent: int, received: int, host: str | None, port: int | None, **more: str) -> Told:
    """Return what is told of the end of a socket of the internet."""
    fields = {"family": "inet", "protocol": "tcp", **more, "address": host, "port": port}
    return "net-close", {**fields, "bytes_sent": sent, "bytes_received": received, "result": "ok"}


def local_close(sent: int, received: int, path: bytes | None, protocol: str = "stream") -> Told:
    """Return what is told of the end of a Unix socket."""
    fields = {"family": "unix", "protocol": protocol, "path": path}
    return "net-close", {**fields, "bytes_sent": sent, "bytes_received": received, "result": "ok"}


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


class Compat:
    """Calls of i386 out of a 64-bit process: by `int $0x80`, with what they point to below 4 GiB."""

    # push rbx, rbp; load eax, ebx, ecx, edx, esi, ebp, edi from [rdi]; int 0x80; cdqe; pop rbp, rbx; ret
    CODE = bytes.fromhex("5355 8b07 8b5f04 8b4f08 8b570c 8b7710 8b6f18 8b7f14 cd80 4898 5d5b c3")
    MAP_32BIT = 0x40  # include/uapi/asm/mman.h

    def __init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | self.MAP_32BIT
        self._memory = mmap.mmap(-1, 1 << 16, flags, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory[: len(self.CODE)] = self.CODE
        self._used = 4096
        self._at = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._do = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(self._at)

    def put(self, data: bytes) -> int:
        """Return the address of these bytes and a NUL."""
        at = self._used
        self._memory[at : at + len(data) + 1] = data + b"\0"
        self._used += len(data) + 16 & -16
        return self._at + at

    def call(self, name: str, *arguments: int) -> int:
        """Make a call; return its result, or -errno."""
        words = [NUMBERS[I386][name], *(argument & 0xFFFFFFFF for argument in arguments)]
        return self._do(self.put(struct.pack("=7I", *words, *[0] * (7 - len(words)))))


def does_calls_of_i386() -> bool:
    """Tell whether this kernel does; a child tries it, as it may be killed."""
    if os.uname().machine != "x86_64":
        return False

    def body() -> None:
        assert Compat().call("listen", -1, 0) == -errno.EBADF

    return exit_code(forked(body)) == 0

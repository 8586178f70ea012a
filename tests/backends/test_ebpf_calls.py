"""The program at the end of calls: which ones it knows, in every ABI, and of whom it tells."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_calls import (
    AT_FDCWD,
    BAD,
    FILE,
    NETWORK,
    Compat,
    attached,
    call,
    does_calls_of_i386,
    events,
    free_port,
    in_tree,
    one,
    opened,
    peer,
    told,
    v4,
)
from running import wait_until

from rprun.backends.ebpf import flows, layout, plans
from rprun.backends.ebpf.call_decode import CallDecoder
from rprun.backends.ebpf.open_files import OpenFiles
from rprun.backends.seccomp import calls
from rprun.linux import libc
from rprun.linux.syscalls import AUDIT_ARCH, I386, NUMBERS, X32, X32_BIT, X86_64, native
from rprun.observe.kinds import ObserverEventKind


def test_the_plans_have_every_watched_call() -> None:
    """Each number leads to a plan, x32's without their bit; nothing else does, nor what was not asked for."""
    if native() != X86_64:
        pytest.skip("needs x86_64: the arrays are for its ABIs")
    execs = ObserverEventKind.EXEC
    watched = [key for key, known in calls.BY_NUMBER.items() if known is None or known.kind is not execs]
    counted = {*flows.FLOWS[FILE], *flows.FLOWS[NETWORK], *flows.CLOSES}
    table = plans.table((FILE, NETWORK))
    either = set()
    for abi, at, same in ((X86_64, plans.NATIVE_TABLE, X32), (I386, plans.COMPAT_TABLE, I386)):
        numbers = {number & ~X32_BIT for arch, number in watched if arch == AUDIT_ARCH[abi]}
        for names in (NUMBERS[abi], NUMBERS[same]):
            numbers |= {number & ~X32_BIT for name, number in names.items() if name in counted}
        assert {number for number in range(plans.NUMBERS) if table[at + number]} == numbers
        either |= numbers
    assert {number for number in range(plans.NUMBERS) if table[plans.EITHER_TABLE + number]} == either
    assert not any(plans.table(()))


@pytest.mark.parametrize("restarts", [True, False])
def test_an_interrupted_call_is_told_of_once(*, restarts: bool) -> None:
    """Whether the kernel or the program makes it again: there is no event of a call that a signal has interrupted."""

    def body() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.siginterrupt(signal.SIGUSR1, not restarts)
        server.accept()[0].close()

    def waits() -> bool:
        """Tell whether the child is in accept, and nothing is on its way to it."""
        status = Path(f"/proc/{pid}/status").read_text()
        number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        return "ShdPnd:\t" + 16 * "0" in status and number == str(NUMBERS[X86_64]["accept4"])

    with socket.create_server(("127.0.0.1", 0)) as server, attached() as maps:
        with in_tree(maps, body) as pid:
            wait_until(waits)
            os.kill(pid, signal.SIGUSR1)
            wait_until(waits)
            with socket.create_connection(server.getsockname()) as client:
                name = client.getsockname()
        assert events(maps, pid) == [peer("accept", *name)]


def test_what_a_filter_of_its_own_refuses(tmp_path: Path) -> None:
    """A call that a program's own seccomp filter answers is told of, with the error that the program gets."""
    kept = os.fsencode(tmp_path / "kept")
    (tmp_path / "kept").touch()
    number = NUMBERS[X86_64]["unlink"]
    # Load the number; if it is unlink, SECCOMP_RET_ERRNO with EXDEV, else SECCOMP_RET_ALLOW (linux/seccomp.h).
    filter_of_its_own = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),
            (0x15, 0, 1, number),
            (0x06, 0, 0, 0x00050000 | errno.EXDEV),
            (0x06, 0, 0, 0x7FFF0000),
        )
    )

    def body() -> None:
        code = ctypes.create_string_buffer(filter_of_its_own)
        program = struct.pack("@HP", len(filter_of_its_own) // 8, ctypes.addressof(code))
        assert call("seccomp", 1, 0, program) == 0
        assert call("unlink", kept) == -errno.EXDEV
        assert call("rmdir", kept) == -errno.ENOTDIR

    assert told(body) == [one("unlink", kept, "EXDEV"), one("rmdir", kept, "ENOTDIR")]
    assert os.path.exists(kept)


def test_calls_of_i386(tmp_path: Path) -> None:
    """Their numbers, registers and structures are their own; socketcall is the call that it stands for."""
    if not does_calls_of_i386():
        pytest.skip("needs a kernel that does calls of i386")
    here = os.fsencode(tmp_path)
    port = free_port()
    compat: list[Compat] = []

    def body() -> None:
        os.chdir(here)
        mine = Compat()
        compat.append(mine)
        assert mine.call("open", mine.put(b"a"), os.O_CREAT | os.O_RDWR, 0o600) >= 0
        mine.call("openat", AT_FDCWD, mine.put(b"none"), os.O_RDONLY)
        mine.call("chown32", mine.put(b"a"), -1, -1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            named = mine.put(v4("127.0.0.1", port))
            header = struct.pack("=7I", named, 16, 0, 0, 0, 0, 0)
            arguments = struct.pack("=3I", one.fileno(), named, 16)
            assert mine.call("socketcall", 2, mine.put(arguments)) == 0
            assert mine.call("socketcall", 16, mine.put(struct.pack("=3I", one.fileno(), mine.put(header), 0))) == 0
            assert mine.call("socketcall", 1, mine.put(struct.pack("=3I", 2, 1, 0))) >= 0
            assert mine.call("sendto", one.fileno(), 0, 0, 0, named, 16) == 0
            assert mine.call("sendmmsg", one.fileno(), mine.put((header + bytes(4)) * 2), 2, 0) == 2
            assert mine.call("socketcall", 3, BAD) == -errno.EFAULT
        # The number of i386's open is that of fstat here.
        os.fstat(0)

    udp = {"protocol": "udp"}
    assert told(body) == [
        opened(here + b"/a", os.O_CREAT | os.O_RDWR),
        opened(here + b"/none", os.O_RDONLY, "ENOENT"),
        one("chown", here + b"/a"),
        peer("bind", "127.0.0.1", port, **udp),
        *[peer("send", "127.0.0.1", port, **udp)] * 4,
    ]


def test_numbers_of_x32() -> None:
    """A kernel without x32 has no such calls: they fail, and are told of as far as they have a meaning."""
    number = NUMBERS[X32]["open"]

    def body() -> None:
        path = ctypes.create_string_buffer(b"/x")
        for each in (number, number | 1 << 29, 516, NUMBERS[X32]["sendmsg"] & ~X32_BIT):
            with suppress(OSError):
                libc.syscall(each, ctypes.addressof(path), 0, 0)

    assert [fields.get("result") for _, fields in told(body)] in (["ENOSYS"], ["ENOENT"])


def test_io_uring() -> None:
    """A process's first ring is unobserved for files and network, once; one that was refused is none."""

    def body() -> None:
        parameters = bytes(120)
        call("io_uring_setup", 0, parameters)
        for _ in range(2):
            call("io_uring_setup", 1, parameters)

    found = told(body)
    if not found:
        assert Path("/proc/sys/kernel/io_uring_disabled").read_text().strip() != "0"
    assert [(kind, fields["category"], fields["backend"]) for kind, fields in found] in (
        [],
        [("unobserved", "file", "ebpf"), ("unobserved", "network", "ebpf")],
    )


def test_others_are_not_told_of() -> None:
    """Nothing is told of processes outside of the tree, and nothing of a category that was not asked for."""

    def body() -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            Path("/dev/null").read_bytes()

    with attached(NETWORK) as maps:
        body()
        with in_tree(maps, body):
            pass
        kinds = [layout.HEADER.unpack_from(record)[0] for record in maps.ring.take(100)]
        assert kinds == [layout.Kind.CALL, layout.Kind.CLOSED]
    with attached(FILE) as maps, in_tree(maps, body):
        pass


def test_what_the_ring_has_no_room_for_is_counted() -> None:
    """Seen and lost are what was done."""
    many = 2000

    def body() -> None:
        for _ in range(many):
            call("open", b"/none", 0, 0)

    with attached(ring_size=mmap.PAGESIZE) as maps:
        with in_tree(maps, body):
            pass
        seen = len(maps.ring.take(1 << 20))
        process, file, network = maps.read_lost()
    assert (process, network) == (0, 0)
    assert 0 < seen < many
    assert seen + file == many + 2


def test_records_that_make_no_sense() -> None:
    """They are lost, and nothing raises."""
    decoder = CallDecoder(OpenFiles(lambda _: None, lambda _: None))
    arch, number = 0xC000003E, NUMBERS[X86_64]["mkdir"]
    head = layout.HEADER.pack(layout.Kind.CALL, 1, 1, 7, 5)
    whole = head + plans.CALL.pack(*[0] * 7, arch, number, *[0] * 6) + struct.pack("=I1sI", 1, b"/", 0)
    assert decoder.decode(whole, 0)[0][1:] == (7, 5, {"path": b"/", "result": "ok"})
    for length in range(len(whole)):
        found = decoder.decode(whole[:length], 0)
        assert [(kind, fields["count"]) for kind, _, _, fields in found] in ([], [("lost", 1)])
    unknown = head + plans.CALL.pack(-4000, *[0] * 6, arch, number, *[0] * 6) + struct.pack("=I1sI", 1, b"/", 0)
    assert decoder.decode(unknown, 0)[0][3]["result"] == "E4000"

"""Filters and their listeners, with real children under them."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from children import CAP_SYS_ADMIN, NOBODY, compiled, exit_code, has_capability, status_field, watched
from hypothesis import given
from hypothesis import strategies as st

from rprun.linux import libc, seccomp, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NATIVE = syscalls.native() or pytest.skip("needs a table for this machine", allow_module_level=True)
ARCH, NUMBERS = syscalls.AUDIT_ARCH[NATIVE], syscalls.NUMBERS[NATIVE]
MKDIR = {NUMBERS[name] for name in ("mkdir", "mkdirat") if name in NUMBERS}
X86, I386 = syscalls.AUDIT_ARCH["x86_64"], syscalls.AUDIT_ARCH["i386"]


def of_mkdir(_channel: int) -> bytes:
    """Return the filter that most of these tests use."""
    return seccomp.build_filter({ARCH: MKDIR})


def verdict(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = (0,) * 6) -> tuple[int, set[int]]:
    """Run a filter as the kernel would; return its result and the offsets that it looked at."""
    data = struct.pack("=iIQ6Q", number if number < 1 << 31 else number - (1 << 32), arch, 0, *arguments)
    code = list(struct.iter_unpack("=HBBI", program))
    at, value, seen = 0, 0, set()
    while True:
        operation, yes, no, k = code[at]
        at += 1
        if operation == 0x20:
            seen.add(k)
            value = struct.unpack_from("=I", data, k)[0]
        elif operation == 0x06:
            return k, seen
        elif operation == 0x05:
            at += k
        else:
            at += yes if (value == k if operation == 0x15 else value >= k) else no


numbers = st.frozensets(st.integers(0, 600), max_size=150)


@given(numbers, numbers, st.lists(st.integers(0, 700), max_size=20))
def test_a_filter_notifies_of_what_it_was_told(
    first: frozenset[int], second: frozenset[int], others: list[int]
) -> None:
    """Every number is found, no other is, and nothing but number and architecture is looked at."""
    program = seccomp.build_filter({X86: first, I386: second})
    for arch, chosen in ((X86, first), (I386, second), (0xC00000B7, frozenset[int]())):
        for number in {*first, *second, *(n + 1 for n in first), *others, 0, 0x40000001, 0xFFFFFFFF}:
            result, seen = verdict(program, arch, number)
            assert result == (seccomp.RET_USER_NOTIF if number in chosen else seccomp.RET_ALLOW)
            assert seen <= {0, 4}


@given(numbers.filter(bool), st.integers(0, 5), st.sampled_from((0, 1, 1 << 31, 1 << 32, 1 << 63, 5 << 32)))
def test_an_argument_that_is_zero(chosen: frozenset[int], index: int, value: int) -> None:
    """A call that counts only with an argument is looked at closely, as far as its ABI has bits; others are not."""
    special = min(chosen)
    program = seccomp.build_filter({X86: chosen, I386: chosen}, nonzero={(X86, special): index, (I386, special): index})
    arguments = tuple(value if at == index else 7 for at in range(6))
    for arch, bits in ((X86, 64), (I386, 32)):
        expected = seccomp.RET_USER_NOTIF if value % (1 << bits) else seccomp.RET_ALLOW
        assert verdict(program, arch, special, arguments)[0] == expected
        for number in {*chosen, special - 1, special + 1} - {special, -1}:
            assert verdict(program, arch, number, arguments)[1] <= {0, 4}


def test_only_the_exempt_call_passes() -> None:
    """One bit that differs, in either argument, and the call is trapped."""
    number, first, second = NUMBERS["sendmsg"], 5, 0x7FFF12345678
    program = seccomp.build_filter({ARCH: [number]}, exempt=(number, first, second))
    assert verdict(program, ARCH, number, (first, second, 0, 0, 0, 0))[0] == seccomp.RET_ALLOW
    for bit in range(64 if ARCH & 0x80000000 else 32):
        for arguments in ((first ^ 1 << bit, second), (first, second ^ 1 << bit)):
            assert verdict(program, ARCH, number, (*arguments, 0, 0, 0, 0))[0] == seccomp.RET_USER_NOTIF


def test_a_filter_has_an_upper_bound() -> None:
    """What the kernel would refuse is not assembled; and half as much is, with jumps that reach."""
    with pytest.raises(ValueError, match="instructions"):
        seccomp.build_filter({ARCH: range(0, 6000, 2)})
    assert verdict(seccomp.build_filter({ARCH: range(0, 1500, 2)}), ARCH, 1400)[0] == seccomp.RET_USER_NOTIF


def test_a_trapped_call_is_seen_and_goes_on(tmp_path: Path) -> None:
    """The call is shown with its caller, number and arguments, and has its effect; other calls are not shown."""

    def body() -> None:
        os.mkdir(tmp_path / "made", 0o711)
        assert (tmp_path / "made").is_dir()
        os.rmdir(tmp_path / "made")

    with watched(of_mkdir, body) as child:
        (call,) = child.all()
        assert exit_code(child.pid) == 0
        assert (call.pid, call.arch, call.number in MKDIR) == (child.pid, ARCH, True)
        assert 0o711 in call.arguments[1:3]
        assert seccomp.is_deserted(child.listener)


def test_shared_memory_can_hold_the_call(tmp_path: Path) -> None:
    """`receive` takes any writable memory, and leaves alone what is behind the notification."""
    with mmap.mmap(-1, 4096) as memory, watched(of_mkdir, lambda: os.mkdir(tmp_path / "made")) as child:
        memory.write(b"\xff" * 4096)
        with memoryview(memory) as view:
            seccomp.receive(child.listener, view)
        assert seccomp.NOTIFICATION.unpack_from(memory)[1] == child.pid
        assert memory[seccomp.NOTIF_SIZE :] == b"\xff" * (4096 - seccomp.NOTIF_SIZE)
        assert not seccomp.is_deserted(child.listener)
        seccomp.respond_continue(child.listener, int.from_bytes(memory[:8], sys.byteorder))
        assert exit_code(child.pid) == 0


def test_the_listener_leaves_by_a_call_that_is_trapped() -> None:
    """The exempt sendmsg gets out, though nobody answers yet; the next one, of another header, is trapped."""
    header, other = ctypes.create_string_buffer(56), ctypes.create_string_buffer(56)
    number = NUMBERS["sendmsg"]
    spare = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def build(channel: int) -> bytes:
        return seccomp.build_filter({ARCH: [number]}, exempt=(number, channel, ctypes.addressof(header)))

    def send(channel: int, listener: int, word: bytes) -> None:
        text = ctypes.create_string_buffer(word, len(word))
        vector = ctypes.create_string_buffer(struct.pack("@PN", ctypes.addressof(text), len(word)))
        size = struct.calcsize("@Niii")
        ancillary = struct.pack("@Niii0N", size, socket.SOL_SOCKET, socket.SCM_RIGHTS, listener)
        control = ctypes.create_string_buffer(ancillary, len(ancillary))
        fields = (0, 0, ctypes.addressof(vector), 1, ctypes.addressof(control), len(ancillary), 0)
        header.raw = struct.pack("@PIPNPNi0P", *fields).ljust(56, b"\0")
        libc.syscall(number, channel, ctypes.addressof(header), 0)

    def body() -> None:
        libc.syscall(number, spare[0].fileno(), ctypes.addressof(other), 0)

    with spare[0], spare[1], watched(build, body, send=send) as child:
        assert [call.number for call in child.all()] == [number]
        assert exit_code(child.pid) == 0


def test_sendto_counts_only_with_an_address() -> None:
    """The same call on a connected socket is not shown, and both arrive."""
    number = NUMBERS["sendto"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        address = receiver.getsockname()

        def body() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"1", address)
                sender.connect(address)
                sender.send(b"2")
                sender.send(b"3")

        def build(_channel: int) -> bytes:
            return seccomp.build_filter({ARCH: [number]}, nonzero={(ARCH, number): 4})

        with watched(build, body) as child:
            (call,) = child.all()
            assert exit_code(child.pid) == 0
        assert call.arguments[4] != 0
        assert [receiver.recv(1) for _ in range(3)] == [b"1", b"2", b"3"]


INT_80 = r"""
#include <stdlib.h>
static char path[256];
int main(int argc, char **argv)
{
    long result, i;
    for (i = 0; argv[1][i]; i++)
        path[i] = argv[1][i];
    __asm__ volatile("int $0x80" : "=a"(result)
        : "a"(39L), "b"(path), "c"(strtol(argv[2], 0, 16)) : "memory", "r8", "r9", "r10", "r11");
    return result == 0 ? 0 : 1;
}
"""


@pytest.mark.skipif(NATIVE != "x86_64", reason="needs x86_64")
@pytest.mark.parametrize("mode", ["1c0", "1000001c0", "100000000"])
def test_an_i386_call_is_seen_with_its_architecture(tmp_path: Path, mode: str) -> None:
    """A 64-bit program's `int $0x80` is i386's mkdir; its arguments have 32 bits, whatever else is in the registers."""
    program = compiled(tmp_path, INT_80, "-O1", "-static", "-no-pie", "-fno-pie")
    number = syscalls.NUMBERS["i386"]["mkdir"]

    def build(_channel: int) -> bytes:
        return seccomp.build_filter({ARCH: MKDIR, I386: [number]}, nonzero={(I386, number): 1})

    made = tmp_path / "made"
    with watched(build, lambda: os.execv(program, [str(program), str(made), mode])) as child:
        calls = child.all()
        code = exit_code(child.pid)
        if code == -signal.SIGSEGV:
            pytest.skip("needs a kernel that runs i386 calls: CONFIG_IA32_EMULATION")
        assert code == 0
    assert made.is_dir()
    low = int(mode, 16) & 0xFFFFFFFF
    seen = [(syscalls.abi_of(call.arch, call.number), call.number, call.arguments[1] & 0xFFFFFFFF) for call in calls]
    assert seen == ([("i386", number, low)] if low else [])


def test_there_is_one_listener() -> None:
    """A process that has one is refused another."""

    def body() -> None:
        with pytest.raises(OSError, match="busy") as caught:
            seccomp.install(of_mkdir(0), 0)
        assert caught.value.errno == errno.EBUSY

    with watched(of_mkdir, body) as child:
        assert child.all() == []
        assert exit_code(child.pid) == 0


def lose_privilege() -> None:
    """Become a user without any."""
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


@pytest.mark.parametrize("before", [lambda: None, lose_privilege], ids=["as-is", "as-nobody"])
def test_no_new_privs_only_where_it_is_needed(before: Callable[[], None]) -> None:
    """Without CAP_SYS_ADMIN it is set, with it it is not, and what is said of it is so."""
    if before is lose_privilege and os.geteuid() != 0:
        pytest.skip("needs root")
    if before is lose_privilege and not has_capability(7):
        pytest.skip("needs a privileged process, with CAP_SETUID")
    held = status_field("NoNewPrivs") == "1"
    needed = not held and (before is lose_privilege or not has_capability(CAP_SYS_ADMIN))

    def body() -> None:
        assert status_field("NoNewPrivs") == str(int(held or needed))

    with watched(of_mkdir, body, before=before) as child:
        assert child.installed.no_new_privs is needed
        assert child.all() == []
        assert exit_code(child.pid) == 0


def test_a_target_that_has_gone_is_enoent(tmp_path: Path) -> None:
    """A call whose process is killed meanwhile has not run, and the answer to it says so."""
    with watched(of_mkdir, lambda: os.mkdir(tmp_path / "made")) as child:
        call = child.next()
        assert call is not None
        assert seccomp.still_waits(child.listener, call.id)
        os.kill(child.pid, signal.SIGKILL)
        assert exit_code(child.pid) == -signal.SIGKILL
        assert not seccomp.still_waits(child.listener, call.id)
        with pytest.raises(FileNotFoundError):
            seccomp.respond_continue(child.listener, call.id)
        assert seccomp.is_deserted(child.listener)
    assert not (tmp_path / "made").exists()


def test_sync_wake_up(tmp_path: Path) -> None:
    """A listener can be asked for it from Linux 6.6 on; what is no listener cannot."""
    with watched(of_mkdir, lambda: os.mkdir(tmp_path / "made")) as child:
        version = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
        assert seccomp.set_sync_wake_up(child.listener) or version < (6, 6)
        assert len(child.all()) == 1
    with open(os.devnull) as null:
        assert not seccomp.set_sync_wake_up(null.fileno())


def test_what_the_kernel_refuses() -> None:
    """A flag from the future and a program that is none are refused, and nothing is installed."""
    for program, flags in ((of_mkdir(0), 1 << 30), (b"", 0), (b"\xff" * 8, 0)):
        with pytest.raises(OSError, match=r".") as caught:
            seccomp.install(program, flags)
        assert caught.value.errno in (errno.EINVAL, errno.EACCES)


HEADER = r"""
#include <stddef.h>
#include <stdio.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#define AT(member) (int)offsetof(struct seccomp_notif, member)
int main(void)
{
    printf("%d %d %d %d ", (int)sizeof(struct seccomp_notif), (int)sizeof(struct seccomp_notif_resp),
        (int)sizeof(struct sock_filter), (int)sizeof(struct sock_fprog));
    printf("%d %d %d %d %d ", AT(pid), AT(flags), AT(data.nr), AT(data.arch), AT(data.args));
    printf("%d %d ", (int)offsetof(struct seccomp_notif_resp, error), (int)offsetof(struct seccomp_notif_resp, flags));
    printf("%u %u %u ", (unsigned)SECCOMP_IOCTL_NOTIF_RECV, (unsigned)SECCOMP_IOCTL_NOTIF_SEND,
        (unsigned)SECCOMP_IOCTL_NOTIF_ID_VALID);
    printf("%u %u %u ", (unsigned)SECCOMP_RET_USER_NOTIF, (unsigned)SECCOMP_RET_ALLOW,
        (unsigned)SECCOMP_USER_NOTIF_FLAG_CONTINUE);
    printf("%lu %lu\n", SECCOMP_FILTER_FLAG_SPEC_ALLOW, SECCOMP_FILTER_FLAG_NEW_LISTENER);
}
"""


def test_layouts_are_the_headers(tmp_path: Path) -> None:
    """Sizes, offsets and constants are what a compiler makes of linux/seccomp.h."""
    words = subprocess.check_output([compiled(tmp_path, HEADER)], text=True).split()
    at = [struct.calcsize("=" + part) for part in ("Q", "QI", "QII", "QIIi", "QIIiIQ")]
    assert [int(word) for word in words] == [
        *(seccomp.NOTIFICATION.size, seccomp.RESPONSE.size, 8, struct.calcsize("@HP")),
        *at,
        *(struct.calcsize("=Qq"), struct.calcsize("=Qqi")),
        *(seccomp.RECV, seccomp.SEND, seccomp.ID_VALID),
        *(seccomp.RET_USER_NOTIF, seccomp.RET_ALLOW, seccomp.FLAG_CONTINUE),
        *(seccomp.SPEC_ALLOW, seccomp.NEW_LISTENER),
    ]
    assert seccomp.NOTIF_SIZE >= 80
    assert seccomp.RESP_SIZE >= 24

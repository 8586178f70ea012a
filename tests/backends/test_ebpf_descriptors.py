"""What the programs know of descriptors: which file each is, when it is over, and whose writes are counted."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_calls import (
    FILE,
    NETWORK,
    attached,
    call,
    ends,
    free_port,
    in_tree,
    local_close,
    need_privilege,
    net_close,
    told_ends,
    written,
)

sys.path.append(str(Path(__file__).parents[1] / "linux"))
from children import compiled

from rprun.backends.ebpf import descriptors, elements, exchanges, layout, loops
from rprun.backends.ebpf import maps as maps_module
from rprun.backends.ebpf.call_decode import CallDecoder
from rprun.backends.ebpf.common import new_label
from rprun.backends.ebpf.open_files import OpenFiles
from rprun.linux import libc
from rprun.linux.bpf_assembler import R3, R4, R8, R10, Assembler

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSE_RANGE = 436  # include/uapi/asm-generic/unistd.h, for all architectures
CREATE = os.O_RDWR | os.O_CREAT


@pytest.fixture
def here(tmp_path: Path) -> bytes:
    """Give a directory, as bytes; not where nothing can be seen of what is done in it."""
    need_privilege()
    return os.fsencode(tmp_path) + b"/"


def test_every_call_that_opens(here: bytes) -> None:
    """What each of them has opened is known by its path."""

    def body() -> None:
        made = [
            call("open", here + b"open", CREATE, 0o600),
            call("openat", -100, here + b"openat", CREATE, 0o600),
            call("creat", here + b"creat", 0o600),
            call("openat2", -100, here + b"openat2", (CREATE).to_bytes(8, "little") + bytes([0o60, 1]) + bytes(14), 24),
        ]
        for size, each in enumerate(made, start=1):
            assert os.write(each, bytes(size)) == size
        for each in made[1:]:
            os.close(each)

    names = [b"open", b"openat", b"creat", b"openat2"]
    one, *others = [written(here + name, size) for size, name in enumerate(names, start=1)]
    assert told_ends(body) == [event for events in (*others, one) for event in events]


def test_a_million_writes(here: bytes) -> None:
    """They are one event."""

    def body() -> None:
        to, write = os.open(here + b"a", CREATE), os.write
        for _ in range(1_000_000):
            write(to, b"xyz")
        os.close(to)

    assert told_ends(body, FILE) == written(here + b"a", 3_000_000)


def test_duplicates(here: bytes) -> None:
    """Each descriptor counts for itself; one that has not been written to is not told of."""

    def body() -> None:
        a, b = (os.open(here + name, CREATE) for name in (b"a", b"b"))
        os.write(a, b"1")
        second, unused = os.dup(a), os.dup(a)
        os.write(second, b"22")
        os.close(unused)
        # Over an open file: that is closed.
        os.write(b, b"333")
        assert call("dup2", a, b) == b
        os.write(b, b"4444")
        # Over nothing, and over itself: nothing is.
        assert call("dup2", a, 100) == 100
        assert call("dup2", a, a) == a
        assert call("dup3", a, a, 0) == -errno.EINVAL
        assert call("dup2", 99, second) == -errno.EBADF
        assert call("dup3", 99, second, 0) == -errno.EBADF
        assert call("dup3", second, 100, 0) == 100
        os.write(100, b"55555")
        os.close(second)
        assert call("close", second) == -errno.EBADF
        assert call("close", 999) == -errno.EBADF
        c = os.open(here + b"c", CREATE)
        assert call("dup3", c, 100, os.O_CLOEXEC) == 100
        for each in (a, b, 100, c):
            os.close(each)

    a = here + b"a"
    assert told_ends(body) == [
        *written(here + b"b", 3),
        *written(a, 2),
        *written(a, 5),
        *written(a, 1),
        *written(a, 4),
        *written(here + b"c"),
    ]


def test_who_writes_is_told_of(here: bytes) -> None:
    """A child that has inherited a descriptor, and a process that has got one over a socket."""
    inherited = os.open(here + b"inherited", CREATE)
    passed = os.open(here + b"passed", CREATE)
    os.write(inherited, b"before")
    mine, there = socket.socketpair()

    def body() -> None:
        os.write(inherited, b"1")
        _, (got, *_), _, _ = socket.recv_fds(there, 1, 1)
        os.write(got, b"22")
        os.close(got)

    with mine, there, attached() as maps:
        with in_tree(maps, body) as pid:
            os.write(inherited, b"not of the tree")
            socket.send_fds(mine, [b"x"], [passed])
        assert maps.read_lost() == (0, 0, 0)
        found = ends(maps, pid)
    for each in (inherited, passed):
        os.close(each)
    assert found == [*written(here + b"passed", 2), *written(here + b"inherited", 1), local_close(0, 1, b"")]


@pytest.mark.parametrize("by", ["file", "pipe", "socket", "memory", "nothing"])
def test_the_number_is_another_files(by: str, here: bytes) -> None:
    """What close_range(2) has closed is told of once, and nothing that comes after it is put down to it."""
    turns = 20

    def body() -> None:
        for _ in range(turns):
            low = os.dup(0)
            first = os.open(here + b"first", CREATE)
            os.write(first, b"1")
            # So that both numbers of a pipe are those.
            os.close(low)
            libc.syscall(CLOSE_RANGE, first, first, 0)
            if by == "file":
                made = [os.dup(0), os.open(here + b"second", CREATE)]
            elif by == "pipe":
                made = [*os.pipe()]
            elif by == "socket":
                made = [each.detach() for each in socket.socketpair()]
            elif by == "memory":
                made = [os.dup(0), os.memfd_create("second")]
            else:
                continue
            assert made[1] == first
            for _ in range(5):
                assert os.write(first, bytes(100)) == 100
            for each in made:
                os.close(each)

    another = {
        "file": written(here + b"second", 500),
        "socket": [local_close(500, 0, b"")],
        "memory": written(None, 500),
    }
    found = told_ends(body)
    assert sorted(found, key=str) == sorted((written(here + b"first", 1) + another.get(by, [])) * turns, key=str)


def test_the_number_is_another_files_after_an_exec(here: bytes) -> None:
    """What an exec has closed is told of, too."""
    program = (
        "import os, sys; made = os.pipe(); os.write(made[1], b'x' * 50);"
        "a = os.open(sys.argv[1] + 'second', os.O_RDWR | os.O_CREAT); os.write(a, b'22')"
    )

    def body() -> None:
        for _ in range(2):
            os.write(os.open(here + b"first", CREATE), b"1")
        os.execv(sys.executable, [sys.executable, "-ISc", program, os.fsdecode(here)])

    found = Counter((kind, fields.get("path"), fields.get("byte_count")) for kind, fields in told_ends(body))
    files = {key: count for key, count in found.items() if key[1] is not None and key[1].startswith(here)}
    assert files == {
        ("file-write", here + b"first", 1): 2,
        ("file-close", here + b"first", None): 2,
        ("file-write", here + b"second", 2): 1,
        ("file-close", here + b"second", None): 1,
    }


THREADS = """
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static const char *paths[2];
static int rounds;
static void *run(void *which) {
    const char *path = paths[(long)which % 2];
    for (int i = 0; i < rounds; i++) {
        int to = open(path, O_WRONLY | O_CREAT, 0600);
        if (to < 0 || write(to, "xyzxyz", (long)which % 2 ? 5 : 3) < 0) _exit(1);
        close(to);
    }
    return 0;
}
int main(int argc, char **argv) {
    pthread_t threads[4];
    for (int i = 0; i < 2; i++) paths[i] = argv[i + 1];
    rounds = atoi(argv[3]);
    for (long i = 0; i < 4; i++) pthread_create(&threads[i], 0, run, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    return 0;
}
"""


@pytest.mark.parametrize("known", [True, False])
def test_threads_with_one_number(known: bool, here: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They close and open the same numbers at full speed: a close is told of once, with its own path and count.

    Without exchanges in the kernel one in some thousand may be told wrongly: see BUGS in the man page.
    """
    if not known:
        monkeypatch.setattr(exchanges, "has_exchanges", lambda: False)
    wrong = _told_wrongly(here, tmp_path, rounds=20_000)
    assert not wrong or (not known and sum(wrong.values()) <= 40)


@pytest.mark.parametrize("in_order", [True, False])
def test_threads_with_one_number_on_slow_processors(
    in_order: bool, here: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds where a processor stands still before and after each step, also with the steps of aarch64."""
    stand_still(monkeypatch)
    monkeypatch.setattr(exchanges, "loads_in_order", lambda: in_order)
    assert not _told_wrongly(here, tmp_path, rounds=5_000)


def _told_wrongly(here: bytes, tmp_path: Path, *, rounds: int) -> Counter[tuple[str, bytes | None, int | None]]:
    """Return what is told of THREADS and is not so, and what is so and is not told."""
    program = str(compiled(tmp_path, THREADS, "-O1", "-pthread"))

    def body() -> None:
        os.execv(program, [program, here + b"a", here + b"b", str(rounds)])

    with attached(FILE, ring_size=64 << 20) as maps:
        with in_tree(maps, body) as pid:
            pass
        assert maps.read_lost() == (0, 0, 0)
        found = ends(maps, pid)
    counts = Counter((kind, fields["path"], fields.get("byte_count")) for kind, fields in found)
    told = Counter({key: count for key, count in counts.items() if key[1] is None or key[1].startswith(here)})
    true = Counter(
        {
            (kind, here + name, size if kind == "file-write" else None): 2 * rounds
            for kind in ("file-write", "file-close")
            for name, size in ((b"a", 3), (b"b", 5))
        }
    )
    return (told - true) + (true - told)


def stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the programs take some microseconds, now and then, before or after an exchange: processors that stand still.

    Without that, one would have to stand still for a few given instructions.
    """
    if not loops.has_may_goto():
        pytest.skip("needs loops of any length in the kernel: Linux 6.9")

    def wait(code: Assembler, when: int) -> None:
        again, on = new_label("again"), new_label("on")
        code.load(R3, R8, layout.TIME_AT)
        code.bit_and(R3, 3)
        code.jump_if_not_equal(R3, when, on)
        code.store_immediate(R10, -16, 0)
        loops.begin_loop(code, R3, 0, again, on)
        code.move(R4, 1)
        code.atomic_add(R10, -16, R4)
        code.add(R3, 1)
        code.jump_if_less(R3, 2000, again)
        code.label(on)

    def slowly(step: Callable[..., None]) -> Callable[..., None]:
        def both(code: Assembler, *arguments: object) -> None:
            wait(code, 1)
            step(code, *arguments)
            wait(code, 2)

        return both

    for module, names in ((descriptors, ("find", "identify")), (elements, ("exchange", "compare_exchange"))):
        for name in names:
            monkeypatch.setattr(module, name, slowly(getattr(module, name)))


FIRST = """
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static struct sockaddr_in nobody = {.sin_family = AF_INET};
static atomic_int arrived, to;
static int udp, rounds;
static void meet(int times) {
    arrived++;
    for (int i = 0; arrived < 2 * times; i++) if (i > 1000) sched_yield();
}
static void use(int size) {
    if ((udp ? sendto(to, "xyzxyz", size, 0, (void *)&nobody, sizeof nobody) : write(to, "xyzxyz", size)) != size)
        _exit(1);
}
static void *run(void *unused) {
    for (int i = 0; i < rounds; i++) { meet(2 * i + 1); use(3); meet(2 * i + 2); }
    return 0;
}
int main(int argc, char **argv) {
    pthread_t thread;
    udp = argv[1][0] == 'u';
    rounds = atoi(argv[2]);
    nobody.sin_port = htons(9);
    nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (pthread_create(&thread, 0, run, 0)) return 1;
    for (int i = 0; i < rounds; i++) {
        to = udp ? socket(AF_INET, SOCK_DGRAM, 0) : memfd_create("m", 0);
        if (to < 0) return 1;
        meet(2 * i + 1);
        use(5);
        meet(2 * i + 2);
        // What the latter closes is told of by who comes upon the next file.
        if (i % 2) close(to); else syscall(SYS_close_range, to, to, 0);
    }
    return 0;
}
"""


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("what", ["memory", "udp"])
def test_threads_that_come_upon_one_file(
    what: str, slow: bool, here: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same moment, where it was not seen opened: it ends once, with the bytes of both, or one counts as lost."""
    if slow:
        stand_still(monkeypatch)
    rounds = 1_000
    program = str(compiled(tmp_path, FIRST, "-O1", "-pthread"))
    with attached(FILE, NETWORK, ring_size=64 << 20) as maps:
        with in_tree(maps, lambda: os.execv(program, [program, what, str(rounds)])) as pid:
            pass
        lost = maps.read_lost()
        found = ends(maps, pid)
    closed, counter = ("net-close", "bytes_sent") if what == "udp" else ("file-write", "byte_count")
    counts = Counter(fields[counter] for kind, fields in found if kind == closed and fields.get("path") is None)
    assert counts.total() == rounds
    assert counts.keys() <= {8, 3, 5}
    assert counts[3] + counts[5] == sum(lost)
    # A processor may stand still for once where nobody makes it.
    assert slow or sum(lost) <= 1


def test_what_has_no_name(here: bytes) -> None:
    """Memory has no path, and no more has a removed file that was not seen opened."""
    held = os.open(here + b"removed", CREATE)
    os.unlink(here + b"removed")

    def body() -> None:
        memory = os.memfd_create("m")
        os.write(memory, b"1")
        os.close(memory)
        os.write(held, b"22")
        os.close(held)
        own = os.open(here + b"own", CREATE)
        os.unlink(here + b"own")
        os.write(own, b"333")
        os.close(own)
        temporary = os.open(here, os.O_TMPFILE | os.O_RDWR)
        os.write(temporary, b"4444")
        os.close(temporary)

    found = told_ends(body)
    os.close(held)
    assert found == [*written(None, 1), *written(None, 2), *written(here + b"own", 3), *written(here, 4)]


def test_fifos_and_devices(here: bytes) -> None:
    """They are files, once they have been opened by a path; a pipe without a name is none."""
    os.mkfifo(here + b"fifo")

    def body() -> None:
        fifo = os.open(here + b"fifo", os.O_RDWR)
        os.write(fifo, b"1")
        os.close(fifo)
        null = os.open(b"/dev/null", os.O_WRONLY)
        os.write(null, b"22")
        os.close(null)
        unnamed = os.pipe()
        os.write(unnamed[1], b"333")
        for each in unnamed:
            os.close(each)
        # Inherited by nobody that is seen.
        os.write(zero, b"4444")

    zero = os.open("/dev/zero", os.O_WRONLY)
    found = told_ends(body)
    os.close(zero)
    assert found == [*written(here + b"fifo", 1), *written(b"/dev/null", 2), *written(b"/dev/zero", 4)]


def test_what_is_spliced_into_a_fifo(here: bytes) -> None:
    """It is written to it, as by write(2)."""
    os.mkfifo(here + b"fifo")
    (Path(os.fsdecode(here)) / "source").write_bytes(bytes(100))

    def body() -> None:
        source, fifo = os.open(here + b"source", os.O_RDONLY), os.open(here + b"fifo", os.O_RDWR)
        assert os.splice(source, fifo, 40) == 40
        os.close(fifo)

    assert told_ends(body) == [*written(here + b"fifo", 40), *written(here + b"source")]


def test_of_whom_a_socket_is(here: bytes) -> None:
    """The peer of the last connect or accept, else what listen or bind said, else what the kernel knows, else null."""

    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()
            with socket.create_connection(("127.0.0.1", port)) as client:
                server.accept()[0].close()
                names.send(f"{port} {client.getsockname()[1]}".encode())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind(("127.0.0.1", port))
            bound.sendto(b"x", ("127.0.0.1", port))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unknown:
            unknown.sendto(b"xx", ("127.0.0.1", port))
        inherited.send(b"xxx")

    mine, names = socket.socketpair()
    with mine, names, socket.create_server(("127.0.0.1", 0)) as other:
        there = other.getsockname()[1]
        with socket.create_connection(("127.0.0.1", there)) as inherited:
            found = told_ends(body)
        said = mine.recv(100)
        port, client = map(int, said.split())
    udp = {"protocol": "udp"}
    assert found == [
        net_close(0, 0, "127.0.0.1", client),
        net_close(0, 0, "127.0.0.1", port),
        net_close(0, 0, "127.0.0.1", port),
        net_close(1, 0, "127.0.0.1", port, **udp),
        net_close(2, 0, None, None, **udp),
        local_close(len(said), 0, b""),
        net_close(3, 0, "127.0.0.1", there),
    ]


def test_what_fails_changes_no_peer() -> None:
    """A call that fails leaves a socket what it was: connected, being connected, or listening."""
    port, elsewhere = free_port(), ("127.0.0.2", 9)

    def body() -> None:
        with socket.create_server(("127.0.0.1", port)) as server:
            assert server.connect_ex(elsewhere) == errno.EISCONN
            with socket.create_connection(("127.0.0.1", port)) as client:
                assert client.connect_ex(elsewhere) == errno.EISCONN
                client.send(b"x")
            with socket.socket() as client:
                client.setblocking(False)
                assert client.connect_ex(("127.0.0.1", port)) == errno.EINPROGRESS
                with pytest.raises(OSError, match="Invalid argument"):
                    client.listen()
                client.send(b"xx")
            with socket.socket() as client:
                assert client.connect_ex(elsewhere) == errno.ECONNREFUSED
                client.connect(("127.0.0.1", port))
                client.send(b"xxx")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            assert client.connect_ex(("255.255.255.255", 9)) == errno.EACCES
            client.send(b"xxxx")
        inherited.send(b"xxx")
        assert inherited.connect_ex(elsewhere) == errno.EISCONN
        inherited.send(b"xx")
        assert unknown.connect_ex(elsewhere) == errno.EISCONN
        unknown.send(b"x")
        unknown.close()

    with socket.create_server(("127.0.0.1", 0)) as other:
        there = other.getsockname()[1]
        connect = partial(socket.create_connection, ("127.0.0.1", there))
        with connect() as inherited, connect() as unknown:
            found = told_ends(body)
    assert found == [
        *(net_close(sent, 0, "127.0.0.1", port) for sent in (1, 2, 3, 0)),
        net_close(4, 0, "127.0.0.1", port, protocol="udp"),
        net_close(1, 0, None, None),
        net_close(5, 0, "127.0.0.1", there),
    ]


def test_no_room_for_more(here: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no element for is counted as lost, for its own category; room comes back with closes."""
    room, many = 16, 40
    monkeypatch.setattr(maps_module, "DESCRIPTORS_SIZE", room)

    def body() -> None:
        for _ in range(2):
            held = [os.open("/dev/null", os.O_WRONLY) for _ in range(many)]
            for each in held:
                os.close(each)

    with attached() as maps:
        with in_tree(maps, body) as pid:
            pass
        lost = maps.read_lost()
        found = ends(maps, pid)
    assert (lost[0], lost[2]) == (0, 0)
    assert 0 < len(found) <= 2 * room
    assert len(found) + lost[1] == 2 * many


def test_no_room_is_told_once(here: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor that has no element is lost once, however often it is written to, and again once it is another."""
    monkeypatch.setattr(maps_module, "DESCRIPTORS_SIZE", 4)
    many, inherited = 40, [os.open("/dev/zero", os.O_WRONLY) for _ in range(5)]

    def body() -> None:
        for _ in range(2):
            held = [os.open("/dev/null", os.O_WRONLY) for _ in range(many)]
            for each in [*held, *inherited] * 3:
                os.write(each, b"1")
            for each in held:
                os.close(each)

    with attached() as maps:
        with in_tree(maps, body) as pid:
            pass
        lost = maps.read_lost()
        found = ends(maps, pid)
    for each in inherited:
        os.close(each)
    assert (lost[0], lost[2]) == (0, 0)
    kept = [fields["path"] for kind, fields in found if kind == "file-close"]
    assert kept.count(b"/dev/null") > 0
    assert len(kept) + lost[1] == 2 * many + len(inherited)


def test_no_room_in_the_ring(here: bytes) -> None:
    """Seen and lost are what was done, closes among it; what is seen later is not put down to another file."""
    many = 2000
    full, go_on = os.pipe(), os.pipe()

    def body() -> None:
        made = os.open(here + b"first", CREATE)
        os.write(made, b"1")
        for _ in range(many):
            call("open", b"/none", 0, 0)
        # Records of closes are small.
        for _ in range(100):
            os.close(os.open("/dev/null", os.O_RDONLY))
        os.close(made)
        assert os.open(here + b"second", CREATE) == made
        os.write(made, b"22")
        os.write(full[1], b"x")
        os.read(go_on[0], 1)
        os.close(made)

    with attached(ring_size=mmap.PAGESIZE) as maps:
        decoder = CallDecoder(OpenFiles(maps.descriptors.lookup, maps.descriptors.delete_all))
        with in_tree(maps, body):
            os.read(full[0], 1)
            records = maps.ring.take(1 << 20)
            os.write(go_on[1], b"x")
        records += maps.ring.take(1 << 20)
        lost = maps.read_lost()
    for each in (*full, *go_on):
        os.close(each)
    kinds = [layout.HEADER.unpack_from(data)[0] for data in records]
    assert (lost[0], lost[2]) == (0, 0)
    # The marks, both opens and both closes are the rest of it.
    assert len(records) + lost[1] == many + 200 + 6
    told = [
        (kind, dict(fields))
        for data, kind in zip(records, kinds, strict=True)
        for kind, _, _, fields in (decoder.closed if kind == layout.Kind.CLOSED else decoder.decode)(data, 0)
    ]
    assert told[-3:-1] == written(None, 2)

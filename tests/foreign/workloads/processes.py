"""Processes by fork and by spawn, a pool, threads that open files, and servers on a Unix and on a TCP socket."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from multiprocessing.connection import Client, Listener
from pathlib import Path


def work(name: str) -> int:
    """Write a file and name it anew; return the size."""
    path = Path(name)
    path.write_text(name)
    path.rename(path.with_suffix(".done"))
    return path.with_suffix(".done").stat().st_size


def serve(listener: Listener) -> None:
    """Answer one client."""
    with listener.accept() as connection:
        connection.send(connection.recv().upper())


def exchange(family: str, address: object) -> None:
    """Run a server in a thread, and its client here."""
    with Listener(address, family) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with Client(listener.address, family) as client:
            client.send("hello")
            assert client.recv() == "HELLO"
        server.join()


def datagrams() -> None:
    """Send with an address, in three ways, and once to a connected peer."""
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"one", receiver.getsockname())
        sender.sendmsg([b"two"], [], 0, receiver.getsockname())
        sender.connect(receiver.getsockname())
        sender.send(b"three")


def refused() -> None:
    """Connect where nobody listens: to TCP over both families, and to Unix sockets of both sorts of name."""
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 9)),
        (socket.AF_INET6, ("::1", 9)),
        (socket.AF_UNIX, f"{Path.cwd()}/absent"),
        (socket.AF_UNIX, "\0rprun-absent"),
    ):
        with socket.socket(family) as client:
            assert client.connect_ex(address) != 0


def main() -> None:
    """Do all of it."""
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        children = [context.Process(target=work, args=(f"{method}-{number}",)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        with context.Pool(2) as pool:
            assert (
                sum(pool.map(work, [f"{method}-pool-{number}" for number in range(4)], chunksize=1))
                == 4 * len(method) + 28
            )
    threads = [threading.Thread(target=work, args=(f"thread-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exchange("AF_UNIX", f"{Path.cwd()}/socket")
    exchange("AF_INET", ("127.0.0.1", 0))
    datagrams()
    refused()
    os.posix_spawn("/bin/true", ["true"], os.environ)


if __name__ == "__main__":
    main()

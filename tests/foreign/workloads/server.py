"""A web server on loopback with workers that it forks, and its clients: `python server.py DIRECTORY SECONDS`.

Four workers accept and answer requests, each of which opens the file that is asked for, and one line is written to a
log. One client makes a connection for each of its requests, some twenty a second; another one keeps each of its
connections for a second, in which it makes ten. All are processes of one tree, whose first one waits for the others.
"""

from __future__ import annotations

import http.client
import http.server
import os
import socket
import sys
import time
from pathlib import Path

_WORKERS = 4
_FILES = 20
_SIZE = 200_000


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Write a line to this worker's log."""
        self.server.log.write(f"{arguments}\n")  # type: ignore[attr-defined]


def work(listener: socket.socket, directory: Path) -> None:
    """Answer requests for ever, a connection at a time."""
    os.chdir(directory)
    server = http.server.HTTPServer(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_address = listener.getsockname()
    with (directory / f"log.{os.getpid()}").open("a", encoding="utf-8") as server.log:  # type: ignore[attr-defined]
        server.serve_forever()


def ask_anew(port: int, until: float) -> None:
    """Make a connection for each request."""
    number = 0
    while time.monotonic() < until:
        _request(http.client.HTTPConnection("127.0.0.1", port), number, close=True)
        number += 1
        time.sleep(0.05)


def ask_again(port: int, until: float) -> None:
    """Make ten requests by each connection."""
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for number in range(10):
            _request(connection, number)
            time.sleep(0.1)
        connection.close()


def _request(connection: http.client.HTTPConnection, number: int, *, close: bool = False) -> None:
    connection.request("GET", f"/page{number % _FILES}", headers={"Connection": "close"} if close else {})
    connection.getresponse().read()
    if close:
        connection.close()


def main() -> None:
    """Run it all for as long as is asked."""
    directory, until = Path(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    for number in range(_FILES):
        (directory / f"page{number}").write_bytes(os.urandom(_SIZE))
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = listener.getsockname()[1]
    workers = [_fork(lambda: work(listener, directory)) for _ in range(_WORKERS)]
    for client in [_fork(lambda: ask_anew(port, until)), _fork(lambda: ask_again(port, until))]:
        os.waitpid(client, 0)
    for worker in workers:
        os.kill(worker, 15)
        os.waitpid(worker, 0)


def _fork(body: object) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            body()  # type: ignore[operator]
        finally:
            os._exit(0)
    return pid


if __name__ == "__main__":
    main()

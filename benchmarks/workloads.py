"""Programs that do one thing many times, in C, and in Python for where there is no compiler."""

from __future__ import annotations

OPEN_C = """\
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    for (int left = argc > 1 ? atoi(argv[1]) : 0; left > 0; left--) {
        int file = open("/dev/null", O_RDONLY);
        if (file < 0)
            return 1;
        close(file);
    }
    return 0;
}
"""
OPEN_PYTHON = "import os, sys\nfor _ in range(int(sys.argv[1])):\n    os.close(os.open('/dev/null', os.O_RDONLY))\n"

# It times itself, since what starting rprun takes is not asked here.
UNWATCHED_C = """\
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    static char room[4096];
    struct timespec start, end;
    int zero = open("/dev/zero", O_RDONLY);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int left = argc > 1 ? atoi(argv[1]) : 0; left > 0; left--) {
        getppid();
        if (read(zero, room, sizeof room) != sizeof room)
            return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%f\\n", end.tv_sec - start.tv_sec + (end.tv_nsec - start.tv_nsec) / 1e9);
    return 0;
}
"""
UNWATCHED_PYTHON = """\
import os, sys, time
zero = os.open("/dev/zero", os.O_RDONLY)
start = time.perf_counter()
for _ in range(int(sys.argv[1])):
    os.getppid()
    os.read(zero, 4096)
print(time.perf_counter() - start)
"""

CONNECT = """\
import socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
address = server.getsockname()
start = time.perf_counter()
for _ in range(int(sys.argv[1])):
    with socket.create_connection(address):
        server.accept()[0].close()
print(time.perf_counter() - start)
"""

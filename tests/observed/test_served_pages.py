"""A process that provides its pages itself, when they are needed, and cannot while the supervisor waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from observing import compile_c, observe, of_kind

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("answered_by")

# A thread provides the page that a path is on, and opens a file before it does.
SERVER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static int faults;
static char *pages;
static void *serve(void *nothing)
{
    static char content[4096] __attribute__((aligned(4096))) = "/etc/hostname";
    for (;;) {
        struct uffd_msg message;
        if (read(faults, &message, sizeof message) != sizeof message)
            return nothing;
        close(open("/etc/passwd", O_RDONLY));
        struct uffdio_copy copy = {message.arg.pagefault.address & ~4095ul, (unsigned long)content, 4096};
        ioctl(faults, UFFDIO_COPY, &copy);
    }
}
int main(int argc, char **argv)
{
    if (argc > 1) {
        int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
        faults = ioctl(device, _IO(0xAA, 0), O_CLOEXEC);
    } else
        faults = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {UFFD_API};
    if (faults < 0 || ioctl(faults, UFFDIO_API, &api))
        return 1;
    pages = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {{(unsigned long)pages, 8192}, UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(faults, UFFDIO_REGISTER, &range))
        return 2;
    pthread_t thread;
    pthread_create(&thread, 0, serve, 0);
    for (int each = 0; each < 2; each++) {
        int file = open(pages, O_RDONLY);
        if (file < 0)
            return 3;
        close(file);
    }
    char *fresh = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    open(fresh, O_RDONLY);
    unlink("/nowhere");
    execl("/bin/sh", "sh", "-c", "exit 5", (char *)0);
    return 4;
}
"""


@pytest.mark.parametrize("way", ["call", "device"])
def test_a_page_that_is_not_there_yet(way: str, tmp_path: Path) -> None:
    """Its path is unknown, the next one is not; and whoever is to provide the page is not kept from it."""
    program = compile_c(tmp_path, SERVER, "-w", "-pthread")
    result, events = observe(tmp_path, program, *(["device"] if way == "device" else []), timeout=30)
    if result.returncode == 1:
        pytest.skip("userfaultfd(2) for faults in the kernel, which needs to be root")
    assert result.returncode == 5
    told = [event["path"] for event in of_kind(events, "file-open")]
    start = told.index(None)
    # Its order is that of the calls: the one that waits came first. An empty path is null, too.
    assert told[start : start + 4] == [None, "/etc/passwd", "/etc/hostname", None]
    assert [event["path"] for event in of_kind(events, "file-unlink")] == ["/nowhere"]
    assert of_kind(events, "exec")[-1]["argv"] == ["sh", "-c", "exit 5"]

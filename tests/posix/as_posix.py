"""Runs rprun on this system as on another one of POSIX, with real children on real terminals and pipes.

    python as_posix.py SYSTEM[,SWITCH...] ARGUMENT...      as `rprun ARGUMENT...` on darwin, freebsd14 or openbsd7

What the other system does not have is taken away before rprun is imported: calls, constants, signals, the package's
own door to Linux; and /proc, for rprun's own modules (the command, psutil and the tests go on to see it). How the
other kernel behaves is not known by that. What is documented of it and can be imitated is a switch each:

    end        a master has its end as an empty read, and not as EIO
    discard    what has not been read of a terminal is lost when rprun lets go of the command's end
    canonical  a line of more than 1,022 bytes is cut, silently
    select     a descriptor from 1,024 on cannot be waited for
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import fcntl
import functools
import importlib
import os
import select
import sys
import sysconfig
import termios
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# Before the platform has another name, or less: what asks for it when it is imported gets the true one.
for _name in (
    "ctypes", "json", "psutil", "queue", "random", "resource", "selectors", "shutil", "signal", "socket", "subprocess",
    "tempfile", "threading", "uuid",
):  # fmt: skip
    importlib.import_module(_name)

LINUX_ONLY: dict[str, tuple[str, ...]] = {
    "os": (
        "SPLICE_F_NONBLOCK", "copy_file_range", "eventfd", "getrandom", "memfd_create", "pidfd_open", "pipe2",
        "posix_fadvise", "posix_fallocate", "sched_getaffinity", "sched_setaffinity", "splice", "waitid",
        "P_PIDFD", "O_DIRECT", "O_PATH", "O_TMPFILE", "fdatasync", "getresuid", "getresgid", "setresuid",
    ),
    "select": tuple(name for name in dir(select) if name.lower().startswith("epoll")),
    "_signal": ("pidfd_send_signal", "sigtimedwait", "sigwaitinfo", "SIGPWR", "SIGSTKFLT", "SIGRTMIN", "SIGRTMAX",
                "SIGPOLL", "SIGCLD"),
    "signal": ("pidfd_send_signal", "sigtimedwait", "sigwaitinfo"),
    "fcntl": ("F_SETPIPE_SZ", "F_GETPIPE_SZ", "F_ADD_SEALS"),
    "resource": ("prlimit",),
    "termios": ("TIOCGICOUNT", "TIOCOUTQ"),
    "socket": ("AF_NETLINK", "AF_PACKET", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "MSG_NOSIGNAL"),
}  # fmt: skip
ON_FREEBSD = (
    "pipe2",
    "SIGRTMIN",
    "SIGRTMAX",
    "sigtimedwait",
    "sigwaitinfo",
    "posix_fallocate",
    "SOCK_CLOEXEC",
    "waitid",
)
# Where the system's is broken, as it was found to be on macOS, CPython's module has nothing of it.
WITHOUT_POLL = ("darwin",)
# _POSIX_VDISABLE of the BSDs and macOS (<sys/ttydefaults.h>, <unistd.h>); 0 is a character like any other there.
DISABLED = b"\xff"
LONGEST = 1022


class _NoDoor(MetaPathFinder):
    """Keeps the package's own doors to Linux shut."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "rprun.linux" or name.startswith("rprun.linux."):
            raise ImportError(f"{name} was asked for on {sys.platform}")


def pretend(system: str, switches: Sequence[str]) -> None:
    """Make this interpreter look like one on another system, to rprun."""
    sysconfig.get_config_vars()
    for module, names in LINUX_ONLY.items():
        for name in names:
            if system.startswith("freebsd") and name in ON_FREEBSD:
                continue
            with contextlib.suppress(AttributeError):
                delattr(sys.modules[module], name)
    if system in WITHOUT_POLL:
        for name in [name for name in dir(select) if name == "poll" or name.startswith("POLL") or name == "PIPE_BUF"]:
            delattr(select, name)
    _hide_proc()
    _disable_as_bsd()
    for switch in switches:
        _SWITCHES[switch]()
    sys.meta_path.insert(0, _NoDoor())
    sys.platform = system


def _asked_by_rprun() -> bool:
    name = sys._getframe(2).f_globals.get("__name__", "")
    return bool(name == "rprun" or name.startswith("rprun."))


def _hide_proc() -> None:
    """There is no /proc for rprun's own modules."""

    def hidden(call: Any) -> Any:
        @functools.wraps(call)
        def ask(path: Any, *args: Any, **options: Any) -> Any:
            if isinstance(path, (str, bytes)) and os.fsencode(path).startswith(b"/proc") and _asked_by_rprun():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return call(path, *args, **options)

        return ask

    for module, name in ((os, "open"), (os, "listdir"), (os, "readlink"), (os, "stat"), (builtins, "open")):
        setattr(module, name, hidden(getattr(module, name)))


def _disable_as_bsd() -> None:
    """A special character is off that is 0xFF."""
    get, change = termios.tcgetattr, termios.tcsetattr
    values = (termios.VMIN, termios.VTIME)

    def tcgetattr(fd: int) -> list[Any]:
        found = get(fd)
        found[6] = [DISABLED if one == b"\0" and n not in values else one for n, one in enumerate(found[6])]
        return found

    def tcsetattr(fd: int, when: int, attributes: list[Any]) -> None:
        asked = [*attributes]
        asked[6] = [b"\0" if one == DISABLED and n not in values else one for n, one in enumerate(asked[6])]
        # A NUL that is on cannot be imitated.
        assert not any(one == b"\0" for n, one in enumerate(attributes[6]) if n not in values), attributes
        change(fd, when, asked)

    termios.tcgetattr, termios.tcsetattr = tcgetattr, tcsetattr


def _is_master(fd: int) -> bool:
    try:
        fcntl.ioctl(fd, 0x80045430, bytes(4))  # TIOCGPTN
    except OSError:
        return False
    return True


def _end() -> None:
    read = os.read

    def read_to_the_end(fd: int, size: int) -> bytes:
        try:
            return read(fd, size)
        except OSError as error:
            if error.errno == errno.EIO and _is_master(fd):
                return b""
            raise

    os.read = read_to_the_end


def _discard() -> None:
    close, openpty, read = os.close, os.openpty, os.read
    masters: dict[int, int] = {}
    # Masters that had nothing to read when they were last read. Linux may bring more a moment later, BSD would not.
    emptied: set[int] = set()
    owner = os.getpid()

    def openpty_noted() -> tuple[int, int]:
        master, slave = openpty()
        masters[os.fstat(slave).st_rdev] = master
        emptied.discard(master)
        return master, slave

    def read_noted(fd: int, size: int) -> bytes:
        emptied.discard(fd)
        try:
            return read(fd, size)
        except BlockingIOError:
            emptied.add(fd)
            raise

    def close_and_discard(fd: int) -> None:
        # Non-blocking is the descriptor that rprun keeps, which is the last one when the command is gone. The monitor's
        # copy of it never is.
        with contextlib.suppress(OSError):
            master = masters.get(os.fstat(fd).st_rdev, -1)
            if (
                master >= 0
                and os.getpid() == owner
                and os.isatty(fd)
                and not _is_master(fd)
                and not os.get_blocking(fd)
            ):
                with contextlib.suppress(termios.error):
                    if master not in emptied:
                        termios.tcflush(master, termios.TCIFLUSH)
        close(fd)

    os.openpty, os.read, os.close = openpty_noted, read_noted, close_and_discard


def _canonical() -> None:
    write = os.write
    lines: dict[int, tuple[int, bool]] = {}

    def follow(data: bytes, attributes: list[Any], length: int, quoted: bool) -> tuple[bytes, int, bool]:
        ends = (b"\n", attributes[6][termios.VEOF], b"\r" if attributes[0] & termios.ICRNL else b"\n")
        kept = bytearray()
        for one in (data[index : index + 1] for index in range(len(data))):
            if not quoted and one == attributes[6][termios.VLNEXT]:
                quoted = True
            elif not quoted and one in ends:
                length = 0
            else:
                quoted = False
                length += 1
                if length > LONGEST:
                    continue
            kept += one
        return bytes(kept), length, quoted

    def write_and_cut(fd: int, data: bytes) -> int:
        if not _is_master(fd):
            return write(fd, data)
        attributes = termios.tcgetattr(fd)
        if not attributes[3] & termios.ICANON:
            return write(fd, data)
        length, quoted = lines.get(fd, (0, False))
        # Cut at the end of a line where one is too long, and only then: what is written is what is counted.
        kept, *after = follow(data, attributes, length, quoted)
        if kept != data:
            os.write(2, b"as_posix: a line was cut\n")
        written = write(fd, kept)
        lines[fd] = (
            (after[0], after[1]) if written == len(kept) else follow(kept[:written], attributes, length, quoted)[1:]
        )
        return written if kept == data else len(data)

    os.write = write_and_cut


def _select() -> None:
    true = select.select

    def limited(*args: Any) -> Any:
        if any((one if isinstance(one, int) else one.fileno()) >= 1024 for some in args[:3] for one in some):
            raise ValueError("filedescriptor out of range in select()")
        return true(*args)

    select.select = limited


_SWITCHES = {"end": _end, "discard": _discard, "canonical": _canonical, "select": _select}


def main(system: str, *switches: str) -> None:
    """Be rprun on another system."""
    pretend(system, switches)
    from rprun.__main__ import main as run

    sys.exit(run())


if __name__ == "__main__":
    first, *sys.argv[1:] = sys.argv[1:]
    main(*first.split(","))

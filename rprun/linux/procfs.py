"""What /proc says of processes (proc(5)); but for `descriptors` nothing here raises: who is asked about may have ended.

Some facts about it:

- With hidepid=2 (proc(5)) other users' processes are not there at all. Elsewhere than on Linux nothing is.
- A number may be another process's from one read to the next. Who must know holds a pidfd meanwhile.
- A name in /proc/PID/stat may hold anything, blanks and closing parentheses too, so fields are counted behind the last.
- What a process runs as is what it has in its memory, where it may have written something else; a zombie has none.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os


def processes() -> list[int]:
    """Return the numbers of all processes."""
    return _numbers("/proc")


def threads(process: int) -> list[int]:
    """Return the threads of a process, also those that have ended and not been reaped (proc_pid_task(5))."""
    return _numbers(f"/proc/{process}/task")


def children(process: int) -> list[int]:
    """Return the children of all threads of a process (proc_tid_children(5)).

    None where the kernel has been built without CONFIG_PROC_CHILDREN. Where one ends meanwhile, others may be left out.
    """
    found: list[int] = []
    for thread in threads(process):
        found += map(int, _content(f"/proc/{process}/task/{thread}/children").split())
    return found


def lives(process: int, thread: int) -> bool:
    """Tell whether a thread exists and has not ended: is neither a zombie nor dead (proc_pid_stat(5), field 3)."""
    state = _behind_name(f"/proc/{process}/task/{thread}/stat")[:1]
    return bool(state) and state[0] not in (b"Z", b"X")


def stat(process: int) -> list[bytes]:
    """Return the fields of a process from its state on (proc_pid_stat(5), field 3); [] where they cannot be read."""
    return _behind_name(f"/proc/{process}/stat")


def exit_status(process: int) -> int | None:
    """Return the wait status of a process that has ended and not been reaped (proc_pid_stat(5), field 52).

    None for any other, and where it takes more rights than this process has (PTRACE_MODE_READ, ptrace(2)): the kernel
    writes 0 then, as it does into field 35, which is 1 for every zombie since Linux 5.16.
    """
    fields = stat(process)
    if len(fields) <= 49 or fields[0] != b"Z" or fields[32] != b"1":
        return None
    return int(fields[49])


def is_own() -> bool:
    """Tell whether the numbers in /proc are those by which this process knows others (pid_namespaces(7))."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def descriptors(process: int) -> list[tuple[int, str]]:
    """Return the open descriptors of a process, each with what it leads to (proc_pid_fd(5)).

    Raises:
        ProcessLookupError: the process has ended.
        PermissionError: it takes the right to look into that process (PTRACE_MODE_READ, ptrace(2)).
        OSError: no descriptor is left here.
    """
    directory, found = f"/proc/{process}/fd/", []
    try:
        for name in os.listdir(directory):
            try:
                found.append((int(name), os.readlink(directory + name)))
            except FileNotFoundError:
                continue  # It has been closed meanwhile.
    except FileNotFoundError as error:
        raise ProcessLookupError(str(error)) from error
    return found


def access(process: int, descriptor: int) -> str | None:
    """Return for what a descriptor is open, by the mode of its link: `read`, `write`, `readwrite`; None: not known."""
    try:
        mode = os.lstat(f"/proc/{process}/fd/{descriptor}").st_mode
    except OSError:
        return None
    return {0o400: "read", 0o200: "write", 0o600: "readwrite"}.get(mode & 0o600)


def session(process: int) -> int:
    """Return the session of a process (proc_pid_stat(5), field 6), -1 where it cannot be read."""
    fields = stat(process)
    return int(fields[3]) if len(fields) > 3 else -1


def status(process: int, field: str) -> int:
    """Return a decimal number of /proc/PID/status (proc_pid_status(5)), the first of its line; -1 if there is none.

    Args:
        process: or one of its threads.
        field: the line's name, as `PPid`.
    """
    prefix = field.encode() + b":"
    for line in _content(f"/proc/{process}/status").splitlines():
        if line.startswith(prefix):
            try:
                return int(line[len(prefix) :].split()[0])
            except (ValueError, IndexError):
                return -1
    return -1


def command_line(process: int) -> list[bytes] | None:
    """Return the arguments that a process runs with (proc_pid_cmdline(5)); None where they cannot be read."""
    return _content(f"/proc/{process}/cmdline").split(b"\0")[:-1] or None


def system_call(process: int) -> list[bytes]:
    """Return what a process sleeps in (proc_pid_syscall(5)).

    It takes the right to trace that process (PTRACE_MODE_ATTACH, ptrace(2)).

    Returns:
        The number of the call in decimal, and six registers, the stack's end and the place in hexadecimal. `running`
        alone for a process that does not sleep; [] where it cannot be read.
    """
    return _content(f"/proc/{process}/syscall").split()


def link(process: int, name: str) -> bytes | None:
    """Return where a link of a process leads, as `cwd`, `exe` (proc_pid_exe(5)) or `fd/3`; None if it is not to be had.

    It takes the right to look into that process (PTRACE_MODE_READ, ptrace(2)).
    """
    try:
        return os.readlink(f"/proc/{process}/{name}".encode())
    except OSError:
        return None


def _behind_name(path: str) -> list[bytes]:
    """Return the fields of a `stat` file from the state on, the third one of proc_pid_stat(5)."""
    return _content(path).rpartition(b")")[2].split()


def _numbers(directory: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(directory) if name.isdigit()]
    except OSError:
        return []


def _content(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as stream:
            return stream.readall()
    except OSError:
        return b""

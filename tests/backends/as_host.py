"""rprun's command line as on another host: what the probes meet there is put where they meet it.

    python as_host.py HOST ARGUMENT...      as `rprun ARGUMENT...`

On another Linux a kernel that refuses is put behind the door to the kernel, `rprun.linux`, and the probes are run; of
one that allows, what the probe finds is put in its place, as it may not be allowed here. On another system
`sys.platform` has its name, and processes are looked at through psutil, as there.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import sysconfig
from typing import NoReturn

# What asks for the platform when it is imported gets the true one.
for _name in ("psutil", "rich.console", "rich.table", "socket", "subprocess", "typer"):
    importlib.import_module(_name)
sysconfig.get_config_vars()

ROOT = {"ebpf": None, "connector": None, "seccomp": {}}
USER = {"ebpf": errno.EPERM, "connector": None, "seccomp": {"no_new_privs": True}}

LINUX: dict[str, dict[str, object]] = {
    "linux-root": ROOT,
    "linux-user": USER,
    # Neither in the initial namespaces, nor with PIDFD_GET_INFO (Linux 6.15).
    "linux-container": USER
    | {"connector": errno.ECONNREFUSED, "seccomp": {"no_new_privs": True, "exit_status": False}},
    # Somebody else has the one listener: an outer rprun, a sandbox.
    "linux-watched": USER | {"seccomp": errno.EBUSY},
    "linux-5.4": {"ebpf": errno.EPERM, "connector": errno.EPERM, "seccomp": errno.EINVAL},
    "linux-locked-down": {"ebpf": errno.ENOSYS, "connector": errno.EPROTONOSUPPORT, "seccomp": errno.EPERM},
    "linux-without-proc": {"ebpf": errno.EPERM, "connector": errno.EPERM, "seccomp": errno.EPERM, "proc": errno.ENOENT},
}
OTHERS = {"macos": "darwin", "windows": "win32", "freebsd": "freebsd14", "openbsd": "openbsd7"}


def refusing(number: object) -> object:
    """Return a function that fails as a system call with this errno does."""
    assert isinstance(number, int)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


def become_linux(host: dict[str, object]) -> None:
    """Make this one answer as another Linux does."""
    from rprun.backends.connector import probing as connector
    from rprun.backends.ebpf import probing as ebpf
    from rprun.backends.psutil_poll.host_linux import LinuxHost
    from rprun.backends.seccomp import probing as filters
    from rprun.linux import bpf, seccomp

    if host["ebpf"] is None:
        ebpf._answers.append(None)
    else:
        bpf.create_map = refusing(host["ebpf"])  # type: ignore[assignment]
    if host["connector"] is None:
        connector._found.append("")
    else:
        connector.Connector = refusing(host["connector"])  # type: ignore[assignment,misc]
    if isinstance(host["seccomp"], dict):
        answer = filters.Answer()
        for name in ("works", "reads_memory", "wait_killable", "sync_wake_up", "exit_status"):
            setattr(answer, name, host["seccomp"].get(name, True))
        answer.no_new_privs = host["seccomp"].get("no_new_privs", False)
        filters._found.append(answer)
    else:
        seccomp.install = refusing(host["seccomp"])  # type: ignore[assignment]
    if "proc" in host:
        LinuxHost.numbers = refusing(host["proc"])  # type: ignore[assignment]


def main() -> int:
    """Run the command line as there."""
    host, *arguments = sys.argv[1:]
    sys.argv = ["rprun", *arguments]
    if host in LINUX:
        become_linux(LINUX[host])
    else:
        sys.platform = OTHERS[host]
    from rprun.__main__ import main as rprun

    return rprun()


if __name__ == "__main__":
    sys.exit(main())

"""An observed command finds what an unobserved one finds, and shows its caller the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from observing import is_privileged, options, supervisor_of
from running import TRANSPORTS, clean_environment, run, start, transport_id, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)

LOOK = """
import json, os, resource, signal, sys
def link(name):
    try:
        return os.readlink(name)
    except OSError:
        return None
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
descriptors = {number: link(f"/proc/self/fd/{number}") for number in range(3, 1024)}
found = {
    "status": {name: status.get(name) for name in (
        "SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff",
        "CapBnd", "CapAmb", "NoNewPrivs", "Threads", "Umask", "Cpus_allowed",
    )},
    "descriptors": {number: target for number, target in descriptors.items() if target},
    "environment": sorted(open("/proc/self/environ").read().split("\\0")),
    "argv": open("/proc/self/cmdline").read(),
    "cwd": os.getcwd(),
    "limits": [resource.getrlimit(number) for number in range(16)],
    "priority": os.getpriority(os.PRIO_PROCESS, 0),
    "parent is group": os.getppid() == os.getpgrp(),
    "parent is session": os.getppid() == os.getsid(0),
    "own group": os.getpid() == os.getpgrp(),
    "oom": open("/proc/self/oom_score_adj").read(),
    "parent": open(f"/proc/{os.getppid()}/comm").read(),
    "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
}
json.dump(found, open(sys.argv[1], "w"))
"""


def _prepare() -> None:
    """Give rprun signals and settings that are out of the ordinary, to be passed on."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGRTMIN + 3})
    os.umask(0o27)
    os.nice(1)


@every_transport
@pytest.mark.parametrize("prepare", [None, _prepare], ids=["plain", "odd"])
def test_what_the_command_finds(prepare: Callable[[], None] | None, transport: tuple[str, ...], tmp_path: Path) -> None:
    """Signals, ids, limits, descriptors, environment and relations are those of an unobserved command."""
    file = os.open(tmp_path / "given", os.O_RDWR | os.O_CREAT)
    found: list[dict[str, Any]] = []
    try:
        for observed in ((), options(tmp_path / "events")):
            words = (
                *transport,
                "--",
                sys.executable,
                "-I",
                "-S",
                "-c",
                LOOK,
                str(tmp_path / "found"),
                "",
                "a\nb",
                "--",
            )
            result = run(*observed, *words, pass_fds=(file,), preexec_fn=prepare, env=clean_environment(EMPTY=""))
            assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
            found.append(json.loads((tmp_path / "found").read_text()))
    finally:
        os.close(file)
    if not is_privileged():
        # Needed for their filters.
        assert found[1]["status"].pop("NoNewPrivs").strip() == "1"
        found[0]["status"].pop("NoNewPrivs")
    assert found[0] == found[1]


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "012"])
def test_closed_streams_stay_closed(closed: str, tmp_path: Path) -> None:
    """The supervisor's descriptors are not in the place of streams that rprun was started without."""
    found = []
    for observed in ((), options(tmp_path / "events")):
        result = run(
            *observed,
            "--",
            "sh",
            "-c",
            'exec readlink -v "/proc/$$/fd/0" "/proc/$$/fd/1" "/proc/$$/fd/2" >"$0" 2>&1',
            str(tmp_path / "found"),
            preexec_fn=lambda: [os.close(int(number)) for number in closed],
        )
        lines = (tmp_path / "found").read_text().splitlines()
        found.append((result.returncode, ["pipe" if "pipe:" in line else line.split("/")[-1] for line in lines]))
    assert found[0] == found[1]


@every_transport
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGSEGV, signal.SIGPIPE])
def test_an_end_by_signal(number: int, transport: tuple[str, ...], tmp_path: Path) -> None:
    """The command's signal is rprun's."""
    result = run(*options(tmp_path / "events"), *transport, "--", "sh", "-c", f"ulimit -c 0; kill -{number} $$")
    assert result.returncode == -number


@pytest.mark.parametrize("status", [0, 1, 125, 126, 127, 255])
def test_exit_statuses(status: int, tmp_path: Path) -> None:
    """The command's status is rprun's."""
    assert run(*options(tmp_path / "events"), "--", "sh", "-c", f"exit {status}").returncode == status


@every_transport
def test_bytes(transport: tuple[str, ...], tmp_path: Path) -> None:
    """Megabytes of every byte come through while files are opened in between."""
    program = (
        "import os\nblock = bytes(range(14, 256)) * 256\n"
        "for i in range(64): os.close(os.open('/dev/null', 0)); os.write(1, block[i:])"
    )
    words = (*transport, "--", sys.executable, "-I", "-S", "-c", program)
    assert run(*options(tmp_path / "events"), *words).stdout == run(*words).stdout


@pytest.mark.parametrize(
    ("command", "status"),
    [("/no/such/command", 127), ("no-such-command-anywhere", 127), ("/dev/null", 126), ("/", 126)],
)
def test_commands_that_cannot_start(command: str, status: int, tmp_path: Path) -> None:
    """The same status and sentence; no supervisor is left waiting for a listener."""
    observed, bare = run(*options(tmp_path / "events"), "--", command), run("--", command)
    assert (observed.returncode, observed.stderr) == (bare.returncode, bare.stderr)
    assert observed.returncode == status


def test_a_script_without_an_interpreter_line(tmp_path: Path) -> None:
    """execvp's way: sh runs it."""
    script = tmp_path / "script"
    script.write_text("exit 17")
    script.chmod(0o755)
    assert run(*options(tmp_path / "events"), "--", str(script)).returncode == 17


def test_signals_to_rprun_reach_the_command(tmp_path: Path) -> None:
    """SIGTERM is passed on once, and the supervisor does not die of it."""
    program = "trap 'echo caught; exit 5' TERM; echo ready; while :; do read line </dev/null; sleep 0.01; done"
    with start(*options(tmp_path / "events"), "--", "sh", "-c", program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10)[0] == b"caught\n"
    assert process.returncode == 5


@pytest.mark.skipif(not is_privileged(), reason="CAP_SYS_ADMIN is missing: this is about who is privileged")
def test_root_keeps_set_user_id(tmp_path: Path) -> None:
    """For root no_new_privs stays 0, so that sudo and its like go on working inside."""
    words = ("grep", "NoNewPrivs", "/proc/self/status")
    bare = subprocess.run(words, check=False, capture_output=True).stdout
    assert run(*options(tmp_path / "events"), "--", *words).stdout == bare


def test_no_trace_of_the_supervisor(tmp_path: Path) -> None:
    """The supervisor has no terminal, no stream, no directory and no signal of the command's or the caller's."""
    with start(
        *options(tmp_path / "events"), "--", "sh", "-c", "echo ready; read line", stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        supervisor = wait_until(lambda: supervisor_of(process.pid))
        targets = {name: os.readlink(f"/proc/{supervisor}/fd/{name}") for name in os.listdir(f"/proc/{supervisor}/fd")}
        assert {targets[name] for name in "012"} == {"/dev/null"}
        assert not [target for target in targets.values() if target.startswith(("pipe:", str(tmp_path)))]
        assert os.readlink(f"/proc/{supervisor}/cwd") == "/"
        process.communicate(b"\n", timeout=10)
    assert process.returncode == 0

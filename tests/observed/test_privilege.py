"""Root or not, in namespaces or not: the same events."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from observing import is_privileged, of_kind, options, read_events
from running import clean_environment, rprun_argv

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = ("sh", "-c", "cat /dev/null; (exec 3</dev/null; exit 3); exit 7")
# Whether a file exists cannot always be known there, and so each step of a search along PATH would be an attempt.
PATH = "/usr/bin:/bin"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to give privilege up")


def check(tmp_path: Path, *before: str, env: dict[str, str] | None = None) -> None:
    """Run the script under observation behind some words; its status and its events are as ever."""
    tmp_path.chmod(0o777)
    result = subprocess.run(
        [*before, *rprun_argv(), *options(tmp_path / "events"), "--", *SCRIPT],
        check=False,
        capture_output=True,
        env=env or clean_environment(),
        timeout=60,
    )
    assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 7)
    events = read_events(tmp_path / "events")
    assert "/dev/null" in [event["path"] for event in of_kind(events, "file-open")]
    assert [event["argv"][0] for event in of_kind(events, "exec")] == ["sh", "cat"]
    assert len(of_kind(events, "descendant-started")) == 2
    assert sorted(str(event["exit_code"]) for event in of_kind(events, "descendant-exited")) in (
        ["0", "3"],
        ["None"] * 2,
    )


def works(*command: str) -> bool:
    """Tell whether a program is there and may do what it is for."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0


def test_without_capabilities(tmp_path: Path) -> None:
    """No capability at all, which is what most users have."""
    words = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ("env",)
    if not works(*words):
        pytest.skip("setpriv(1) is missing or forbidden")
    check(tmp_path, *words)


def test_a_program_that_gets_no_privilege_is_named(tmp_path: Path) -> None:
    """Once each, on standard error, at the end; and not where it gets what it is to get."""
    program = tmp_path / "id"
    shutil.copy(shutil.which("id") or "", program)
    program.chmod(0o4755)
    words = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ("env",)
    if not works(*words):
        pytest.skip("setpriv(1) is missing or forbidden")
    command = [*rprun_argv(), *options(tmp_path / "events"), "--", "sh", "-c", f"{program} >&2; {program} >&2"]
    result = subprocess.run([*words, *command], check=False, capture_output=True, env=clean_environment(), timeout=60)
    *_, last = result.stderr.splitlines()
    assert result.stderr.count(b"rprun: ") == 1
    assert last.startswith(f"rprun: warning: {program} got no privilege".encode())
    if is_privileged():
        assert b"warning" not in subprocess.run(command, check=True, capture_output=True, timeout=60).stderr


@needs_root
def test_as_another_user(tmp_path: Path) -> None:
    """A user without a home: the interpreter must be where all may read it."""
    words = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if not works(*words):
        pytest.skip("setpriv(1) is missing, or root is without its capabilities")
    import jsonschema

    import rprun

    del jsonschema
    # /root is closed to others, and that is where interpreters of version managers live.
    python = next((path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if _can_run(words, path)), None)
    if python is None:
        pytest.skip("an interpreter of Python 3.11 or later that every user can run is missing")
    copy = tmp_path.parent / f"{tmp_path.name}-copy"
    shutil.copytree(os.path.dirname(rprun.__file__), copy / "rprun")
    subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
    opened = [directory for directory in (tmp_path, *tmp_path.parents) if not directory.stat().st_mode & 1]
    for directory in opened:
        directory.chmod(directory.stat().st_mode | 0o111)
    tmp_path.chmod(0o777)
    result = subprocess.run(
        [*words, python, "-m", "rprun", *options(tmp_path / "events"), "--", *SCRIPT],
        check=False,
        capture_output=True,
        env=clean_environment(PATH=PATH, PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE="1"),
        timeout=60,
    )
    assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 7)
    events = read_events(tmp_path / "events")
    assert [event["argv"][0] for event in of_kind(events, "exec")] == ["sh", "cat"]


def _can_run(words: tuple[str, ...], python: str) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return os.path.exists(python) and subprocess.run([*words, python, "-c", check], check=False).returncode == 0


def test_in_namespaces(tmp_path: Path) -> None:
    """Root of a user namespace of one's own, process 2 of a pid namespace: a rootless container."""
    words = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
    if not works(*words):
        pytest.skip("unprivileged user namespaces are forbidden here")
    check(tmp_path, *words)


def test_in_a_pid_namespace_without_its_proc(tmp_path: Path) -> None:
    """/proc shows another pid namespace: what comes from there is not to be trusted, and the command runs."""
    words = ("unshare", "--user", "--map-root-user", "--pid", "--fork")
    if not works(*words):
        pytest.skip("unprivileged user namespaces are forbidden here")
    tmp_path.chmod(0o777)
    result = subprocess.run(
        [*words, *rprun_argv(), *options(tmp_path / "events"), "--", *SCRIPT],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 7)
    assert "/dev/null" in [event["path"] for event in of_kind(read_events(tmp_path / "events"), "file-open")]


def test_in_bubblewrap(tmp_path: Path) -> None:
    """bwrap(1) as a sandbox around rprun."""
    words = ("bwrap", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "--share-net")
    if not works(*words):
        pytest.skip("bubblewrap is missing, or root is needed for it here")
    check(tmp_path, *words)


def test_a_sandbox_inside(tmp_path: Path) -> None:
    """bwrap(1) as the observed command: its processes are in namespaces of their own and are seen."""
    words = ("bwrap", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid", "--unshare-ipc")
    if not works(*words):
        pytest.skip("bubblewrap is missing, or root is needed for it here")
    result = subprocess.run(
        [*rprun_argv(), *options(tmp_path / "events"), "--", *words, *SCRIPT],
        check=False,
        capture_output=True,
        env=clean_environment(PATH=PATH),
        timeout=60,
    )
    assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 7)
    events = read_events(tmp_path / "events")
    assert [event["argv"][0] for event in of_kind(events, "exec")] == ["bwrap", "sh", "cat"]

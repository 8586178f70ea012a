"""The examples of the man page do what the sentences before them say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from privilege import Caller, programs_for
from running import clean_environment

from rprun.cli.generate import man_prose

# An example is one line, or a block of them.
EXAMPLES = [
    (line or block).replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\e", "\\")
    for line, block in re.findall(
        r"^\.Dl \$ (.*)$|^\.Bd -literal.*\n\$ ((?:.*\n)*?)\.Ed$",
        man_prose.REST.partition(".Sh EXAMPLES")[2].partition(".Sh ")[0],
        re.MULTILINE,
    )
]

# What is observed depends on the privilege.
OBSERVING = [example for example in EXAMPLES if "--observe" in example]
CALLERS = [(Caller.USER, example) for example in EXAMPLES] + [(Caller.ROOT, example) for example in OBSERVING]


def listing(done: subprocess.CompletedProcess[bytes]) -> None:
    """`ls` has taken the file for a terminal: with colors, and with a terminal's line ends."""
    assert done.returncode == 0
    shown = Path("listing").read_bytes()
    assert b"\x1b[" in shown
    assert shown.endswith(b"\r\n")


def events(done: subprocess.CompletedProcess[bytes]) -> None:
    """Start and end are on descriptor 3, and nothing else is."""
    assert (done.returncode, done.stdout, done.stderr) == (0, b"made\n", b"")
    lines = Path("events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["started", "exited"]


def ended(done: subprocess.CompletedProcess[bytes]) -> None:
    """The status is the test's own, and what it has left behind is gone."""
    assert done.returncode == 3
    left = int(Path("left").read_text(encoding="ascii"))
    with pytest.raises(ProcessLookupError):
        os.kill(left, 0)


def hashed(done: subprocess.CompletedProcess[bytes]) -> None:
    """The sum is that of the data."""
    assert done.returncode == 0
    assert done.stdout.split()[0].decode() == hashlib.sha256(Path("data").read_bytes()).hexdigest()


def files_read(done: subprocess.CompletedProcess[bytes]) -> None:
    """What was read is listed, what was only written or was not there is not."""
    made, *listed = done.stdout.decode().splitlines()
    assert (done.returncode, made, done.stderr) == (0, "made", b"")
    assert str(Path("source").resolve()) in listed
    assert not {str(Path(name).resolve()) for name in ("target", "nosuch")} & set(listed)


def no_network(done: subprocess.CompletedProcess[bytes]) -> None:
    """A job that opens no network passes."""
    assert (done.returncode, done.stdout, done.stderr) == (0, b"made\ntrue\n", b"")


def run_by_name(done: subprocess.CompletedProcess[bytes]) -> None:
    """The command on PATH was run, and not the subcommand."""
    assert (done.returncode, done.stdout) == (0, b"not the subcommand\n")


CHECKS = dict(zip(EXAMPLES, (listing, events, ended, hashed, files_read, no_network, run_by_name), strict=True))
PROGRAMS = {
    "bin/make": "cat source nosuch >target 2>/dev/null\necho made",
    "bin/capabilities": "echo not the subcommand",
    "test": "sh -c 'echo $$ >left; exec sleep 1000' >/dev/null 2>&1 & until [ -s left ]; do :; done; exit 3",
}


def run(caller: Caller, example: str, where: Path, programs: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run an example beside these programs, in the current directory, which is `where`."""
    if re.search(r"\bjq\b", example) and not shutil.which("jq"):
        pytest.skip("jq, which the example pipes events to")
    path = programs_for(caller, where / "bin", example)
    Path("source").touch()
    for name, script in programs.items():
        Path(name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        Path(name).chmod(0o755)
    return subprocess.run(
        ["bash", "-c", example],
        env=clean_environment(PATH=path, TERM="xterm"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(("caller", "example"), CALLERS, ids=lambda value: re.sub(r"\W+", "-", str(value))[:40])
def test_example(caller: Caller, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example of the man page is run as it stands there, and is right for anybody."""
    monkeypatch.chdir(tmp_path)
    CHECKS[example](run(caller, example, tmp_path, PROGRAMS))


@pytest.mark.parametrize("caller", Caller, ids=str)
def test_example_about_the_network_fails_a_job(caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that tries to reach a peer, though nobody answers, fails by the example that is for that."""
    monkeypatch.chdir(tmp_path)
    (example,) = (example for example, check in CHECKS.items() if check is no_network)
    connects = {"bin/make": "bash -c ': </dev/tcp/127.0.0.1/9' 2>/dev/null\necho made"}
    done = run(caller, example, tmp_path, PROGRAMS | connects)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"made\nfalse\n", b"")

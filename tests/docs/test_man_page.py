"""The examples of the man page do what the sentences before them say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from running import clean_environment, rprun_argv

from rprun.cli.generate import man_prose

EXAMPLES = [
    line.replace("\\-", "-").removeprefix(".Dl $ ")
    for line in man_prose.REST.partition(".Sh EXAMPLES")[2].splitlines()
    if line.startswith(".Dl $ ")
]


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


def refused(done: subprocess.CompletedProcess[bytes]) -> None:
    """One line says why, and the command has not run."""
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (125, b"", 1)


def run_by_name(done: subprocess.CompletedProcess[bytes]) -> None:
    """The command on PATH was run, and not the subcommand."""
    assert (done.returncode, done.stdout) == (0, b"not the subcommand\n")


CHECKS = dict(zip(EXAMPLES, (listing, events, ended, hashed, refused, run_by_name), strict=True))
PROGRAMS = {
    "bin/rprun": f'exec {" ".join(rprun_argv())} "$@"',
    "bin/make": "echo made",
    "bin/capabilities": "echo not the subcommand",
    "test": "sh -c 'echo $$ >left; exec sleep 1000' >/dev/null 2>&1 & until [ -s left ]; do :; done; exit 3",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda line: re.sub(r"\W+", "-", line)[:40])
def test_example(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example of the man page is run as it stands there."""
    monkeypatch.chdir(tmp_path)
    Path("bin").mkdir()
    for name, script in PROGRAMS.items():
        Path(name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        Path(name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", example],
        env=clean_environment(PATH=f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}", TERM="xterm"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    CHECKS[example](done)

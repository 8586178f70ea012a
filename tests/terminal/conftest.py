"""Terminals for tests: made here, and closed here with the check that nothing was left running."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from outer_terminal import Bash, OuterTerminal
from running import rprun_argv
from tmux_window import TmuxWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def bin_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with nothing but `rprun`, the one that is being tested, and `python3`, the one that runs it."""
    directory = tmp_path_factory.mktemp("bin")
    program = directory / "rprun"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(rprun_argv())} "$@"\n')
    program.chmod(0o755)
    (directory / "python3").symlink_to(sys.executable)
    return directory


@pytest.fixture
def env(bin_directory: Path, tmp_path: Path) -> dict[str, str]:
    """A small environment, with `rprun` in the PATH, and a home without anybody's settings."""
    inputrc = tmp_path / "inputrc"
    inputrc.write_text("set enable-bracketed-paste off\nset bell-style none\n")
    return {
        "PATH": f"{bin_directory}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(tmp_path),
        "INPUTRC": str(inputrc),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LESSHISTFILE": "-",
    }


@pytest.fixture
def terminal(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., OuterTerminal]]:
    """`terminal(*argv, env={more variables}, **settings)`: an `OuterTerminal` with a program."""
    opened: list[OuterTerminal] = []

    def start(*argv: str, **settings: Any) -> OuterTerminal:
        variables = {**env, **settings.pop("env", {})}
        opened.append(OuterTerminal(argv, env=variables, cwd=tmp_path, **settings))
        return opened[-1]

    yield start
    _close_all(opened)


@pytest.fixture
def bash(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Bash]]:
    """`bash(size=..., **variables)`: an interactive bash at a prompt; what a test types most is put into variables."""
    opened: list[Bash] = []

    def start(size: tuple[int, int] = (120, 30), **variables: str) -> Bash:
        opened.append(Bash(env={**env, **variables}, cwd=tmp_path, size=size))
        return opened[-1]

    yield start
    _close_all(opened)


@pytest.fixture
def tmux(env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., TmuxWindow]]:
    """`tmux(**variables)`: a bash in a tmux window."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    opened: list[TmuxWindow] = []

    def start(**variables: str) -> TmuxWindow:
        opened.append(TmuxWindow({**env, **variables}, cwd=tmp_path))
        return opened[-1]

    yield start
    _close_all(opened)


def _close_all(opened: list[Any]) -> None:
    failures = []
    for one in opened:
        try:
            one.close()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, failures

"""Whether man and the shells find what belongs to rprun: asked of themselves, as a user's session would.

Each line that is completed is `rprun --obs`: that becomes `--observe` by rprun's own completion only.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shells import STAND_IN, Shell, needs

if TYPE_CHECKING:
    from installers import Installed

SYSTEM_BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"


def bash_completion(age: str) -> Path:
    """The file of bash-completion: the `system`'s, or a `newer` one, which RPRUN_BASH_COMPLETION names.

    Skips where it is not there.
    """
    found = Path(SYSTEM_BASH_COMPLETION if age == "system" else os.environ.get("RPRUN_BASH_COMPLETION", ""))
    if not found.is_file():
        pytest.skip(f"there is no {age} bash-completion, so what it would find is unknown")
    return found


def looks_beside_programs(bash_completion: Path) -> bool:
    """Whether it is 2.12 or later, which looks for a completion beside the program, too."""
    script = '. "$1"; echo "${BASH_COMPLETION_VERSINFO[*]}"'
    done = subprocess.run(
        [needs("bash"), "-c", script, "bash", str(bash_completion)], capture_output=True, check=True, timeout=60
    )
    major, minor, *_ = map(int, done.stdout.split())
    return (major, minor) >= (2, 12)


def man(installed: Installed) -> Path | None:
    """The file that `man rprun` shows."""
    done = installed.run(needs("man"), "-w", "rprun")
    return Path(os.fsdecode(done.stdout).strip()) if done.returncode == 0 else None


def bash(installed: Installed, bash_completion: Path, before: str = "") -> bool:
    """Whether an interactive bash completes it, after it has read `before`."""
    script = f"{before}\nbind 'set enable-bracketed-paste off'\n. '{bash_completion}'\n{STAND_IN}"
    return _completes(installed, [needs("bash"), "--norc", "--noprofile", "-i"], script)


def zsh(installed: Installed, before: str = "") -> bool:
    """Whether an interactive zsh completes it, after it has read `before`."""
    settings = "unsetopt zle_bracketed_paste prompt_cr prompt_sp 2>/dev/null; unset zle_bracketed_paste"
    script = f"{settings}\n{before}\nautoload -Uz compinit && compinit -u -D\n{STAND_IN}"
    return _completes(installed, [needs("zsh"), "-f", "-i"], script)


def fish(installed: Installed, **variables: str) -> bool:
    """Whether fish completes it."""
    done = installed.run(needs("fish"), "-c", "complete --do-complete='rprun --obs'", **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.startswith(b"--observe\t")


def _completes(installed: Installed, shell: list[str], script: str) -> bool:
    path = installed.home / "setup"
    path.write_text(script, encoding="utf-8")
    try:
        with Shell(shell, installed.home, installed.environment) as session:
            session.setup(path)
            (word,) = session.completed("rprun --obs")
    finally:
        path.unlink()
    assert word in ("--obs", "--observe")
    return word == "--observe"

"""Completion works in the shells themselves, and after the command it is the command's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from running import clean_environment
from shells import CHECKOUT, STAND_IN, Shell, needs

from rprun.cli import table

BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"

# A line, and what it is after one tabulator; `fake` completes its arguments to `checkout` and `commit`.
LINES = [
    ("rprun --obs", ["--observe"]),
    ("rprun --pty --kill-a", ["--pty", "--kill-after"]),
    ("rprun --observe net", ["--observe", "network"]),
    ("rprun --observe=net", ["--observe=network"]),
    ("rprun --observe file,net", ["--observe", "file,network"]),
    ("rprun --require=file,net", ["--require=file,network"]),
    ("rprun --backend file=se", ["--backend", "file=seccomp-user-notify"]),
    ("rprun --backend=file=se", ["--backend=file=seccomp-user-notify"]),
    ("rprun --backend lifec", ["--backend", "lifecycle=portable-lifecycle"]),
    ("rprun --backend file=ebpf,process=pr", ["--backend", "file=ebpf,process=proc-connector"]),
    ("rprun --backend=file=ebpf,process=pr", ["--backend=file=ebpf,process=proc-connector"]),
    ("rprun --backend file=ebpf fake check", ["--backend", "file=ebpf", "fake", "checkout"]),
    ("rprun --orphans rep", ["--orphans", "report"]),
    ("rprun --orphans=rep", ["--orphans=report"]),
    ("rprun --signal TE", ["--signal", "TERM"]),
    ("rprun --env UNIQUE_NA", ["--env", "UNIQUE_NAME="]),
    ("rprun --env-unset UNIQUE_NA", ["--env-unset", "UNIQUE_NAME"]),
    ("rprun --cwd only_a_dir", ["--cwd", "only_a_directory/"]),
    ("rprun --events only_a_fi", ["--events", "only_a_file"]),
    ("rprun capabil", ["capabilities"]),
    ("rprun capabilities --js", ["capabilities", "--json"]),
    ("rprun unique_comm", ["unique_command"]),
    ("rprun -- unique_comm", ["--", "unique_command"]),
    ("rprun --pty unique_comm", ["--pty", "unique_command"]),
    ("rprun fake check", ["fake", "checkout"]),
    ("rprun -- fake check", ["--", "fake", "checkout"]),
    ("rprun --pty --size 80x24 fake check", ["--pty", "--size", "80x24", "fake", "checkout"]),
    ("rprun --env A=b=c --events fd:3 -- fake check", ["--env", "A=b=c", "--events", "fd:3", "--", "fake", "checkout"]),
    ("rprun --timeout=5 fake --pty check", ["--timeout=5", "fake", "--pty", "checkout"]),
    ("rprun -- capabilities --js", ["--", "capabilities", "--js"]),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a file, a directory and a command, all of names that occur once."""
    directory = tmp_path_factory.mktemp("completion")
    (directory / "only_a_file").touch()
    (directory / "only_a_directory").mkdir()
    (directory / "bin").mkdir()
    for name in ("unique_command", "fake"):
        (directory / "bin" / name).write_text("#!/bin/sh\n")
        (directory / "bin" / name).chmod(0o755)
    return directory


def prepared(place: Path, name: str, script: str) -> Path:
    """A start-up script for a shell, in the given place."""
    path = place / name
    path.write_text(f"cd '{place}'\nexport PATH='{place}/bin':$PATH UNIQUE_NAME=1\n{script}")
    return path


FAKE_BASH = (
    '_fake() { COMPREPLY=($(compgen -W "checkout commit" -- "${COMP_WORDS[COMP_CWORD]}")); }\ncomplete -F _fake fake\n'
)


@pytest.mark.parametrize("package", [True, False], ids=["with bash-completion", "without"])
def test_bash(place: Path, package: bool) -> None:
    """bash completes rprun's options and values, and hands over to the command's own completion.

    It does so without the package bash-completion too, for commands whose completion is loaded.
    """
    script = "bind 'set enable-bracketed-paste off'\n"
    if package:
        if not Path(BASH_COMPLETION).exists():
            pytest.skip("the package bash-completion is not installed, so handing over to it cannot be tried")
        script += f". {BASH_COMPLETION}\n"
    script += f". '{CHECKOUT}/completions/rprun.bash'\n{FAKE_BASH}{STAND_IN}"
    with Shell([needs("bash"), "--norc", "--noprofile", "-i"], place) as shell:
        shell.setup(prepared(place, f"bash-{package}", script))
        assert {line: shell.completed(line) for line, _ in LINES} == dict(LINES)


ZSH = """
unsetopt zle_bracketed_paste prompt_cr prompt_sp 2>/dev/null; unset zle_bracketed_paste
fpath=('{completions}' $fpath)
autoload -Uz compinit && compinit -u -D
_fake() {{ compadd checkout commit }}
compdef _fake fake
"""


def test_zsh(place: Path) -> None:
    """zsh completes rprun's options and values, and hands over to the command's own completion."""
    with Shell([needs("zsh"), "-f", "-i"], place) as shell:
        shell.setup(prepared(place, "zsh-setup", ZSH.format(completions=CHECKOUT / "completions") + STAND_IN))
        found = {line: shell.completed(line) for line, _ in LINES}
    # A / or = that zsh has appended by itself goes away again at the return key.
    assert found == {line: [*words[:-1], words[-1].rstrip("/=")] for line, words in LINES}


def fish(place: Path, line: str) -> list[str]:
    """What fish offers for a line."""
    setup = f"source '{CHECKOUT}/completions/rprun.fish'; complete -c fake -f -a 'checkout commit'"
    done = subprocess.run(
        [needs("fish"), "--no-config", "-c", f"{setup}; complete --do-complete=$argv[1]", line],
        capture_output=True, text=True, cwd=place, check=False, timeout=60,
        env=clean_environment(HOME=str(place), UNIQUE_NAME="1", PATH=f"{place}/bin:/usr/bin:/bin"),
    )  # fmt: skip
    assert done.stderr == ""
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]


def test_fish(place: Path) -> None:
    """fish completes rprun's options and values, and hands over to the command's own completion."""
    # fish offers words for the last place; nothing where the line stays as it is.
    expected = {line: [] if words == line.split()[1:] else words[-1:] for line, words in LINES}
    assert {line: fish(place, line) for line, _ in LINES} == expected


def test_fish_offers_every_option(place: Path) -> None:
    """All long options are offered behind a value, and none once the command has begun."""
    names = {name for option in table.read().options for name in option.names if name.startswith("--")}
    assert set(fish(place, "rprun --timeout 5 --")) == names
    assert not names & set(fish(place, "rprun fake --"))
    assert not names & set(fish(place, "rprun -- --"))

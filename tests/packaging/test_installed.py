"""However rprun is installed, it runs, and man and the shells find what the README says that they find."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import lookups
import pytest
from installers import INSTALLERS, Installed, do, login, pip, program
from shells import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")

SHARED = (
    "man/man1/rprun.1",
    "bash-completion/completions/rprun",
    "zsh/site-functions/_rprun",
    "fish/vendor_completions.d/rprun.fish",
    "powershell/completions/rprun.ps1",
)
SOURCES = (
    "man/rprun.1",
    "completions/rprun.bash",
    "completions/_rprun",
    "completions/rprun.fish",
    "completions/rprun.ps1",
)


def lines_under(heading: str) -> list[str]:
    """The lines of shell that the README shows under a heading."""
    section = README.partition(f" {heading}\n")[2].partition("\n#")[0]
    blocks = re.findall(r"^```(?:sh|zsh)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


# Where man, bash or fish do not find all by themselves.
LINKED = ("uv-tool", "uv-venv", "pip-userbase")
LINK, UNLINK, FPATH, VENV = lines_under("Man page and completions")


def test_it_runs(installed: Installed) -> None:
    """The executable is the one on the PATH; it runs a command, shows its help, and says what can be observed."""
    assert shutil.which("rprun", path=installed.environment["PATH"]) == str(installed.executable)
    for words in (["--", "true"], ["--pty", "--", "test", "-t", "1"]):
        done = installed.run(installed.executable, *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert installed.run(installed.executable, "--", "sh", "-c", "exit 3").returncode == 3
    assert b"--observe" in installed.run(installed.executable, "--help").stdout
    assert b"portable-lifecycle" in installed.run(installed.executable, "capabilities").stdout


def test_all_files_are_there(installed: Installed) -> None:
    """Below the installation's share/ are the files that the man page names, byte for byte those of the checkout."""
    named = re.findall(r"^\.It Pa share/(.*)$", (CHECKOUT / SOURCES[0]).read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) == set(SHARED)
    for name, source in zip(SHARED, SOURCES, strict=True):
        assert (installed.share / name).read_bytes() == (CHECKOUT / source).read_bytes()


@pytest.mark.parametrize("installed", ["pip-venv", "uv-venv"], indirect=True)
def test_what_is_installed_fits_together(installed: Installed) -> None:
    """Everything that rprun and its dependencies need is there, in versions that they can do with."""
    python = installed.executable.with_name("python")
    do([*pip(), "--python", str(python), "check"], installed.environment)


def test_man_finds_the_page(installed: Installed) -> None:
    """man shows the page of this installation where it is said to, and knows of none elsewhere."""
    found = lookups.man(installed)
    assert (found is not None) == ("man" in installed.seen_by)
    if found is not None:
        assert found.samefile(installed.share / SHARED[0])
        done = installed.run("man", "rprun", MANPAGER="cat")
        assert done.returncode == 0
        assert b"run a command untouched" in done.stdout


@pytest.mark.parametrize("age", ["system", "newer"])
def test_bash_finds_its_completion(installed: Installed, age: str) -> None:
    """bash completes without more where it is said to; from bash-completion 2.12 on everywhere."""
    bash_completion = lookups.bash_completion(age)
    beside = lookups.looks_beside_programs(bash_completion)
    assert lookups.bash(installed, bash_completion) == (beside or "bash" in installed.seen_by)


def test_fish_finds_its_completion(installed: Installed) -> None:
    """fish completes without more where it is said to."""
    assert lookups.fish(installed) == ("fish" in installed.seen_by)


def test_zsh_takes_one_line(installed: Installed) -> None:
    """zsh finds nothing by itself; with the README's line it does where man page and completions are in the home."""
    assert not lookups.zsh(installed)
    assert lookups.zsh(installed, FPATH) == ("fish" in installed.seen_by)


@pytest.mark.parametrize("installed", ["pip-venv", "uv-venv"], indirect=True)
def test_a_venv_can_be_looked_into(installed: Installed) -> None:
    """With a venv's share/ in XDG_DATA_DIRS, as the README has it, bash and fish complete, and nothing is linked."""
    shown = do(["sh", "-c", f'{VENV}; printf %s "$XDG_DATA_DIRS"'], installed.environment).decode()
    there = replace(installed, environment=installed.environment | {"XDG_DATA_DIRS": shown})
    assert lookups.fish(there)
    assert lookups.bash(there, lookups.bash_completion("system"))


@pytest.mark.parametrize("which", LINKED)
def test_one_line_for_the_rest(installing: Callable[[str], Installed], which: str) -> None:
    """After the README's line all of them find it; when rprun is uninstalled another one tidies up."""
    installed = installing(which)
    do(["sh", "-c", LINK], installed.environment)
    found = lookups.man(installed)
    assert found is not None
    assert found.samefile(installed.share / SHARED[0])
    assert lookups.bash(installed, lookups.bash_completion("system"))
    assert lookups.fish(installed)
    assert lookups.zsh(installed, FPATH)
    assert installed.run(installed.executable, "--help").returncode == 0
    # There is no PowerShell here to read it.
    assert (installed.home / ".local/share" / SHARED[4]).samefile(installed.share / SHARED[4])
    installed.remove()
    left = named_after_it(installed.home)
    assert left
    assert not any(path.exists() for path in left)
    do(["sh", "-c", UNLINK], installed.environment)
    assert named_after_it(installed.home) == set()


@pytest.mark.parametrize("which", sorted(set(INSTALLERS) - set(LINKED)))
def test_uninstalling_leaves_nothing(installing: Callable[[str], Installed], which: str) -> None:
    """After rprun has been used and is uninstalled, nothing with its name is left; of the others, see above."""
    installed = installing(which)
    assert installed.run(installed.executable, "--help").returncode == 0
    assert installed.executable in named_after_it(installed.home)
    installed.remove()
    assert named_after_it(installed.home) == set()


@pytest.mark.parametrize("line", lines_under("Install"))
def test_the_readme_installs_from_a_clone(tmp_path: Path, wheelhouse: Path, line: str) -> None:
    """Each line that the README shows installs the project from where its files are, and `rprun` is on the PATH."""
    environment = login(tmp_path / "home", wheelhouse)
    installer, *words = line.partition("#")[0].split()
    do([program(installer), *words], environment, cwd=CHECKOUT)
    done = subprocess.run(["rprun", "--", "true"], env=environment, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def named_after_it(home: Path) -> set[Path]:
    """What there is of rprun's name in a home directory, but for caches and the lock that pipx keeps for the name."""
    return {
        path
        for path in home.rglob("*rprun*")
        if ".cache" not in path.relative_to(home).parts and path.name != ".rprun.lock"
    }

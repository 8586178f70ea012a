"""Every generated file is current, valid for its reader, and knows every option."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from shells import CHECKOUT, needs

from rprun.cli import table
from rprun.cli.generate import __main__ as generate

COMPLETIONS = [name for name in generate.FILES if name.startswith("completions/")]
# `-n`: read the script and run nothing.
CHECKERS = {"completions/rprun.bash": "bash", "completions/_rprun": "zsh", "completions/rprun.fish": "fish"}


def test_generated_files_are_current() -> None:
    """The committed files are what the Typer app gives; if this fails, run `python -m rprun.cli.generate --write`."""
    assert generate.stale(CHECKOUT) == []


def test_check_names_the_command_that_mends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale or missing file is named, with the command; writing mends it; then the check is silent."""
    monkeypatch.setattr(generate, "stale", lambda _: ["man/rprun.1"])
    monkeypatch.setattr(generate, "checkout", lambda: tmp_path)
    assert generate.main(["--check"]) == 1
    shown = capsys.readouterr().err
    assert "man/rprun.1 is stale" in shown
    assert "python -m rprun.cli.generate --write" in shown
    monkeypatch.undo()
    assert generate.write(tmp_path) == list(generate.FILES)
    assert generate.stale(tmp_path) == []
    (tmp_path / "man/rprun.1").write_text("old")
    assert generate.stale(tmp_path) == ["man/rprun.1"]


def test_generator_as_a_process() -> None:
    """`--check` in a checkout succeeds in silence, and anything else is a usage error."""
    command = [sys.executable, "-m", "rprun.cli.generate"]
    check = subprocess.run([*command, "--check"], cwd=CHECKOUT, capture_output=True, check=False, timeout=60)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
    assert subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False, timeout=60).returncode == 2


def test_generator_outside_a_checkout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are no generated files, one line says so, and nothing is written."""
    monkeypatch.setattr(generate, "__file__", str(tmp_path / "site-packages/rprun/cli/generate/__main__.py"))
    monkeypatch.chdir(tmp_path)
    for argument in ("--check", "--write"):
        assert generate.main([argument]) == 2
        shown = capsys.readouterr()
        assert (shown.out, shown.err.count("\n")) == ("", 1)
        assert str(tmp_path) in shown.err
    assert list(tmp_path.iterdir()) == []


def test_man_page_is_clean(tmp_path: Path) -> None:
    """mandoc finds nothing to warn of."""
    page = tmp_path / "rprun.1"
    page.write_text(generate.FILES["man/rprun.1"]())
    done = subprocess.run(
        [needs("mandoc"), "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_man_page_shows_every_option() -> None:
    """Each option heads an entry of the rendered page, and the contract's sections are there."""
    command = [needs("mandoc"), "-T", "utf8", CHECKOUT / "man/rprun.1"]
    shown = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()
    while "\b" in shown:
        at = shown.index("\b")
        shown = shown[: at - 1] + shown[at + 1 :]
    root = table.read()
    for option in [option for command in (root, *root.subcommands) for option in command.options]:
        head = ", ".join(reversed(option.names)) + (f" {option.metavar}" if option.metavar else "")
        assert any(line.strip().startswith(head) for line in shown.splitlines()), head
    for section in (
        "DESCRIPTION",
        "OPTIONS",
        "TRANSPORTS",
        "EVENTS",
        "SIGNALS",
        "ENVIRONMENT",
        "EXIT STATUS",
        "EXAMPLES",
        "BUGS",
    ):
        assert f"\n{section}\n" in shown


@pytest.mark.parametrize("name", COMPLETIONS)
def test_completions_know_every_option(name: str) -> None:
    """Each option, each of its words and each subcommand occurs in each shell's file."""
    source = generate.FILES[name]()
    root = table.read()
    for option in [option for command in (root, *root.subcommands) for option in command.options]:
        for option_name in option.names:
            fish = f"-l {option_name[2:]} " if option_name.startswith("--") else f"-s {option_name[1:]} "
            assert (fish if name.endswith(".fish") else option_name) in source
        assert all(word in source for word in option.words)
    assert all(sub.name in source for sub in root.subcommands)
    assert "@" not in source.replace("$@", "").replace("[@]", "").replace("@{", "").replace("@(", "").replace("(@)", "")


@pytest.mark.parametrize("name", CHECKERS)
def test_completions_are_valid(name: str) -> None:
    """The shell itself parses the file."""
    done = subprocess.run([needs(CHECKERS[name]), "-n", CHECKOUT / name], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("option", table.read().options, ids=lambda option: option.dest)
def test_options_are_fit_for_rendering(option: table.Option) -> None:
    """What the generators rely on: a short first sentence, a known kind of value, no value for a short name."""
    assert option.help.endswith(".")
    assert len(option.short_help) <= 75
    assert not option.metavar or option.completes
    assert option.completes not in ("words", "list") or option.words
    assert not option.metavar or all(name.startswith("--") for name in option.names)

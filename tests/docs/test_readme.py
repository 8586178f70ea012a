"""What the README shows is what happens: its console examples and its Python are run, and its output compared.

Most readers are ordinary users, so that is who types after `$`, also where root runs these tests. Root types after `#`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from privilege import Caller, programs_for
from running import clean_environment

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What differs from run to run; and bash 5.3 tells of what was terminated, too.
_VARYING = (
    (r'("seq":|"pid":|pid=)\d+', r"\1N"),
    (r'("timestamp_ms":)\d+', r"\1N"),
    (r"\d\d:\d\d:\d\d\.\d{3}", "TIME"),
    (r"(?m)^Terminated +rprun .*$", "Terminated"),
)


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def sessions() -> list[tuple[Caller, str, str]]:
    """Return each console block as who types, the commands, one a line, and the output shown for all of them."""
    found = []
    for block in blocks("console"):
        lines = block.splitlines()
        prompt = lines[0][:2]
        commands = [line[2:] for line in lines if line.startswith(prompt)]
        shown = [line for line in lines if not line.startswith(prompt)]
        found.append((Caller(prompt[0]), "\n".join(commands), "\n".join(shown)))
    return found


def steady(text: str) -> str:
    """Return the text with what differs from run to run made equal, and without the CR of a terminal's line end."""
    for pattern, replacement in _VARYING:
        text = re.sub(pattern, replacement, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def as_pattern(shown: str) -> str:
    """Return a pattern for the shown output: a line `...` is any number of lines, ` ...` at the end any rest of one."""

    def pattern(line: str) -> str:
        if line == "...":
            return r"(?:.*\n)*?"
        return (re.escape(line[:-4]) + ".*" if line.endswith(" ...") else re.escape(line)) + r"\n"

    return "".join(map(pattern, steady(shown).splitlines()))


@pytest.mark.parametrize(
    ("caller", "commands", "shown"), sessions(), ids=lambda text: str(text).partition("\n")[0][:40]
)
def test_console_example(caller: Caller, commands: str, shown: str, tmp_path: Path) -> None:
    """The commands print what the README shows below them."""
    programs = programs_for(caller, tmp_path / "bin", commands)
    done = subprocess.run(
        ["bash", "-c", commands],
        cwd=tmp_path,
        env=clean_environment(PATH=programs),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    output = steady(done.stdout.decode()) + "\n"
    assert re.fullmatch(as_pattern(shown), output), output


def test_python_example(tmp_path: Path) -> None:
    """The Python example runs, and what it asserts holds."""
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_quick_start_is_two_commands() -> None:
    """One command sets up and runs the main job, one passes the tests."""
    quick_start = blocks("sh")[0].splitlines()
    assert len(quick_start) == 2
    assert quick_start[0].endswith("rprun --json -- echo hello")
    assert quick_start[1].endswith(".venv/bin/pytest")


def test_links_lead_somewhere() -> None:
    """Every file and every heading that the README links to is there."""
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in README.splitlines()}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://") or target.lstrip("#") in headings or (ROOT / target).exists(), target

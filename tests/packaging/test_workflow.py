"""The workflow for the project's hosting runs what the README tells people to run, and may do no more than that."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from shells import CHECKOUT

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load((CHECKOUT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_the_readmes_commands_are_run() -> None:
    """The quick start is what the matrix runs, with the names that programs have in a venv of each system."""
    quick_start = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0].splitlines()
    run = [step["run"] for step in JOBS["readme"]["steps"] if "run" in step]
    as_shown = [re.sub(r'"\$PROGRAMS/(\w+)"', r".venv/bin/\1", line).replace('"', "'") for line in run]
    as_shown[0] = re.sub("^python ", "python3 ", as_shown[0])
    assert [line for line in as_shown if line in quick_start] == quick_start
    assert JOBS["everything"]["steps"][-1]["run"] == ".ci/run"


def test_each_system_and_python_is_there() -> None:
    """The matrix is Linux, macOS and Windows by each Python from the oldest on, with all that are named."""
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    named = {found[1] for each in project["classifiers"] if (found := re.match(r".*Python :: (3\.\d+)$", each))}
    matrix = JOBS["readme"]["strategy"]["matrix"]
    assert set(matrix["python"]) >= named | {project["requires-python"].removeprefix(">=")}
    assert all(type(version) is str for version in matrix["python"])
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]


def test_it_is_bounded() -> None:
    """No job may write, run for hours, keep credentials in its checkout, or use what is not of the hosting itself."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in JOBS.values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 45
    used = [step for step in STEPS if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in used)
    checkouts = [step for step in used if step["uses"].startswith("actions/checkout@")]
    assert len(checkouts) == len(JOBS)
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)

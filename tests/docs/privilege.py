"""Who runs an example: an ordinary user, also where root runs the tests, or root.

What rprun sees depends on that, and so does what the documents show.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from enum import Enum
from typing import TYPE_CHECKING

import pytest
from running import clean_environment, rprun_argv

if TYPE_CHECKING:
    from pathlib import Path

_WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


class Caller(Enum):
    """An ordinary user or root, as their shells' prompts."""

    USER = "$"
    ROOT = "#"

    def __str__(self) -> str:
        """Give the name that it has in a test's id."""
        return self.name.lower()


def programs_for(caller: Caller, folder: Path, commands: str) -> str:
    """Make a folder where `rprun` is the one under test, run by the caller; return a PATH that begins with it.

    It skips the test where this caller cannot be had, or cannot observe what the commands ask for.
    """
    argv = rprun_argv()
    if caller is Caller.USER and os.geteuid() == 0:
        if subprocess.run([*_WITHOUT_PRIVILEGE, "true"], capture_output=True, check=False, timeout=60).returncode:
            pytest.skip("setpriv(1) is missing or forbidden")
        argv = [*_WITHOUT_PRIVILEGE, *argv]
    folder.mkdir()
    (folder / "rprun").write_text(f'#!/bin/sh\nexec {" ".join(argv)} "$@"\n', encoding="utf-8")
    (folder / "rprun").chmod(0o755)
    answer = subprocess.run(
        [*argv, "capabilities", "--json"], env=clean_environment(), stdout=subprocess.PIPE, check=True, timeout=60
    )
    for row in json.loads(answer.stdout):
        category, backend, reason = row["category"], row["backend"], row["reason"]
        if not re.search(rf"--(observe|require) (\S*,)?({category}|all)\b", commands):
            continue
        if row["support"] == "unavailable":
            pytest.skip(f"the category {category} cannot be observed here: {reason}")
        if caller is Caller.ROOT and backend != "ebpf":
            pytest.skip(f"ebpf is missing, which needs root: the category {category} is observed by {backend}")
    return f"{folder}{os.pathsep}{os.environ['PATH']}"

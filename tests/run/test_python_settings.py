"""What is meant for a command in Python does not make rprun itself speak on that command's stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from running import TRANSPORTS, clean_environment, run, transport_id

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = ({"PYTHONWARNINGS": "default"}, {"PYTHONWARNINGS": "error"}, {"PYTHONDEVMODE": "1"})
WARNS = "import sys, warnings; warnings.warn('of the command'); print(sys.warnoptions)"


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings.values()))
@pytest.mark.parametrize("options", [*TRANSPORTS, ("--observe", "all")], ids=transport_id)
def test_warnings_are_the_commands(options: tuple[str, ...], settings: dict[str, str], tmp_path: Path) -> None:
    """PYTHONWARNINGS reaches the command; of what rprun does Python warns nobody."""
    events = ("--events", f"{tmp_path}/events") if "--observe" in options else ()
    environment = clean_environment(**settings)
    quiet = run(*options, *events, "--", "true", env=environment)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")
    loud = run(*options, *events, "--", sys.executable, "-c", WARNS, env=environment)
    assert b"of the command" in loud.stderr + loud.stdout
    assert loud.returncode == (settings.get("PYTHONWARNINGS") == "error")

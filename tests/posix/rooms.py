"""Runs the tests of the rooms run/ and terminal/ as on another system: what holds on Linux must hold there.

    python tests/posix/rooms.py SYSTEM [PYTEST'S ARGUMENT...]

What cannot hold is left out, each for a reason that the man page gives under OTHER SYSTEMS.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]

LEFT_OUT = {
    # Where nobody says who sleeps in a read of the terminal.
    "test_a_question_is_answered": "",
    "test_lines_that_were_typed_before_they_were_asked_for": "",
    # Where there is no looking into a pipe without emptying it.
    "test_a_loop_over_lines_runs_for_each and pty-pipe": "",
    "test_a_loop_whose_command_writes and pty-pipe": "",
    "test_a_pipe_that_is_not_read_keeps_its_bytes and pty": "",
    # Where an orphan is init's child.
    "test_the_whole_tree_ends and (daemon or outlives)": "",
    "test_orphans_can_be": "",
    # A thousand starts of an interpreter that has so much to prepare.
    "test_a_thousand_in_a_row": "",
    # No real-time signals.
    "test_forwarded_signals": "darwin openbsd7",
}
"""What is left out, by pytest's `-k`, and on which systems; on all where none is named."""


def main(system: str, *arguments: str) -> int:
    """Run them; pytest's exit status."""
    sys.path.insert(0, str(TESTS))
    from other_systems import executable

    without = [f"({words})" for words, where in LEFT_OUT.items() if not where or system in where.split()]
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "RPRUN": executable(Path(directory), system)}
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"not ({' or '.join(without)})"]
        rooms = arguments or ("tests/run", "tests/terminal")
        return subprocess.run([*words, *rooms], cwd=TESTS.parent, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

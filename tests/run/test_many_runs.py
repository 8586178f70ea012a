"""A thousand runs in a row and a hundred at once end right, and leave nothing behind (which `conftest.py` checks)."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from running import TRANSPORTS, clean_environment, rprun_argv, start

RUNS = int(os.environ.get("RPRUN_TEST_RUNS", "1000"))
SCRIPT = "printf 'Bingo %s\\n' $0; exit $0"


def run_one(number: int) -> tuple[int, int, bytes]:
    """Run a command that prints its number without delay before it ends with it as its status."""
    status = number % 256
    words = [*rprun_argv(), *TRANSPORTS[number % 3], "sh", "-c", SCRIPT, str(status)]
    result = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        check=False,
        timeout=60,
    )
    return number, result.returncode, result.stdout.strip()


ENVIRONMENT = clean_environment()


def test_a_thousand_in_a_row() -> None:
    """Every transport gives every status and loses no last line."""
    with ThreadPoolExecutor(4) as pool:
        wrong = [
            outcome
            for outcome in pool.map(run_one, range(RUNS))
            if outcome[1:] != (outcome[0] % 256, b"Bingo %d" % (outcome[0] % 256))
        ]
    assert wrong == []


def test_a_hundred_at_once() -> None:
    """All of them run at the same time before any may end."""
    script = "echo ready; read x; echo got $x; exit 7"
    processes = []
    try:
        for number in range(100):
            transport = TRANSPORTS[number % 3]
            processes.append(start(*transport, "sh", "-c", script, stdin=subprocess.PIPE, stderr=subprocess.STDOUT))
        for process in processes:
            assert process.stdout
            assert process.stdout.readline().strip() == b"ready"
        for number, process in enumerate(processes):
            assert process.communicate(b"%d\n" % number, timeout=60)[0].split()[-2:] == [b"got", b"%d" % number]
        assert [process.returncode for process in processes] == [7] * 100
    finally:
        for process in processes:
            process.kill()
            process.communicate()

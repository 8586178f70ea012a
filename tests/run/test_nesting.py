"""rprun under rprun under rprun is rprun: status, output, input, signals and size pass through all."""

from __future__ import annotations

import itertools
import signal
import subprocess

import pytest
from running import PATIENCE, TRANSPORTS, is_running, read_until, rprun_argv, run, start, transport_id, wait_gone

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)
NESTS = list(itertools.product(TRANSPORTS, repeat=3))


def nest(*transports: tuple[str, ...]) -> list[str]:
    """Return the words after the first rprun: options, the inner ones, ready for a command."""
    words: list[str] = [*transports[0]]
    for transport in transports[1:]:
        words += [*rprun_argv(), *transport]
    return words


def name(transports: tuple[tuple[str, ...], ...]) -> str:
    """Name a nest in a test's id."""
    return "-".join(map(transport_id, transports))


@pytest.mark.parametrize("transports", NESTS, ids=name)
def test_status_output_and_input(transports: tuple[tuple[str, ...], ...]) -> None:
    """Every mixture of transports, three deep, carries bytes both ways and the status back."""
    result = run(*nest(*transports), "sh", "-c", "cat; echo tail; exit 44", input=b"a\x03b\nlast", timeout=PATIENCE)
    assert result.returncode == 44
    assert result.stdout.replace(b"\r", b"") == b"a\x03b\nlasttail\n"
    assert result.stderr == b""


@every_transport
def test_death_by_signal(transport: tuple[str, ...]) -> None:
    """The wait status survives three levels."""
    result = run(*nest(transport, transport, transport), "sh", "-c", "kill -USR1 $$")
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGUSR1, b"", b"")


@every_transport
def test_failures_to_start(transport: tuple[str, ...]) -> None:
    """127 and 126 of the innermost are the outermost's; only the innermost says why."""
    result = run(*nest(transport, transport, transport), "no-such-command-anywhere")
    assert result.returncode == 127
    assert (result.stdout + result.stderr).count(b"rprun: ") == 1
    assert run(*nest(transport, transport, transport), "/etc/passwd").returncode == 126


@every_transport
def test_a_big_output(transport: tuple[str, ...]) -> None:
    """Nothing is lost between the levels."""
    result = run(*nest(transport, transport, transport), "seq", "1", "100000")
    assert result.stdout.split() == [b"%d" % number for number in range(1, 100_001)]


@every_transport
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2])
def test_a_signal_from_outside(transport: tuple[str, ...], number: int) -> None:
    """It goes down to the command, whose end comes back up."""
    # `wait` hears of a signal that comes just before it, which `read` does not.
    script = f"trap 'kill -9 $!; echo got; exit 9' {number}; sleep 1000 & echo ready; wait"
    with start(*nest(transport, transport, transport), "sh", "-c", script, stdin=subprocess.PIPE) as process:
        assert process.stdout
        read_until(process.stdout.fileno(), b"ready")
        process.send_signal(number)
        assert b"got" in read_until(process.stdout.fileno(), b"got")
        assert process.wait(PATIENCE) == 9


def test_one_size_for_all() -> None:
    """The outermost's `--size` is what the innermost command sees before it does anything."""
    for inner in ((), ("--pty",)):
        result = run(*nest(("--pty", "--size", "101x37"), inner, inner), "sh", "-c", "stty size </dev/tty")
        assert result.stdout.split() == [b"37", b"101"]


@every_transport
def test_a_killed_outermost_takes_all_along(transport: tuple[str, ...]) -> None:
    """SIGKILL to the outer rprun ends the inner ones and the command."""
    script = "trap '' HUP; echo ready $$; exec sleep 1000"
    with start(*nest(transport, transport, transport), "sh", "-c", script) as process:
        assert process.stdout
        pid = int(read_until(process.stdout.fileno(), b"\n").split()[1])
        assert is_running(pid)
        process.kill()
        process.wait(PATIENCE)
        wait_gone(pid)


def test_within_script() -> None:
    """script(1) inside and outside changes nothing but its own ways."""
    line = " ".join([*rprun_argv(), "--", "sh", "-c", "'test -t 1 && echo inside; exit 6'"])
    outer = subprocess.run(
        ["script", "-qec", line, "/dev/null"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    # script(1) itself may show the end of file that it types.
    assert outer.returncode == 6
    assert b"inside" in outer.stdout
    inner = run("--pty", "script", "-qec", "exit 6", "/dev/null")
    assert inner.returncode == 6

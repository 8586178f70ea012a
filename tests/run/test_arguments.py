"""Arguments, environment, directory and limits reach the command byte for byte."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from running import TRANSPORTS, clean_environment, run, transport_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CAT = shutil.which("cat") or "/bin/cat"
ENVIRON = (CAT, "/proc/self/environ")

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)


def as_written(output: bytes) -> bytes:
    """Undo the line ends of a terminal."""
    return output.replace(b"\r\n", b"\n")


@every_transport
@pytest.mark.parametrize(
    "words",
    [
        ["", "", "x", ""],
        ["two words", " lead", "trail ", "\t", "a'b\"c\\d$e`f`*?[x]~"],
        ["line\nbreak", "\n", "ends\n"],
        [b"\xff\xfe", b"caf\xc3\xa9", b"caf\xe9", b"\x01\x02\x7f\x80"],
        ["--help", "--pty", "--version", "-h", "--json"],
        ["--", "--", "-", "--"],
        ["capabilities", "report"],
        ["x" * 100_000],
        ["y"] * 5_000,
    ],
    ids=["empty", "blanks", "newlines", "bytes", "options", "dashes", "subcommands", "long", "many"],
)
def test_arguments_are_not_touched(transport: tuple[str, ...], words: list[str | bytes]) -> None:
    """From the command on every word is the command's."""
    result = run(*transport, "/usr/bin/printf", "%s\\0", *words)
    assert result.returncode == 0
    assert as_written(result.stdout) == b"".join(os.fsencode(word) + b"\0" for word in words)


@every_transport
def test_a_command_may_be_named_like_a_subcommand(transport: tuple[str, ...], tmp_path: Path) -> None:
    """After `--` the word `capabilities` is a command, and one after a command an argument."""
    (tmp_path / "capabilities").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "capabilities").chmod(0o755)
    result = run(*transport, "--env", f"PATH={tmp_path}:{os.environ['PATH']}", "--", "capabilities")
    assert result.stdout.rstrip() == b"mine"


class Pairs(dict[bytes, bytes]):
    """An environment as the kernel takes it: an ordered list, in which a name may come twice."""

    def __init__(self, *pairs: tuple[bytes, bytes]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def items(self) -> Any:
        """Return what subprocess makes the block of."""
        return self._pairs

    def __iter__(self) -> Iterator[bytes]:
        return iter(name for name, _ in self._pairs)


ENVIRONMENTS = {
    "empty": Pairs(),
    "C": Pairs((b"LC_ALL", b"C"), (b"A", b"1")),
    "no-locale": Pairs((b"PATH", b"/usr/bin:/bin"), (b"Z", b"")),
    "LANG-C": Pairs((b"LANG", b"C")),
    "LC_CTYPE-given": Pairs((b"LC_CTYPE", b"C.UTF-8"), (b"B", b"2")),
    "LC_CTYPE-C": Pairs((b"LC_CTYPE", b"C")),
    "twice": Pairs((b"A", b"1"), (b"B", b"2"), (b"A", b"3"), (b"PATH", b"/bin"), (b"PATH", b"/usr/bin")),
    "bytes": Pairs((b"\xff\xe9", b"\xfe\n\x01"), (b"caf\xe9", b"caf\xc3\xa9"), (b"EMPTY", b"")),
    "python": Pairs((b"PYTHONDONTWRITEBYTECODE", b"1"), (b"COLUMNS", b"33"), (b"LINES", b"7"), (b"TERM", b"dumb")),
}


@every_transport
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_is_the_same_block(transport: tuple[str, ...], name: str) -> None:
    """Order, duplicates, undecodable bytes and all; CPython's own LC_CTYPE (PEP 538) is not in it."""
    bare = subprocess.run(ENVIRON, env=ENVIRONMENTS[name], capture_output=True, check=True)
    result = run(*transport, *ENVIRON, env=ENVIRONMENTS[name])
    assert as_written(result.stdout) == bare.stdout
    assert result.stderr == b""


@every_transport
def test_single_variables_can_be_changed(transport: tuple[str, ...]) -> None:
    """`--env` sets, `--env-unset` removes, a later `--env` wins, and the rest stays."""
    environment = {"A": "1", "B": "2", "C": "3", "PATH": os.environ["PATH"]}
    result = run(
        *transport,
        "--env",
        "A=x=y",
        "--env",
        "D=",
        "--env",
        "E=old",
        "--env",
        "E=new\n",
        "--env-unset",
        "B",
        *ENVIRON,
        env=environment,
    )
    block = as_written(result.stdout).split(b"\0")[:-1]
    wanted = {b"A=x=y", b"C=3", b"D=", b"E=new\n", b"PATH=" + os.fsencode(environment["PATH"])}
    assert sorted(block) == sorted(wanted)


@every_transport
def test_it_starts_in_the_directory_asked_for(transport: tuple[str, ...], tmp_path: Path) -> None:
    """`--cwd` is the kernel's idea of the directory; PWD stays as it was, as with env -C."""
    (tmp_path / "caf\u00e9").mkdir()
    result = run(*transport, "--cwd", "caf\u00e9", "readlink", "/proc/self/cwd", cwd=tmp_path)
    assert os.fsdecode(result.stdout.rstrip()) == str(tmp_path / "caf\u00e9")


def squeeze() -> None:
    """Set what a child inherits apart from the environment."""
    os.umask(0o027)
    os.nice(3)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    resource.setrlimit(resource.RLIMIT_CPU, (1000, 2000))


@every_transport
@pytest.mark.parametrize("command", ["umask", "nice", "cat /proc/self/limits", "cat /proc/self/oom_score_adj"])
def test_what_a_child_inherits(transport: tuple[str, ...], command: str) -> None:
    """File mode mask, niceness and resource limits are the caller's."""
    words = ["sh", "-c", command]
    bare = subprocess.run(words, capture_output=True, check=True, preexec_fn=squeeze)
    assert as_written(run(*transport, *words, preexec_fn=squeeze).stdout) == bare.stdout


@pytest.mark.parametrize("transport", TRANSPORTS[:2], ids=transport_id)
def test_without_a_terminal_session_and_group_are_the_callers(transport: tuple[str, ...]) -> None:
    """The command is in rprun's own process group and session: a signal to the group reaches it."""
    result = run(*transport, "cat", "/proc/self/stat")
    fields = result.stdout.rpartition(b")")[2].split()
    assert (int(fields[2]), int(fields[3])) == (os.getpgrp(), os.getsid(0))


@every_transport
@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "nonsense"])
def test_any_locale_will_do(transport: tuple[str, ...], locale: str) -> None:
    """Bytes that the locale cannot decode pass in arguments, environment and messages."""
    environment = clean_environment(LC_ALL=locale)
    result = run(*transport, "printf", "%s", b"\xff\xc3", env=environment)
    assert (result.returncode, result.stdout) == (0, b"\xff\xc3")
    failed = run(*transport, b"/no/such/\xff", env=environment)
    assert failed.returncode == 127
    assert failed.stderr.startswith(b"rprun: cannot run /no/such/")
    assert failed.stderr.count(b"\n") == 1

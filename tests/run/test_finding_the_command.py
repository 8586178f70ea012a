"""The command is found and executed as execvp(3) in the user's own shell would; what fails is one line and a status."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from running import TRANSPORTS, clean_environment, rprun_argv, run, transport_id

if TYPE_CHECKING:
    from pathlib import Path

every_transport = pytest.mark.parametrize("transport", TRANSPORTS, ids=transport_id)


def make_script(path: Path, text: str, mode: int = 0o755) -> str:
    """Write an executable file and return its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def assert_refused(result: subprocess.CompletedProcess[bytes], status: int, word: str) -> None:
    """rprun ended by itself with this status, and said why in one line that holds the word."""
    assert result.returncode == status
    assert result.stdout == b""
    assert result.stderr.startswith(b"rprun: ")
    assert result.stderr.count(b"\n") == 1
    assert result.stderr.endswith(b")\n")
    assert word.encode() in result.stderr


@every_transport
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("no-such-command-anywhere", 127),
        ("/no/such/command", 127),
        ("", 127),
        ("/tmp", 126),
        ("/etc/passwd", 126),
        ("/etc/passwd/x", 126),
    ],
)
def test_what_cannot_be_run(transport: tuple[str, ...], command: str, status: int) -> None:
    """127 when there is no such command, 126 when there is and the kernel refuses it; one line says which."""
    assert_refused(run(*transport, "--", command, "argument"), status, f"cannot run {command}")


@every_transport
def test_a_script_whose_interpreter_is_missing(transport: tuple[str, ...], tmp_path: Path) -> None:
    """The kernel's answer is ENOENT, so it is 127 as in env(1)."""
    script = make_script(tmp_path / "script", "#!/no/such/interpreter\n")
    assert_refused(run(*transport, script), 127, script)


@every_transport
def test_a_script_without_an_interpreter_is_run_by_sh(transport: tuple[str, ...], tmp_path: Path) -> None:
    """ENOEXEC makes execvp(3) hand the file to /bin/sh, with its arguments."""
    script = make_script(tmp_path / "script", 'echo "$0 $1 $#"; exit 5\n')
    result = run(*transport, script, "one", "two words")
    assert (result.returncode, result.stdout.rstrip()) == (5, f"{script} one 2".encode())


@every_transport
def test_a_file_of_no_format_ends_as_under_env(transport: tuple[str, ...], tmp_path: Path) -> None:
    """What is neither a program nor a script gives the status that env(1) gives."""
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELF\0\0\0\0" + bytes(range(256)))
    garbage.chmod(0o755)
    bare = subprocess.run(["env", str(garbage)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert run(*transport, str(garbage)).returncode == bare.returncode


@every_transport
def test_the_name_stays_as_typed(transport: tuple[str, ...], tmp_path: Path) -> None:
    """argv[0] is the word that was typed, not the path that was found (busybox, login shells)."""
    result = run(*transport, "head", "-c", "100", "/proc/self/cmdline")
    assert result.stdout.split(b"\0")[0] == b"head"
    (tmp_path / "-sh").symlink_to("/bin/sh")
    result = run(*transport, "./-sh", "-c", "head -c 4 /proc/$$/cmdline", cwd=tmp_path)
    assert result.stdout == b"./-s"


@every_transport
def test_the_path_searched_is_the_commands(transport: tuple[str, ...], tmp_path: Path) -> None:
    """`--env PATH=` decides where the command is looked for."""
    make_script(tmp_path / "hello", "#!/bin/sh\necho found\n")
    result = run(*transport, "--env", f"PATH={tmp_path}", "hello")
    assert (result.returncode, result.stdout.rstrip()) == (0, b"found")
    assert run(*transport, "hello").returncode == 127


@every_transport
def test_relative_directories_are_relative_to_the_commands_own(transport: tuple[str, ...], tmp_path: Path) -> None:
    """A relative or empty entry of PATH, and a relative name, are looked up from `--cwd`."""
    make_script(tmp_path / "there" / "bin" / "hello", "#!/bin/sh\necho bin\n")
    make_script(tmp_path / "there" / "hello", "#!/bin/sh\necho here\n")
    there = str(tmp_path / "there")
    for path, answer in (("bin", b"bin"), ("/nowhere:bin", b"bin"), ("", b"here"), ("/nowhere:", b"here")):
        result = run(*transport, "--cwd", there, "--env", f"PATH={path}", "hello")
        assert (result.returncode, result.stdout.rstrip()) == (0, answer)
    assert run(*transport, "--cwd", there, "./hello").stdout.rstrip() == b"here"
    assert run(*transport, "--cwd", there, "bin/hello").stdout.rstrip() == b"bin"


@every_transport
def test_without_a_path_the_system_directories_are_searched(transport: tuple[str, ...]) -> None:
    """An unset PATH means confstr's default, as in execvp(3)."""
    environment = clean_environment()
    del environment["PATH"]
    assert run(*transport, "sh", "-c", "exit 3", env=environment).returncode == 3
    assert run(*transport, "--env-unset", "PATH", "sh", "-c", "exit 3").returncode == 3


@every_transport
def test_a_file_that_may_not_be_run_is_passed_over(transport: tuple[str, ...], tmp_path: Path) -> None:
    """EACCES in one directory of PATH lets the search go on; alone it is 126."""
    make_script(tmp_path / "a" / "hello", "#!/bin/sh\necho a\n", mode=0o644)
    (tmp_path / "d" / "hello").mkdir(parents=True)
    make_script(tmp_path / "b" / "hello", "#!/bin/sh\necho b\n")
    path = f"PATH={tmp_path}/d:{tmp_path}/a:/etc/passwd:{tmp_path}/b"
    assert run(*transport, "--env", path, "hello").stdout.rstrip() == b"b"
    assert_refused(run(*transport, "--env", f"PATH={tmp_path}/a:/nowhere", "hello"), 126, "hello")


@every_transport
@pytest.mark.parametrize("why", ["missing", "file", "forbidden"])
def test_a_directory_that_cannot_be_entered(transport: tuple[str, ...], why: str, tmp_path: Path) -> None:
    """`--cwd` that fails is rprun's own failure: 125, the command not run."""
    directory = {"missing": tmp_path / "none", "file": tmp_path / "file", "forbidden": tmp_path / "closed"}[why]
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0)
    if why == "forbidden" and os.geteuid() == 0:
        pytest.skip("root may enter any directory")
    assert_refused(run(*transport, "--cwd", str(directory), "touch", str(tmp_path / "ran")), 125, str(directory))
    assert not (tmp_path / "ran").exists()


def test_the_directory_may_be_gone() -> None:
    """rprun runs where the working directory has been removed, as other programs do."""
    script = 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"'
    result = subprocess.run(["sh", "-c", script, "sh", *rprun_argv(), "false"], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (1, b"")

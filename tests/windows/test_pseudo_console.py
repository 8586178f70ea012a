"""A command in a pseudo console, with each of pywinpty's documented faults, and with all of them at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from windows_running import FAULTS, TOGETHER, program, rprun

EACH = pytest.mark.parametrize("faults", ["", *FAULTS, TOGETHER], ids=lambda faults: faults.replace(",", "+") or "none")


@EACH
def test_output_and_status_come_back(faults: str) -> None:
    """What the command wrote is there to its last line, and the exit status is its own."""
    done = rprun("--pty", "--", "sh", "-c", "echo first; seq 1 2000; echo last; exit 4", faults=faults)
    assert (done.returncode, done.stderr) == (4, b"")
    lines = done.stdout.replace(b"\r\n", b"\n").split(b"\n")
    assert [line for line in lines if line] == [b"first", *(b"%d" % number for number in range(1, 2001)), b"last"]


@EACH
def test_input_arrives_once(faults: str, tmp_path: Path) -> None:
    """Each line of a pipe is typed once, however short a write was, and then the input ends."""
    data = "".join(f"line {number} é\n" for number in range(300))
    done = rprun("--pty", "--cwd", str(tmp_path), "--", "sh", "-c", "cat > got", input=data.encode(), faults=faults)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "got").read_text() == data


def test_an_unfinished_line_is_finished(tmp_path: Path) -> None:
    """The end of input can only be typed at the start of a line, so an unfinished one gets its end."""
    done = rprun("--pty", "--cwd", str(tmp_path), "--", "sh", "-c", "cat > got", input=b"abc\r\ndef")
    assert (done.returncode, (tmp_path / "got").read_bytes()) == (0, b"abc\ndef\n")


def test_characters_cut_by_pywinpty_are_marked() -> None:
    """A character that pywinpty cuts is lost, and what takes its place says so; the rest of the text is there."""
    done = rprun("--pty", "--", "sh", "-c", "printf 'aéaéaéaéaéaéaéa\\n'", faults="cut")
    text = done.stdout.decode()
    assert "\N{REPLACEMENT CHARACTER}" in text
    assert text.count("a") == 8


def test_whole_characters_stay_whole() -> None:
    """Where pywinpty does not cut them, neither does anything else."""
    done = rprun("--pty", "--", "sh", "-c", "printf 'é漢🎉\\n'")
    assert done.stdout.decode().strip() == "é漢🎉"


@pytest.mark.parametrize("faults", ["nul,empty", TOGETHER])
def test_a_block_of_nuls_is_not_the_end(faults: str) -> None:
    """A read that gave nothing but NULs, and so nothing, does not end the output."""
    done = rprun("--pty", "--", "sh", "-c", "head -c 5000 /dev/zero; echo end", faults=faults)
    assert done.stdout.strip().endswith(b"end")


def test_a_console_that_never_ends_is_left() -> None:
    """Where the end is not told, silence is taken for it once nobody is left, and the event says that it was."""
    started = time.monotonic()
    done = rprun("--pty", "--json", "--", "sh", "-c", "echo all of it", faults="no-eof")
    assert time.monotonic() - started < 10
    assert done.stdout.strip() == b"all of it"
    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["kind"], last["exit_code"], last["drained"]) == ("exited", 0, False)


def test_late_output_is_waited_for_where_the_end_is_told() -> None:
    """Output that comes after the command's end is not lost, and nothing says that it was."""
    done = rprun("--pty", "--json", "--", "sh", "-c", "echo all of it", faults="late,empty")
    assert done.stdout.strip() == b"all of it"
    assert "drained" not in json.loads(done.stderr.splitlines()[-1])


def test_the_consoles_question_is_answered_and_not_shown() -> None:
    """The command, which waits for the answer, starts; the question is no output of its."""
    done = rprun("--pty", "--", "echo", "started", faults="ask")
    assert (done.returncode, done.stdout.strip()) == (0, b"started")


def test_a_command_that_asks_is_answered() -> None:
    """A terminal that is not there is in order, and its cursor at the top left."""
    source = """
import rprun
script = "stty raw -echo; printf '\\033[6n'; dd bs=1 count=6 2>/dev/null | od -An -c"
print(rprun.run(["sh", "-c", script], transport="pty", output=rprun.CAPTURE).stdout.split())
"""
    assert program(source) == f"{[b'033', b'[', b'1', b';', b'1', b'R']}\n"


def test_a_status_that_looks_like_running_is_a_status() -> None:
    """259 is an exit code like any other, although pywinpty takes it for none."""
    done = rprun("--pty", "--json", "--", "sh", "-c", "exit 3", faults="status")
    assert json.loads(done.stderr.splitlines()[-1])["exit_code"] == 259


@pytest.mark.parametrize(("faults", "expected"), [("gone", 3), ("gone,status", None)])
def test_a_command_that_was_gone_at_once(faults: str, expected: int | None) -> None:
    """Its status is the one that pywinpty knows; where that is none, the event says that it is not known."""
    done = rprun("--pty", "--json", "--", "sh", "-c", "echo here; exit 3", faults=faults)
    assert done.stdout.strip() == b"here"
    assert json.loads(done.stderr.splitlines()[-1])["exit_code"] == expected


def test_standard_handles_come_back() -> None:
    """The child is started while the console's handles are in place, and afterwards this process has its own again."""
    source = """
import doors, rprun
process = rprun.run(["echo", "in the console"], transport="pty", output=rprun.CAPTURE)
assert process.stdout.strip() == b"in the console", process.stdout
assert doors.standard_handles == doors.REAL_HANDLES
print("both")
"""
    assert program(source, faults="handles") == "both\n"


@pytest.mark.parametrize("faults", ["", "drop", "handles,drop"])
def test_a_start_that_fails_is_said(faults: str, tmp_path: Path) -> None:
    """A file that is no program is 126, and what failed is not waited for when it is let go of."""
    file = tmp_path / "text.exe"
    file.write_text("no program")
    done = rprun("--pty", "--", str(file), faults=faults)
    assert done.returncode == 126
    assert done.stderr.startswith(b"rprun: cannot run ")


def test_a_start_that_fails_leaves_the_handles_alone(tmp_path: Path) -> None:
    """Also where no child was started, this process's handles are its own again."""
    (tmp_path / "text.exe").write_text("no program")
    source = f"""
import doors, rprun
try:
    rprun.run([{str(tmp_path / "text.exe")!r}], transport="pty", output=rprun.CAPTURE)
except rprun.NotExecutable:
    print(doors.standard_handles == doors.REAL_HANDLES)
"""
    assert program(source, faults="handles,drop") == "True\n"


def test_a_path_with_blanks_is_one_word(tmp_path: Path) -> None:
    """pywinpty puts a blank between two strings and quotes neither; the command is found all the same."""
    script = tmp_path / "with blanks"
    script.write_text("#!/bin/sh\nprintf '%s|' \"$@\"\n")
    script.chmod(0o755)
    done = rprun("--pty", "--", str(script), "a b", "", 'say "so"', "end\\")
    assert done.stdout.replace(b"\r\n", b"") == b'a b||say "so"|end\\|'


def test_size(tmp_path: Path) -> None:
    """The size is there before the command starts: the one asked for, or 80x24."""
    assert rprun("--pty", "--size", "101x31", "--", "stty", "size").stdout.split() == [b"31", b"101"]
    assert rprun("--pty", "--", "stty", "size").stdout.split() == [b"24", b"80"]


def test_resize_and_keys_from_python() -> None:
    """A process in a console is typed to, resized, and asked for its end of input."""
    source = """
import rprun
seen = b""
def output(name, data):
    global seen
    seen += data
with rprun.Process(["sh", "-c", "read line; stty size; cat"], transport="pty", output=output) as process:
    process.resize(90, 40)
    process.write(b"go\\n")
    process.write("é\\n".encode()[:1])
    process.write("é\\n".encode()[1:])
    process.close_stdin()
assert process.returncode == 0, process.returncode
text = seen.decode().replace("\\r\\n", "\\n")
assert "40 90\\n" in text, text
assert "é\\n" in text, text
print("done")
"""
    for faults in ("", TOGETHER.replace("cut,", "")):
        assert program(source, faults=faults) == "done\n"


def test_split_stderr_is_refused() -> None:
    """A console has one output, and the message says what there is instead."""
    done = rprun("--pty", "--split-stderr", "--", "true")
    assert done.returncode == 2
    assert b"--pipe" in done.stderr

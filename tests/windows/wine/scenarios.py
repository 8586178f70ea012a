"""What rprun does on Windows, run by CPython for Windows under Wine; prints a line for each thing that holds.

    python.exe scenarios.py

Nothing of rprun is replaced here. pywinpty's native module is the real one, over Wine's pseudo console: that gives a
child no standard handles, so children open the console themselves; and Wine has no ^Break to send.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import rprun

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON = sys.executable
SYNCHRONIZE = 0x0010_0000
CONSOLE = "o = open('CONOUT$', 'w'); i = open('CONIN$')\n"
# Starts a child that lives for so many seconds, and says its number.
LEAVES = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep({})"], stdin=-3, stdout=-3, stderr=-3)
print(child.pid, flush=True)
"""


def cli(*words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run rprun's command line."""
    given = {"stdin": subprocess.DEVNULL} if "input" not in options else {}
    return subprocess.run(
        [PYTHON, "-m", "rprun", *words], capture_output=True, check=False, timeout=60, **(given | options)
    )


def python(source: str) -> list[str]:
    return [PYTHON, "-c", source]


def ends_within(pid: int, milliseconds: int) -> bool:
    """Tell whether a process has ended, or ends in that time."""
    kernel32 = ctypes.WinDLL("kernel32")
    kernel32.OpenProcess.restype = ctypes.c_void_p
    handle = kernel32.OpenProcess(SYNCHRONIZE, 0, pid)
    return not handle or kernel32.WaitForSingleObject(ctypes.c_void_p(handle), milliseconds) == 0


def bytes_are_untouched() -> None:
    data = bytes(range(256)) * 2000
    copy = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    for options in ([], ["--pipe"]):
        done = cli(*options, "--", *python(copy), input=data)
        assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b""), done.stderr


def exit_codes_have_32_bits() -> None:
    for code in (0, 7, 259, 0xC000013A):
        done = cli("--pipe", "--", *python(f"import os; os._exit({code - (1 << 32) if code >> 31 else code})"))
        assert done.returncode == code, hex(done.returncode)


def what_cannot_be_started_is_said() -> None:
    assert cli("--", "no-such-command").returncode == 127
    assert cli("--", "C:\\windows").returncode == 126
    assert cli("--cwd", "C:\\no-such-directory", "--", "cmd").returncode == 125
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "text.exe"
        file.write_text("no program")
        assert cli("--pipe", "--", str(file)).returncode == 126
        assert cli("--pty", "--", str(file)).returncode == 126


def limits_end_the_tree() -> None:
    for limit in ("--timeout", "--idle-timeout"):
        done = cli(limit, "1s", "--kill-after", "200ms", "--json", "--", *python(LEAVES.format(60) + "child.wait()"))
        assert done.returncode == 124, done
        assert ends_within(int(done.stdout), 5000)
        assert json.loads(done.stderr.splitlines()[-1])["limit"] == limit.lstrip("-")


def orphans_are_left_named_awaited_or_ended() -> None:
    left = int(cli("--pipe", "--", *python(LEAVES.format(5))).stdout)
    assert not ends_within(left, 0)
    done = cli("--orphans", "report", "--json", "--pipe", "--", *python(LEAVES.format(5)))
    (orphan,) = json.loads(done.stderr.splitlines()[-1])["orphans"]
    assert (orphan["pid"], orphan["name"].lower()) == (int(done.stdout), Path(PYTHON).name.lower()), orphan
    assert ends_within(int(cli("--orphans", "kill", "--pipe", "--", *python(LEAVES.format(60))).stdout), 5000)
    assert ends_within(int(cli("--orphans", "wait", "--pipe", "--", *python(LEAVES.format(1))).stdout), 0)


def who_kills_rprun_kills_the_tree() -> None:
    words = [PYTHON, "-m", "rprun", "--pipe", "--", *python(LEAVES.format(60) + "child.wait()")]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert ends_within(pid, 5000)


def breaking_away_is_permitted() -> None:
    source = "import subprocess, sys; print(subprocess.call([sys.executable, '-c', ''], creationflags=0x01000000))"
    assert cli("--pipe", "--", *python(source)).stdout.strip() == b"0"


def arguments_arrive() -> None:
    words = ["a b", 'q"q', "back\\", "", "%PATH%", "a&b"]
    done = cli("--pipe", "--", *python("import sys; print(sys.argv[1:])"), *words)
    assert done.stdout.decode().strip() == str(words), done
    done = subprocess.run(
        f'"{PYTHON}" -m rprun --pipe -- cmd /c echo "a  ^& b" c', capture_output=True, check=False, timeout=60
    )
    assert done.stdout.strip() == b'"a  ^& b" c', done


def batch_files_get_words_and_no_commands() -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "with blanks.bat").write_text("@echo off\r\necho [%1] [%2] [%3]\r\nexit /b 5\r\n")
        done = cli("--pipe", "--cwd", directory, "--", "with blanks", "a&ver", "x y", "plain")
        assert (done.returncode, done.stdout.strip()) == (5, b'["a&ver"] ["x y"] [plain]'), done
        assert cli("--pipe", "--cwd", directory, "--", "with blanks", "%PATH%").returncode == 126


def environment_is_without_regard_to_case() -> None:
    source = "import os; print(os.environ['FOO'], os.environ['PATH'], 'WINDIR' in os.environ)"
    changes = ["--env", "foo=bar", "--env", "path=x", "--env-unset", "windir"]
    assert cli(*changes, "--pipe", "--", *python(source)).stdout.split() == [b"bar", b"x", b"False"]


def a_console_shows_and_is_typed_to() -> None:
    source = CONSOLE + "import sys; o.write('got ' + ascii(i.read())); o.flush(); sys.exit(259)"
    with rprun.Process(python(source), transport="pty", output=rprun.CAPTURE, timeout=30) as process:
        process.write(b"typed\n")
        process.close_stdin()
    assert process.returncode == 259, process.returncode
    assert b"got 'typed\\n'" in process.stdout, process.stdout
    done = cli("--pty", "--", *python(CONSOLE + "o.write('shown'); o.flush(); import sys; sys.exit(7)"))
    assert (done.returncode, b"shown" in done.stdout, done.stderr) == (7, True, b""), done


def a_console_is_read_to_its_end() -> None:
    source = CONSOLE + "o.write('\\n'.join(map(str, range(3000)))); o.flush()"
    process = rprun.run(python(source), transport="pty", output=rprun.CAPTURE, timeout=30)
    assert process.drained
    assert b"2999" in process.stdout


def a_console_is_interrupted_and_ended() -> None:
    source = CONSOLE + "import time\ntry:\n o.write('ready'); o.flush(); time.sleep(60)\nexcept KeyboardInterrupt: pass"
    seen: list[bytes] = []
    with rprun.Process(python(source), transport="pty", output=lambda _, data: seen.append(data)) as process:
        while b"ready" not in b"".join(seen):
            time.sleep(0.05)
        process.interrupt()
    assert process.returncode == 0
    source = CONSOLE + "import time; time.sleep(60)"
    process = rprun.run(python(source), transport="pty", output=rprun.CAPTURE, timeout=1, kill_after=0.2)
    assert (process.limit, process.returncode) == ("timeout", 1)


SCENARIOS: tuple[Callable[[], None], ...] = (
    bytes_are_untouched,
    exit_codes_have_32_bits,
    what_cannot_be_started_is_said,
    limits_end_the_tree,
    orphans_are_left_named_awaited_or_ended,
    who_kills_rprun_kills_the_tree,
    breaking_away_is_permitted,
    arguments_arrive,
    batch_files_get_words_and_no_commands,
    environment_is_without_regard_to_case,
    a_console_shows_and_is_typed_to,
    a_console_is_read_to_its_end,
    a_console_is_interrupted_and_ended,
)


def main() -> int:
    """Run them all; the number of those that do not hold."""
    failed = 0
    for scenario in SCENARIOS:
        started = time.monotonic()
        try:
            scenario()
            outcome = "passed"
        except Exception:  # noqa: BLE001 - shown
            outcome = "FAILED"
            failed += 1
            traceback.print_exc(file=sys.stdout)
        print(f"{outcome} {scenario.__name__} {time.monotonic() - started:.1f} s", flush=True)
    print(f"{len(SCENARIOS) - failed} passed, {failed} failed", flush=True)
    return failed


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(min(status, 1))

"""The eBPF programs that tell what is executed: what was given, and what came of it, of real programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from ebpf_process import EXEC, EXECVEAT, needs_bpf, python, run, script, watch

from rprun.backends.ebpf import loops
from rprun.backends.ebpf.layout import Kind
from rprun.linux import bpf, libc
from rprun.linux.bpf import open_raw_tracepoint

AT_EMPTY_PATH = 0x1000  # include/uapi/linux/fcntl.h


@pytest.fixture(params=["sched_prepare_exec", "sys_enter"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the kernel has since Linux 6.10, and what is used before."""

    def attach(name: str, program: int) -> int:
        if name == "sched_prepare_exec" != request.param:
            raise FileNotFoundError(name)
        return open_raw_tracepoint(name, program)

    monkeypatch.setattr(bpf, "open_raw_tracepoint", attach)
    return str(request.param)


def test_an_exec_in_a_thread() -> None:
    """It takes over its process, which goes on and ends once."""
    seen = python(
        "import os, threading\n"
        "if os.fork(): os.wait(), os._exit(0)\n"
        "threading.Thread(target=lambda: os.execv('/bin/sh', ['a b', '-c', 'exit 4'])).start()\n"
        "threading.Event().wait()"
    )
    ((child, code),) = seen.codes().items()
    assert code == 4
    assert [(one.pid, one.fields["argv"]) for one in seen.of(EXEC)][1:] == [(child, [b"a b", b"-c", b"exit 4"])]


def test_a_script_in_a_thread(either: str, tmp_path: Path) -> None:
    """The attempt was another thread's than the one that the process has afterwards."""
    file = script(tmp_path / "script", "#!/bin/sh\nexit 0\n")
    seen = python(
        "import os, sys, threading\n"
        "threading.Thread(target=lambda: os.execv(sys.argv[1], ['typed', 'x'])).start()\n"
        "threading.Event().wait()",
        file,
    )
    assert [one["argv"] for one in seen.execs()][1:] == [[b"typed", b"x"]]


def test_scripts(either: str, tmp_path: Path) -> None:
    """What was given comes back, not what the kernel has made of it for the interpreter."""
    plain = script(tmp_path / "plain", "#!/bin/sh\nexit 0\n")
    optional = script(tmp_path / "optional", "#!/bin/sh -e\nexit 0\n")
    nested = script(tmp_path / "nested", f"#!{optional} -x\nexit 0\n")
    for path in (plain, optional, nested):
        for words in ([path], ["typed as"], ["typed", "", path, "last"]):
            seen = watch(lambda path=path, words=words: os.execv(path, words))
            assert seen.execs()[0] == {
                "path": path.encode(),
                "argv": [word.encode() for word in words],
                "cwd": os.getcwdb(),
                "result": "ok",
            }


def test_relative_paths(either: str, tmp_path: Path) -> None:
    """They are joined with the directory that they are relative to."""
    script(tmp_path / "script", "#!/bin/sh\nexit 0\n")
    here = bytes(tmp_path)

    def body(way: str) -> None:
        os.chdir(tmp_path)
        directory = os.open(tmp_path, os.O_RDONLY)
        os.chdir("/" if way == "execveat" else tmp_path)
        if way == "execv":
            os.execv("./script", ["x"])
        path, flags = {
            "execveat": (b"script", 0),
            "absolute": (bytes(tmp_path / "script"), 0),
            "empty": (b"", AT_EMPTY_PATH),
        }[way]
        if way == "empty":
            directory = os.open("/bin/true", os.O_PATH)
        import ctypes

        argv = (ctypes.c_char_p * 3)(b"x", b"y", None)
        held = ctypes.create_string_buffer(path)
        os.set_inheritable(directory, True)
        libc.syscall(EXECVEAT, directory, ctypes.addressof(held), ctypes.addressof(argv), 0, flags)

    for way, path, argv, cwd in (
        ("execv", here + b"/./script", [b"x"], here),
        ("execveat", here + b"/script", [b"x", b"y"], b"/"),
        ("absolute", here + b"/script", [b"x", b"y"], here),
        ("empty", os.path.realpath(b"/bin/true"), [b"x", b"y"], here),
    ):
        seen = watch(lambda way=way: body(way))
        assert seen.status == 0, way
        assert seen.execs()[0] == {"path": path, "argv": argv, "cwd": cwd, "result": "ok"}, way


def test_a_removed_directory(tmp_path: Path) -> None:
    """It has no name any more, which is said; the rest is known."""
    gone = tmp_path / "gone"

    def body() -> None:
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
        os.execv("/bin/true", ["x"])

    assert watch(body).execs() == [{"path": b"/bin/true", "argv": [b"x"], "cwd": None, "result": "ok"}]


@pytest.mark.parametrize(
    "words",
    [
        [b"x" * 131071] * 8,
        [b"%d" % number for number in range(3000)],
        [b"\xff\xfe", b"", b"a\nb", b"", b""],
        [b"x" * (24576 - len(b"/bin/true") - 2)],
        [b"x" * (2 * 24576 - len(b"/bin/true") - 1)],
        [b""] * 30000,
    ],
    ids=["1 MiB", "3000 words", "odd bytes", "one whole piece", "two pieces and a byte", "empty words"],
)
@pytest.mark.parametrize("may_goto", [True, False])
def test_long_arguments(words: list[bytes], monkeypatch: pytest.MonkeyPatch, *, may_goto: bool) -> None:
    """They come whole."""
    if not may_goto:
        monkeypatch.setattr(loops, "has_may_goto", lambda: False)
    seen = watch(lambda: os.execve("/bin/true", [b"/bin/true", *words], {}))
    assert seen.status == 0
    (one,) = seen.execs()
    assert one["argv"] == [b"/bin/true", *words]


def test_arguments_of_a_script_that_are_long(tmp_path: Path) -> None:
    """The same, where the kernel has changed them."""
    file, words = script(tmp_path / "script", "#!/bin/sh\nexit 0\n"), ["y" * 100000] * 5
    (one,) = watch(lambda: os.execv(file, ["z" * 10000, *words])).execs()
    assert one["argv"] == [b"z" * 10000, *(word.encode() for word in words)]


def test_no_arguments() -> None:
    """The kernel gives a program that has none an empty word since Linux 5.18."""

    def body() -> None:
        import ctypes

        null, path = ctypes.create_string_buffer(8), ctypes.create_string_buffer(b"/bin/true")
        libc.syscall(EXECVEAT, -100, ctypes.addressof(path), ctypes.addressof(null), 0, 0)

    (one,) = watch(body).execs()
    assert one["argv"] in ([], [b""])


def test_attempts_that_fail(either: str, tmp_path: Path) -> None:
    """They are no events, and are not taken for the one that succeeds."""
    (tmp_path / "noexec").write_text("#!/bin/sh\n")
    file = script(tmp_path / "script", "#!/bin/sh\nexit 0\n")

    def body() -> None:
        for path, argv0 in (("/nowhere/script", "1"), (str(tmp_path / "noexec"), "2"), (str(tmp_path), "3")):
            with suppress(FileNotFoundError, PermissionError):
                os.execv(path, [argv0])
        os.execv(file, ["4"])

    seen = watch(body)
    assert seen.records.count(Kind.ATTEMPT) == (4 if either == "sys_enter" else 1)
    assert [one["argv"] for one in seen.execs()] == [[b"4"]]


CONSTANTS = """
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    if (fork() == 0) {
        execl(PATH, "typed", "y", (char *)0);
        _exit(1);
    }
    wait(0);
    return 0;
}
"""


def test_an_argument_that_is_not_in_memory(either: str, tmp_path: Path) -> None:
    """A forked child has not got the pages of its parent's file yet; where they cannot be read, it is said."""
    needs_bpf()
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler: gcc")
    file, program = script(tmp_path / "script", "#!/bin/sh\nexit 0\n"), tmp_path / "program"
    command = ["gcc", f'-DPATH="{file}"', "-o", str(program), "-xc", "-"]
    subprocess.run(command, input=CONSTANTS, text=True, check=True)
    _, one = run(str(program)).execs()
    assert one["path"] == file.encode()
    assert one["argv"] in ([[b"typed", b"y"]] if either == "sched_prepare_exec" else [[b"typed", b"y"], [None, b"y"]])


I386_PROGRAM = r"""
static long call(long number, const void *a, const void *b, const void *c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
void _start(void) {
    /* On the stack, which fork copies: what is in the file might have to be paged in again. */
    char typed[] = "typed", y[] = "y";
    const char *script[] = {typed, y, 0}, *empty[] = {0};
    if (call(2, 0, 0, 0) == 0)  /* fork */
        call(11, PATH, script, empty);
    call(11, "/nowhere", script, empty);
    call(7, (void *)-1L, 0, 0);  /* waitpid */
    call(1, 0, 0, 0);
}
"""


def test_a_32_bit_program(either: str, tmp_path: Path) -> None:
    """Its calls have other numbers, and its pointers are shorter."""
    needs_bpf()
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler: gcc")
    file = script(tmp_path / "script", "#!/bin/sh\nexit 5\n")
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(I386_PROGRAM)
    options = ["-m32", "-nostdlib", "-static", "-fno-stack-protector", "-fno-pie", "-no-pie", f'-DPATH="{file}"']
    made = subprocess.run(["gcc", *options, "-o", program, source], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("needs a compiler for 32-bit programs")
    try:
        subprocess.run([program], check=True)
    except OSError:
        pytest.skip("needs a kernel that runs 32-bit programs")
    seen = run(str(program))
    assert [(one["path"], one["argv"]) for one in seen.execs()] == [
        (bytes(program), [bytes(program)]),
        (file.encode(), [b"typed", b"y"]),
    ]
    assert list(seen.codes().values()) == [5]

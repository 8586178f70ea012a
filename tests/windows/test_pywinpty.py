"""pywinpty's own `PtyProcess` on top of the stand-in does what it is known to do: the stand-in is like its module."""

from __future__ import annotations

import ast
from pathlib import Path

from windows_running import PYWINPTY, program, rprun

STANDIN = Path(__file__).parent / "standin" / "_winpty.py"


def signatures(file: Path, name: str) -> dict[str, list[str]]:
    """Return the public methods of a class, each with its parameters, as a source file has them."""
    (found,) = [
        node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name
    ]
    return {
        node.name: [argument.arg for argument in node.args.args]
        for node in found.body
        if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_"))
    }


def test_interface(pywinpty: str) -> None:
    """The stand-in has the methods of the native class with the parameters of its declaration, and no others."""
    declared = signatures(Path(pywinpty) / "winpty" / "_winpty.pyi", "PTY")
    assert signatures(STANDIN, "PTY") == declared


def test_rprun_runs_on_the_real_package(pywinpty: str) -> None:
    """With pywinpty's own Python files in between, a command runs in a console."""
    done = rprun("--pty", "--", "sh", "-c", "echo through pywinpty; exit 5", variables={"RPRUN_PYWINPTY": pywinpty})
    assert (done.returncode, done.stdout.strip(), done.stderr) == (5, b"through pywinpty", b"")


def over_standin(pywinpty: str, source: str, *, faults: str = "", **variables: str) -> str:
    """Run a program that uses pywinpty's `PtyProcess`; what it prints."""
    start = "from winpty import PtyProcess\nimport threading, time\n"
    return program(start + source, faults=faults, variables={"RPRUN_PYWINPTY": pywinpty, **variables})


def test_ptyprocess_runs_a_child(pywinpty: str) -> None:
    """It starts a child in a terminal of the size asked for, types to it, reads all it writes, and has its status."""
    source = """
process = PtyProcess.spawn(["sh", "-c", "stty size; read x; echo got $x; exit 6"], dimensions=(30, 90))
process.write("abc\\r")
text = ""
try:
    while True:
        text += process.read()
except EOFError:
    pass
print(text.split(), process.wait())
"""
    assert over_standin(pywinpty, source) == "['30', '90', 'got', 'abc'] 6\n"


def test_ptyprocess_lets_its_marker_leak(pywinpty: str) -> None:
    """Its sign for "nothing yet" goes through the same socket as the output, and is part of it where both meet."""
    source = """
process = PtyProcess.spawn(["sh", "-c", "sleep 0.2; echo output; sleep 0.2"])
process.wait()
text = ""
try:
    while True:
        text += process.read()
except EOFError:
    pass
print("0011Ignore" in text, "output" in text)
"""
    assert over_standin(pywinpty, source, PYWINPTY_BLOCK="0") == "True True\n"


def test_ptyprocess_spins_on_cut_text(pywinpty: str) -> None:
    """A read that ends within the last character waits for its rest for ever, also when there is none."""
    source = """
process = PtyProcess.spawn(["printf", "aé"])
process.wait()
reading = threading.Thread(target=lambda: [process.read(2), process.read(2)], daemon=True)
# The socket's end comes with half of a character: its other half has been taken away.
real = process.fileobj
class Cut:
    def recv(self, size):
        return real.recv(2)[:2] if size > 1 else b""
process.fileobj = Cut()
reading.start()
reading.join(1)
print(reading.is_alive())
"""
    assert over_standin(pywinpty, source) == "True\n"


def test_ptyprocess_leaks_its_sockets(pywinpty: str) -> None:
    """To have asked whether the child lives makes `close` do nothing."""
    source = """
process = PtyProcess.spawn(["true"])
while process.isalive():
    time.sleep(0.01)
process.close()
print(process.closed, process.fileobj.fileno() >= 0, process._server.fileno() >= 0)
"""
    assert over_standin(pywinpty, source) == "True True True\n"


def test_ptyprocess_never_ends_where_the_console_does_not(pywinpty: str) -> None:
    """Without an end of file from below it reads for ever, though the child has ended; rprun does not."""
    source = """
process = PtyProcess.spawn(["echo", "all"])
got = []
def read():
    while True:
        got.append(process.read())
reading = threading.Thread(target=read, daemon=True)
reading.start()
process.wait()
reading.join(1)
print(reading.is_alive(), "".join(got).strip())
"""
    assert over_standin(pywinpty, source, faults="no-eof") == "True all\n"


def test_ptyprocess_takes_259_for_no_status(pywinpty: str) -> None:
    """Its exit status is the native class's, and that is none."""
    source = """
process = PtyProcess.spawn(["sh", "-c", "exit 3"])
print(process.wait())
"""
    assert over_standin(pywinpty, source, faults="status") == "None\n"


def test_the_version_is_the_one_that_is_stood_in_for(pywinpty: str) -> None:
    """The version that the stand-in names is the one whose declaration it was held to."""
    assert f'__version__ = "{PYWINPTY}"' in STANDIN.read_text()
    assert list(Path(pywinpty).glob(f"pywinpty-{PYWINPTY}.dist-info"))

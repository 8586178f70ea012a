"""A stand-in for pywinpty's native module: its interface as `_winpty.pyi` has it, with real children on a real PTY.

The child is started on a PTY of this system, whose line discipline plays the console's part: Enter ends a line, ^C
interrupts, ^Z and Enter is the end of input, LF becomes CR LF. What pywinpty is known to do wrong is switched on by the
names in RPRUN_FAULTS, separated by commas; without any it does what one would expect of it.

| fault | what it does |
| --- | --- |
| `cut` | each block of 7 bytes is decoded by itself: a character that is cut is U+FFFD |
| `nul` | NULs are removed, and a block of nothing else is '' |
| `empty` | at the end `read` gives '' for ever, where it would raise |
| `error` | at the end `read` raises once, and then gives '' for ever |
| `late` | what the child wrote last comes some time after its end |
| `no-eof` | the end does not come before `cancel_io`, or before it is let go of |
| `ask` | the child is not started before `ESC [ 6 n` has been answered |
| `short` | `write` takes all and returns less |
| `iseof` | `iseof` never returns |
| `status` | an exit code of 3 becomes 259, which `get_exitstatus` takes for "still runs" |
| `handles` | the constructor replaces the standard handles; a child started without them writes past the PTY |
| `gone`, the first | a child that ended at once cannot be opened any more; see `doors.py` |
| `drop` | letting go of one whose `spawn` has failed never returns |
"""

from __future__ import annotations

import codecs
import fcntl
import os
import queue
import re
import struct
import subprocess
import termios
import threading
import time

import doors

__version__ = "3.1.2"

CONTROL_Z = b"\x1a"
BLOCK = 32768
LATE = 0.3


def _faulty(name: str) -> bool:
    return name in os.environ.get("RPRUN_FAULTS", "").split(",")


class WinptyError(Exception):
    """What every method raises; it has a message and no number."""


class PTY:
    """As `winpty.PTY`."""

    def __init__(
        self,
        cols: int,
        rows: int,
        backend: int | None = None,
        mouse_mode: int = 0,
        timeout: int = 30000,
        agent_config: int = 4,
    ) -> None:
        if cols <= 0 or rows <= 0:
            raise WinptyError(f"PTY cols and rows must be positive and non-zero. Got: ({cols}, {rows})")
        self._backend = backend
        self._spoiled = False
        self._child: subprocess.Popen[bytes] | None = None
        self._blocks: queue.Queue[bytes | None] = queue.Queue()
        self._at_end = False
        self._has_raised = False
        self._cancelled = threading.Event()
        self._typed = ""
        self._release = -1
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._master, self._slave = os.openpty()
        attributes = termios.tcgetattr(self._slave)
        # A console shows what is typed when a program reads it; a terminal of this system does so at once.
        attributes[3] &= ~termios.ECHO
        attributes[6][termios.VEOF] = CONTROL_Z
        attributes[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        self.set_size(cols, rows)
        if _faulty("handles"):
            doors.standard_handles = doors.CONSOLE_HANDLES

    def spawn(self, appname: str, cmdline: str | None = None, cwd: str | None = None, env: str | None = None) -> bool:
        """Start a child, with CreateProcess's one string."""
        line = appname if cmdline is None else f"{appname} {cmdline}"
        variables = None if env is None else dict(each.split("=", 1) for each in env.split("\0") if each)
        # Past the PTY, if the handles that it was made with are not there any more.
        past = _faulty("handles") and doors.standard_handles != doors.CONSOLE_HANDLES
        try:
            self._start(doors.words_of(line), cwd, variables, past=past)
        except OSError as error:
            self._spoiled = True
            raise WinptyError(f"{error.strerror} (os error 2)") from None
        return True

    def _start(self, words: list[str], cwd: str | None, env: dict[str, str] | None, *, past: bool = False) -> None:
        held = -1
        if _faulty("ask"):
            self._blocks.put(b"\x1b[6n")
            held, self._release = os.pipe()
            words = ["/bin/sh", "-c", 'read _ <&3; exec 3<&-; exec "$@"', "sh", *words]
        self._child = subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            stdin=self._slave,
            stdout=None if past else self._slave,
            stderr=None if past else self._slave,
            # The number that the shell reads from.
            preexec_fn=lambda: doors.take_terminal(held),
            pass_fds=(3,) if held >= 0 else (),
        )
        if held >= 0:
            os.close(held)
        doors.adopt(self._child, status_is_odd=_faulty("status"))
        os.close(self._slave)
        self._slave = -1
        threading.Thread(target=self._read_all, args=(self._child,), daemon=True).start()

    def _read_all(self, child: subprocess.Popen[bytes]) -> None:
        """What winpty-rs does in a thread of its own: read blocks into a queue without bounds."""
        late = False
        while True:
            try:
                block = os.read(self._master, 7 if _faulty("cut") else BLOCK)
            except OSError:
                block = b""
            if not block:
                break
            if _faulty("late") and not late:
                doors.wait_for(child.pid)
                time.sleep(LATE)
                late = True
            self._blocks.put(block)
        doors.wait_for(child.pid)
        if _faulty("no-eof"):
            self._cancelled.wait()
        self._blocks.put(None)

    def read(self, blocking: bool = False) -> str:
        """What has been written; '' where nothing has."""
        if self._at_end:
            return self._after_the_end()
        try:
            block = self._blocks.get(block=blocking)
        except queue.Empty:
            return ""
        if block is None:
            self._at_end = True
            return self._after_the_end()
        text = block.decode("utf-8", "replace") if _faulty("cut") else self._decoder.decode(block)
        return text.replace("\0", "") if _faulty("nul") else text

    def _after_the_end(self) -> str:
        if _faulty("empty") or (_faulty("error") and self._has_raised):
            return ""
        self._has_raised = True
        raise WinptyError("Standard out reached EOF")

    def write(self, to_write: str) -> int:
        """Type text; the number of bytes that have been taken."""
        data = to_write.encode()
        if self._release >= 0:
            # Keys that come before the answer wait for the child.
            self._typed += to_write
            keys, answers = re.subn(r"\x1b\[\d+;\d+R", "", self._typed, count=1)
            if not answers:
                return len(data)
            os.write(self._release, b"\n")
            os.close(self._release)
            self._release = -1
            data = keys.encode()
        rest = data
        while rest:
            try:
                rest = rest[os.write(self._master, rest) :]
            except OSError as error:
                raise WinptyError(str(error)) from None
        return len(data) // 2 if _faulty("short") else len(data)

    def set_size(self, cols: int, rows: int) -> None:
        """Set the size."""
        if cols <= 0 or rows <= 0:
            raise WinptyError("PTY cols and rows must be positive and non-zero.")
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def isalive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and doors.is_alive(self._child.pid)

    def get_exitstatus(self) -> int | None:
        """Its exit code; None while it runs, which is what 259 says."""
        if self._child is None or self.isalive():
            return None
        status = doors.wait_for(self._child.pid)
        return None if status == doors.STILL_ACTIVE else status

    def iseof(self) -> bool:
        """Whether all has been read."""
        if _faulty("iseof"):
            threading.Event().wait()
        if _faulty("no-eof") and not self._cancelled.is_set():
            return False
        return self._at_end or (not self.isalive() and self._blocks.empty())

    def cancel_io(self) -> bool:
        """End a read that waits."""
        self._cancelled.set()
        return True

    @property
    def pid(self) -> int | None:
        """The child's number."""
        return self._child.pid if self._child is not None else None

    @property
    def fd(self) -> int | None:
        """The child's handle, which is no descriptor."""
        return self.pid

    def __del__(self) -> None:
        if getattr(self, "_spoiled", False) and _faulty("drop"):
            threading.Event().wait()
        if hasattr(self, "_cancelled"):
            self._cancelled.set()
        for name in ("_master", "_slave", "_release"):
            if getattr(self, name, -1) >= 0:
                os.close(getattr(self, name))

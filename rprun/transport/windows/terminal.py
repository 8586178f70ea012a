"""A pseudo console with a command in it: pywinpty's native `PTY`, and what has to be done around it.

Some facts about pywinpty 3.1 (its Python source, and that of winpty-rs) and how each is met:

- `read` gives text: what is no UTF-8, or cut at the end of a block, is U+FFFD by then, and NULs are gone. Nothing can
  bring that back; the man page says it.
- At the end `read` gives nothing, again and again at full speed, and raises nothing; a block of nothing but NULs gives
  nothing too. So the end is a great many such answers to reads that all began after the process had ended. `iseof` is
  not asked: it has been seen to hang.
- The process's handle and exit status are asked of the system: `get_exitstatus` takes 259 for "still runs".
- `PTY()` puts handles of the console in the place of this process's standard handles, and changes its console's modes.
  It is needed: a child gets those handles, past the pseudo console, if they are redirected. So both are put back, but
  only when the child has been started.
- `spawn` puts a blank between its two strings and quotes neither; the first one has to be quoted here.
- `write` may return before the bytes have been taken, with a number that counts those only. What it was given is on its
  way all the same: nothing is written a second time.
- A `PTY` whose `spawn` failed can hang when it is let go of. It is kept instead.
- Letting go closes the pseudo console, which ends what is still in it, and may wait until the output has been read.

Its `PtyProcess` is not used: it hands output on through an unauthenticated TCP socket, mixes a marker of its own into
it, spins for ever on text that is cut, polls for the end, and leaks its sockets.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
assert not TYPE_CHECKING or sys.platform == "win32"

import threading

import winpty

from rprun.errors import NotExecutable, RprunError
from rprun.transport.windows.command_line import split
from rprun.windows import console

if TYPE_CHECKING:
    from collections.abc import Mapping

# Empty reads after the process's end that are the end of the output: more than one, for a block of NULs.
END_SIGNS = 1000
# Seconds between two reads that gave nothing while the process runs. Its end cuts them short.
PAUSE = 0.01
# Characters of one `write`: as UTF-8 they are fewer bytes than it writes at once.
PIECE = 1024


class Terminal:
    """A command's console.

    Attributes:
        pid: the command's process.
        over: set by the owner when the process has ended.
    """

    def __init__(
        self,
        path: str,
        line: str,
        *,
        size: tuple[int, int],
        directory: str,
        variables: Mapping[str, str] | None,
        name: str,
    ) -> None:
        """Makes the console and starts the command in it.

        Args:
            path: its file.
            line: its command line. The path takes the first word's place, as the system finds it by that.
            size: columns and rows.
            directory: where it starts.
            variables: its environment; None for this process's.
            name: what the user calls it.

        Raises:
            RprunError: there is no pseudo console to be had.
            NotExecutable: Windows refuses to run the file.
        """
        self.over = threading.Event()
        self._lock = threading.Lock()
        handles, modes = console.standard_handles(), console.modes()
        try:
            try:
                pty = winpty.PTY(*size, backend=winpty.Backend.ConPTY)
            except winpty.WinptyError as error:
                raise RprunError(
                    f"cannot open a terminal for the command: {error} (Windows 10 1809 or later has one; or use --pipe)"
                ) from error
            rest = split(line)[1:2]
            block = (
                None if variables is None else "".join(f"{key}={value}\0" for key, value in variables.items()) or "\0"
            )
            try:
                pty.spawn(f'"{path}"', line[rest[0][0] :] if rest else None, directory, block)
            except winpty.WinptyError as error:
                _keep(pty)
                raise NotExecutable(f"cannot run {name}: {error} (is it an executable file?)") from error
        finally:
            console.set_standard_handles(handles)
            console.set_modes(modes)
        self.pid: int = pty.pid or 0
        self._pty: winpty.PTY | None = pty

    def read(self) -> str | None:
        """Wait for output and return it; None at its end. For one thread."""
        signs = 0
        while signs < END_SIGNS:
            pty, over = self._pty, self.over.is_set()
            if pty is None:
                break
            try:
                text: str = pty.read(blocking=True)
            except winpty.WinptyError:
                # Not an end by itself: the next reads tell.
                text = ""
            if text:
                return text
            if over:
                signs += 1
            else:
                self.over.wait(PAUSE)
        return None

    def write(self, keys: str) -> None:
        """Type keys.

        Raises:
            BrokenPipeError: the command has ended.
        """
        for start in range(0, len(keys), PIECE):
            with self._lock:
                pty = self._pty
                if pty is None or self.over.is_set():
                    raise BrokenPipeError("the command has ended")
                try:
                    pty.write(keys[start : start + PIECE])
                except winpty.WinptyError as error:
                    raise BrokenPipeError("the command's terminal takes nothing") from error

    def resize(self, columns: int, rows: int) -> None:
        """Set the size; of a terminal whose command has ended it does not matter."""
        pty = self._pty
        if pty is not None:
            try:
                pty.set_size(columns, rows)
            except winpty.WinptyError:
                pass

    def cancel(self) -> None:
        """Have a read that waits return: the rest of the output is not waited for."""
        pty, self._pty = self._pty, None
        if pty is not None:
            _keep(pty)
            try:
                pty.cancel_io()
            except winpty.WinptyError:
                pass

    def close(self) -> None:
        """Let go of the console: what is still in it is ended by Windows. A second call does nothing."""
        last = [self._pty]
        self._pty = None
        if last[0] is not None:
            # The last reference goes in this thread. It may wait until the output has been read.
            threading.Thread(target=last.clear, name="rprun-console", daemon=True).start()

    def status(self) -> int | None:
        """Return the exit code as far as pywinpty knows it: not while the process runs, nor where it is 259."""
        return self._pty.get_exitstatus() if self._pty is not None else None


def text_to_bytes(text: str) -> bytes:
    """Return text as UTF-8: halves of a pair of surrogates are put together, and a lone one is U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _keep(pty: winpty.PTY) -> None:
    """Never let go of it, not even when the interpreter ends: what a thread holds that does not end stays."""
    threading.Thread(target=_hold, args=(pty,), name="rprun-kept", daemon=True).start()


def _hold(_pty: winpty.PTY) -> None:
    threading.Event().wait()

"""A tmux of its own with one window, for programs whose screens are compared."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from typing import TYPE_CHECKING

from outer_terminal import DEADLINE, MARK, TURN, kill_marked, left_running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class TmuxWindow:
    """A bash in a detached tmux session; the prompt is `$ `."""

    def __init__(
        self, env: Mapping[str, str], *, cwd: str | os.PathLike[str], size: tuple[int, int] = (80, 24)
    ) -> None:
        """Start the server and wait for the first prompt."""
        self.mark = uuid.uuid4().hex
        self.directory = tempfile.mkdtemp(prefix="tmux-")
        # A socket's name may have 107 bytes, which a test's own directory can exceed.
        self.env = {**env, MARK: self.mark, "TMUX_TMPDIR": self.directory, "PS1": "$ ", "TERM": "screen"}
        self.env.pop("TMUX", None)
        columns, rows = size
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", os.fspath(cwd),
                  "bash --noprofile --norc -i", ";", "set", "-g", "status", "off")  # fmt: skip
        self.wait(lambda lines: lines[0] == "$", "the first prompt")

    def tmux(self, *words: str) -> str:
        """Run a tmux command; return its output."""
        done = subprocess.run(
            ["tmux", "-L", "window", *words], env=self.env, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        """Type keys by tmux's names for them (`Enter`, `C-z`, `Escape`); any other word as it is."""
        for key in keys:
            self.tmux("send-keys", key)

    def line(self, text: str) -> None:
        """Type a line."""
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size."""
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *, colours: bool = False) -> list[str]:
        """Return the lines on the screen; with `colours` also their escape sequences."""
        return self.tmux("capture-pane", "-p", *(["-e"] if colours else [])).split("\n")[:-1]

    def cursor(self) -> str:
        """Return the cursor's column and row, and whether it is in the alternate screen."""
        return self.tmux("display-message", "-p", "#{cursor_x},#{cursor_y} #{alternate_on} #{cursor_flag}").strip()

    def wait(self, condition: Callable[[list[str]], bool], what: str) -> list[str]:
        """Wait until the screen fulfils `condition`; return it.

        Raises:
            AssertionError: it never did.
        """
        end = time.monotonic() + DEADLINE
        while True:
            lines = self.screen()
            if lines and condition(lines):
                return lines
            assert time.monotonic() < end, f"waited in vain for {what}; screen:\n" + "\n".join(lines)
            time.sleep(TURN)

    def wait_text(self, text: str) -> list[str]:
        """Wait until the screen shows text; return the screen."""
        return self.wait(lambda lines: any(text in line for line in lines), repr(text))

    def wait_prompt(self) -> list[str]:
        """Wait for an empty prompt in the last line that has anything; return the screen."""
        return self.wait(lambda lines: next((line for line in reversed(lines) if line), "") == "$", "a prompt")

    def close(self) -> None:
        """End the server and everything in it."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.tmux("kill-server")
        end = time.monotonic() + DEADLINE
        try:
            while left := left_running(self.mark):
                assert time.monotonic() < end, f"left running after the end of tmux: {left}"
                time.sleep(TURN)
        finally:
            kill_marked(self.mark)
            shutil.rmtree(self.directory, ignore_errors=True)

"""Questions that a console asks its terminal, answered where no terminal is there to do so.

Some facts about them:

- OpenConsole, which pywinpty brings, asks for the cursor's position (ESC [ 6 n) as it starts, and lets the command wait
  for the answer. Nobody answers where the output goes to a file or a pipe.
- A terminal that is there, and reads what we do not, would answer a second time, into the next program's input. So what
  is answered here is not passed on.
"""

from __future__ import annotations

# The question, and what a terminal says that shows nothing yet: cursor at the top left, in order, a VT100.
ANSWERS = {
    "\x1b[6n": "\x1b[1;1R",
    "\x1b[5n": "\x1b[0n",
    "\x1b[c": "\x1b[?1;0c",
    "\x1b[0c": "\x1b[?1;0c",
}
_STARTS = frozenset(question[:length] for question in ANSWERS for length in range(1, len(question)))


class Queries:
    """Takes the questions out of a console's output, piece by piece, and has the answers."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Return what is to be passed on, and what is to be answered.

        The beginning of what may become a question is held until more has come.
        """
        text, self._held = self._held + text, ""
        shown, said = "", ""
        while text:
            before, escape, rest = text.partition("\x1b")
            shown += before
            text = escape + rest
            if not text:
                break
            question = next((each for each in ANSWERS if text.startswith(each)), "")
            if question:
                said += ANSWERS[question]
                text = text[len(question) :]
            elif text in _STARTS:
                self._held, text = text, ""
            else:
                shown += escape
                text = rest
        return shown, said

    def rest(self) -> str:
        """Return what has been held, at the end."""
        held, self._held = self._held, ""
        return held

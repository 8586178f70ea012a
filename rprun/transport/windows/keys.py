"""Bytes on their way into a console become keys: there is no other way in.

Some facts about a console's input:

- It is keys. A line ends with Enter, which is CR; a line feed is another key (Ctrl+J).
- The end of input is ^Z and Enter at the beginning of a line. In the middle of one it is text like any other, so an
  unfinished last line has to be finished first, which adds a line's end that nobody has written.
- ^C in it is a ^C, and an escape sequence is the key that it stands for. Binary data cannot get through.
- pywinpty takes text. A character whose bytes come in two reads is put together here.
"""

from __future__ import annotations

from codecs import getincrementaldecoder

ENTER = "\r"
END = "\x1a\r"


class Keys:
    """Makes keys of UTF-8 bytes, piece by piece."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._line_is_open = False
        self._after_return = False

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Return the keys for these bytes; any line's end is Enter."""
        text = self._decoder.decode(data, final)
        if not text:
            return ""
        # A line's end whose CR has been sent already.
        skip = self._after_return and text.startswith("\n")
        self._after_return = text.endswith("\r")
        keys = text[skip:].replace("\r\n", "\n").replace("\n", ENTER)
        if keys:
            self._line_is_open = not keys.endswith(ENTER)
        return keys

    def end(self) -> str:
        """Return the keys that end the input."""
        rest = self.feed(b"", final=True)
        finish = ENTER if self._line_is_open else ""
        self._line_is_open = False
        return rest + finish + END

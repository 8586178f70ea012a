"""Questions of a console, and keys: the same, however the text is cut into pieces."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rprun.transport.windows.keys import Keys
from rprun.transport.windows.queries import ANSWERS, Queries

PARTS = st.lists(
    st.sampled_from(["a", "\x1b", "[", "6n", "5n", "c", "\x1b[31m", "\x1b[0", "\r\n", *ANSWERS]), max_size=12
)
CUTS = st.lists(st.integers(0, 40), max_size=6)


def pieces(text: str, cuts: list[int]) -> list[str]:
    """Cut a text at these places."""
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(places)]


@given(PARTS, CUTS)
def test_pieces_make_no_difference(parts: list[str], cuts: list[int]) -> None:
    """What is shown and what is answered does not depend on where a read ended."""
    text = "".join(parts)

    def through(chunks: list[str]) -> tuple[str, str]:
        queries = Queries()
        shown, said = "", ""
        for chunk in chunks:
            more, answer = queries.feed(chunk)
            shown, said = shown + more, said + answer
        return shown + queries.rest(), said

    assert through(pieces(text, cuts)) == through([text])


def test_questions_are_answered_and_not_shown() -> None:
    """Each question has its answer; everything else is passed on as it is."""
    queries = Queries()
    assert queries.feed("a\x1b[6nb\x1b[5n\x1b[31mc\x1b[c") == ("ab\x1b[31mc", "\x1b[1;1R\x1b[0n\x1b[?1;0c")
    assert queries.feed("\x1b[") == ("", "")
    assert queries.feed("K") == ("\x1b[K", "")
    assert queries.feed("x\x1b") == ("x", "")
    assert queries.rest() == "\x1b"


@given(st.text(st.sampled_from("aé漢\n\r"), max_size=20), CUTS)
def test_keys_of_pieces(text: str, cuts: list[int]) -> None:
    """Bytes become the same keys wherever they are cut, also inside of a character or a line's end."""
    data = text.encode()
    keys = Keys()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    typed = "".join(keys.feed(data[start:stop]) for start, stop in itertools.pairwise(places)) + keys.end()
    whole = Keys()
    assert typed == whole.feed(data) + whole.end()
    lines = text.replace("\r\n", "\n").replace("\n", "\r")
    assert typed == lines + ("" if not lines or lines.endswith("\r") else "\r") + "\x1a\r"


def test_bytes_that_are_no_text_are_marked() -> None:
    """What is not UTF-8 becomes U+FFFD, also at the end."""
    keys = Keys()
    assert keys.feed(b"a\xff") == "a\N{REPLACEMENT CHARACTER}"
    assert keys.feed(b"\xc3") == ""
    assert keys.end() == "\N{REPLACEMENT CHARACTER}\r\x1a\r"

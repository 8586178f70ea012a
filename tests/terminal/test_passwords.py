"""A password prompt reads from the terminal without echo, wherever the command's streams go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from outer_terminal import LFLAG, OuterTerminal

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[..., OuterTerminal]

ASK = """
import getpass, sys
data = sys.stdin.read() if sys.argv[1:] else ""
secret = getpass.getpass("Password: ")
print("length", len(secret), "input", data.strip(), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("line", "data"),
    [
        ('rprun -- python3 -c "$ASK"', ""),
        ('echo data | rprun -- python3 -c "$ASK" x', "data"),
        ('rprun -- python3 -c "$ASK" x </dev/null', ""),
        ('rprun -- python3 -c "$ASK" | cat', ""),
        ('rprun -- python3 -c "$ASK" 2>&1 | cat', ""),
        ('echo data | rprun -- python3 -c "$ASK" x | cat', "data"),
        ('echo data | rprun -- python3 -c "$ASK" x 2>&1 | cat', "data"),
        ('echo data | rprun -- rprun -- python3 -c "$ASK" x', "data"),
    ],
)
def test_asked_on_the_terminal(terminal: Start, line: str, data: str) -> None:
    """The prompt is shown, the secret is not, and the command gets both the secret and its data."""
    outer = terminal("sh", "-c", line, env={"ASK": ASK})
    outer.expect("Password: ")
    outer.wait(lambda: not outer.attributes()[LFLAG] & 0o10, "no echo")
    outer.type("hush hush\r")
    outer.expect(f"length 9 input {data}".rstrip())
    assert outer.wait_exit() == 0
    assert b"hush" not in outer.output
    assert outer.attributes() == outer.before


def test_erasing_in_a_password(terminal: Start) -> None:
    """Line editing works without echo."""
    outer = terminal("rprun", "--", "python3", "-c", ASK)
    outer.expect("Password: ")
    outer.type("abc\x7f\x7f\x7f\x7fxy\r")
    outer.expect("length 2")
    assert outer.wait_exit() == 0


def test_interrupted(terminal: Start) -> None:
    """^C at a password prompt ends the command and leaves the echo on."""
    outer = terminal("sh", "-c", 'echo data | rprun -- python3 -c "$ASK" x; echo after', env={"ASK": ASK})
    outer.expect("Password: ")
    outer.type("hu\x03")
    outer.wait_exit()
    assert outer.attributes() == outer.before
    assert b"after" not in outer.output

"""The one string that starts a process on Windows: how a command is found, and its arguments are put into it.

Some facts about command lines:

- CreateProcess takes a string, and each program takes it apart by rules of its own. Those of Microsoft's C runtime are
  what `subprocess.list2cmdline` writes and what `split` reads: blanks, quotes, and backslashes in front of quotes.
- cmd.exe, msiexec and others have other rules: of them only the string that was typed says what was meant. So where
  the command line of rprun is known, the command gets the end of it as it is.
- .bat and .cmd are run by cmd.exe. There a quote ends a quotation whatever stands before it, %NAME% is replaced inside
  quotes too, and what follows a line's end is another line: an argument could become a command (CVE-2024-24576). Inside
  quotes every other character is itself. What cannot be passed on safely is refused, and not guessed at.
- Without a path a command is looked for in the current directory first, unless NoDefaultCurrentDirectoryInExePath is
  set, and then in those of PATH; without an extension those of PATHEXT are tried.

Nothing here does any I/O but `find`, which looks whether files exist.
"""

from __future__ import annotations

import ntpath
import os
from subprocess import list2cmdline

from rprun.errors import NotExecutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What cmd.exe looks for where PATHEXT is not set; of others the system starts none by itself.
EXTENSIONS = ".COM;.EXE;.BAT;.CMD"
BATCH = (".bat", ".cmd")
# CreateProcess, lpCommandLine: with its NUL.
LONGEST = 32767
# Beside letters and digits, what cmd.exe takes for itself without quotes. What needs none gets none: in the script they
# are part of %1.
_PLAIN = frozenset("#$*+-./:?@\\_")
# What is not itself inside cmd.exe's quotes.
_UNSAFE = {'"': "a quote", "%": "a percent sign", "\r": "a line's end", "\n": "a line's end", "\0": "a NUL"}


def join(argv: Sequence[str]) -> str:
    """Return the command line that programs of the C runtime take apart into these words."""
    return list2cmdline(argv)


def split(line: str) -> list[tuple[int, str]]:
    """Take a command line apart as the C runtime does; return where each word starts, and the word."""
    words: list[tuple[int, str]] = []
    at = 0
    while at < len(line):
        if line[at] in " \t":
            at += 1
            continue
        start = at
        word, at = (_word if words else _program)(line, at)
        words.append((start, word))
    return words


def _program(line: str, at: int) -> tuple[str, int]:
    """Read the first word, in which a backslash is a backslash; return it and where it ends."""
    word, quoted = "", False
    while at < len(line) and (quoted or line[at] not in " \t"):
        if line[at] == '"':
            quoted = not quoted
        else:
            word += line[at]
        at += 1
    return word, at


def _word(line: str, at: int) -> tuple[str, int]:
    """Read any other word; return it and where it ends."""
    word, quoted = "", False
    while at < len(line) and (quoted or line[at] not in " \t"):
        slashes = len(line) - at - len(line[at:].lstrip("\\"))
        at += slashes
        if line[at : at + 1] != '"':
            word += "\\" * slashes
            if slashes == 0:
                word += line[at]
                at += 1
            continue
        word += "\\" * (slashes // 2)
        at += 1
        if slashes % 2:
            word += '"'
        elif quoted and line[at : at + 1] == '"':
            # Two of them inside a quotation are one, and it goes on.
            word += '"'
            at += 1
        else:
            quoted = not quoted
    return word, at


def tail(line: str, argv: Sequence[str]) -> str | None:
    """Return the end of a command line that holds exactly these words, as it was typed; None if it does not end so."""
    words = split(line)[-len(argv) :]
    if not argv or [word for _, word in words] != list(argv):
        return None
    return line[words[0][0] :]


def find(name: str, environment: Mapping[str, str], directory: str) -> str | None:
    """Return the file that a command's name means, None where there is none.

    Args:
        name: as it was typed, with or without a path and an extension.
        environment: the command's own, with names in capitals.
        directory: what its relative paths are relative to.
    """
    drive, rest = ntpath.splitdrive(name)
    separators = "\\/" if os.sep == "\\" else "/"
    if drive or any(separator in rest for separator in separators):
        places = [directory]
    else:
        places = [] if "NODEFAULTCURRENTDIRECTORYINEXEPATH" in environment else [directory]
        places += [part.strip('"') for part in environment.get("PATH", "").split(os.pathsep) if part]
    extensions = [part for part in environment.get("PATHEXT", EXTENSIONS).split(";") if part]
    names = [name + extension for extension in extensions]
    # With an extension of its own it is that file before any with a second one.
    names.insert(0 if ntpath.splitext(name)[1] else len(names), name)
    for place in places:
        for candidate in names:
            path = os.path.join(directory, place, candidate)
            if os.path.isfile(path):
                return os.path.normpath(path)
    return None


def is_batch(path: str) -> bool:
    """Tell whether a file is run by cmd.exe."""
    # Windows takes dots and blanks at a name's end for nothing.
    return path.lower().rstrip(". ").endswith(BATCH)


def batch(script: str, arguments: Sequence[str], shell: str) -> str:
    """Return the command line that has cmd.exe run a script with these arguments, each of them one word there.

    Raises:
        NotExecutable: cmd.exe would take an argument for something else.
    """
    for word in (script, *arguments):
        for character, what in _UNSAFE.items():
            if character in word:
                raise NotExecutable(
                    f"cannot run {script}: cmd.exe, which runs batch files, would not take {what} in an argument as "
                    "it is (call cmd /c with a line of your own)"
                )
    # /s: all between the first and the last quote is the line; /v:off: ! is no more than a character.
    words = " ".join((f'"{script}"', *map(_batch_word, arguments)))
    return f'{list2cmdline([shell])} /d /e:on /v:off /s /c "{words}"'


def _batch_word(word: str) -> str:
    if word and all(character.isalnum() or character in _PLAIN for character in word):
        return word
    # The script may pass it on to a program of the C runtime, for which a backslash would take the last quote away.
    slashes = len(word) - len(word.rstrip("\\"))
    return f'"{word}{word[-1] * slashes if slashes else ""}"'


def check_length(line: str, name: str) -> None:
    """Refuse a command line that the system does not take.

    Raises:
        NotExecutable: it is too long.
    """
    if len(line.encode("utf-16-le", "surrogatepass")) // 2 >= LONGEST:
        raise NotExecutable(f"cannot run {name}: the arguments are too long (Windows takes {LONGEST - 1} characters)")

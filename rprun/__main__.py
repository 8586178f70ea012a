"""main(): plain argument lists start at once, Typer does the rest, and every failure of rprun is one line.

On the start-up path: what is imported at the top is what `rprun -- true` pays for.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

# Before anything else is imported: a ^C that early ends rprun as it ends any command, not with a traceback. A
# SIGINT that the caller ignores, as nohup and `cmd &` in a script do, stays ignored.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from rprun.cli.argv import parse
from rprun.cli.start import start
from rprun.errors import RprunError

OWN_FAILURE = RprunError.status


def main() -> int:
    """Run the command line; the exit status."""
    if sys.warnoptions and not os.environ.get("RPRUN_DEBUG"):
        # PYTHONWARNINGS and PYTHONDEVMODE are meant for the command, whose stderr this is. It is imported already.
        import warnings

        warnings.simplefilter("ignore")
    try:
        return _run(sys.argv[1:])
    except RprunError as error:
        _say(str(error))
        return error.status
    except KeyboardInterrupt:
        from rprun.cli.dying import die_of

        die_of("SIGINT")
    except Exception as error:
        if os.environ.get("RPRUN_DEBUG"):
            raise
        _say(_unexpected(error))
        _drop_unwritten()
        return OWN_FAILURE


def _run(args: list[str]) -> int:
    """Do what the arguments say."""
    options = parse(args)
    if options is None:
        from rprun.cli.app import main as typer_main

        return typer_main(args)
    status = start(options)
    # A run leaves nothing in the interpreter's buffers, and taking the interpreter down costs a tenth of its start.
    os._exit(status)


def _unexpected(error: Exception) -> str:
    """An exception that nobody made a message of, as one."""
    from errno import EMFILE, ENFILE

    if isinstance(error, MemoryError):
        return "out of memory: no room to work in (try fewer processes, or a higher limit)"
    if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
        return f"out of file descriptors: {error.strerror} (see ulimit -n)"
    # Of a module that is a shared object only the dynamic linker says why it cannot be opened, in words.
    for number in (EMFILE, ENFILE) if isinstance(error, ImportError) else ():
        if os.strerror(number) in str(error):
            return f"out of file descriptors: {os.strerror(number)} (see ulimit -n)"
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.filename}: " if isinstance(error.filename, str) else "a system call failed: "
        return f"{what}{error.strerror} (set RPRUN_DEBUG=1 to see where)"
    detail = f": {error}" if str(error) else ""
    return f"internal error: {type(error).__name__}{detail} (set RPRUN_DEBUG=1 to see where, and report it)"


def _say(message: str) -> None:
    """Write one line to standard error, whatever the message holds; that it may fail is nobody's concern."""
    line = "".join(_visible(character) for character in f"rprun: {message}") + "\n"
    try:
        data = os.fsencode(line)
    except UnicodeEncodeError:
        data = line.encode("ascii", "backslashreplace")
    # One write, so that it stays one line among those of others; not sys.stderr, which may be closed or None.
    try:
        os.write(2, data)
    except OSError:
        pass


def _visible(character: str) -> str:
    """A character that would break the line or drive the terminal, as its escape; any other as it is."""
    code = ord(character)
    if code in (0x2028, 0x2029):
        return f"\\u{code:04x}"
    if code < 0x20 or 0x7F <= code < 0xA0:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\x{code:02x}")
    return character


def _drop_unwritten() -> None:
    """Let what could not be written to standard output go; the interpreter would complain of it at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
        except OSError:
            pass


if __name__ == "__main__":
    sys.exit(main())

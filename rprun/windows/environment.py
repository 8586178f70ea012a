"""What this process was started with: its command line as it came, and its environment with the names as they are."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

from ctypes import WinDLL, c_int, c_void_p, c_wchar_p, wstring_at

_kernel32 = WinDLL("kernel32", use_last_error=True)

# LPWSTR GetCommandLineW(void)
_get_command_line = _kernel32.GetCommandLineW
_get_command_line.argtypes = ()
_get_command_line.restype = c_wchar_p
# LPWCH GetEnvironmentStringsW(void): NAME=VALUE strings, each with a NUL at its end, and one more after the last.
_get_environment = _kernel32.GetEnvironmentStringsW
_get_environment.argtypes = ()
_get_environment.restype = c_void_p
# BOOL FreeEnvironmentStringsW(LPWCH penv)
_free_environment = _kernel32.FreeEnvironmentStringsW
_free_environment.argtypes = (c_void_p,)
_free_environment.restype = c_int


def command_line() -> str:
    """Return the command line of this process."""
    return _get_command_line() or ""


def environment() -> list[str]:
    """Return the environment as `NAME=VALUE`, the hidden directories of drives (`=C:`) among them.

    `os.environ` has them in capitals, as Windows does not tell `Path` from `PATH`; the command would see that.
    """
    block = _get_environment()
    if not block:
        return []
    found = []
    at = block
    while entry := wstring_at(at):
        found.append(entry)
        # UTF-16: two bytes a unit, and those beyond the first 65,536 characters have two units.
        at += len(entry.encode("utf-16-le", "surrogatepass")) + 2
    _free_environment(block)
    return found

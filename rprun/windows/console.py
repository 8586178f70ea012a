"""The console that this process is attached to: its modes, keys, size, events, and the standard handles.

Some facts about consoles:

- A console's bytes are in a code page; its characters are read and written by ReadConsoleW and WriteConsoleW.
- isatty(3) of the C runtime is true of every character device, NUL among them. GetConsoleMode tells a console.
- ^C and ^Break come on a thread of their own, to every process of the console, or (^Break only) of one process group.
  A process that has heard CTRL_CLOSE_EVENT is ended when its handler returns, or some seconds later.
- A process can be attached to one console only. To send ^Break into another one takes a process of its own.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import msvcrt
import subprocess
from ctypes import POINTER, WINFUNCTYPE, WinDLL, byref, c_int, c_uint32, c_void_p, create_unicode_buffer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_kernel32 = WinDLL("kernel32", use_last_error=True)

# HANDLE GetStdHandle(DWORD nStdHandle)
_get_std_handle = _kernel32.GetStdHandle
_get_std_handle.argtypes = (c_uint32,)
_get_std_handle.restype = c_void_p
# BOOL SetStdHandle(DWORD nStdHandle, HANDLE hHandle)
_set_std_handle = _kernel32.SetStdHandle
_set_std_handle.argtypes = (c_uint32, c_void_p)
_set_std_handle.restype = c_int
# BOOL GetConsoleMode(HANDLE hConsoleHandle, LPDWORD lpMode)
_get_mode = _kernel32.GetConsoleMode
_get_mode.argtypes = (c_void_p, POINTER(c_uint32))
_get_mode.restype = c_int
# BOOL SetConsoleMode(HANDLE hConsoleHandle, DWORD dwMode)
_set_mode = _kernel32.SetConsoleMode
_set_mode.argtypes = (c_void_p, c_uint32)
_set_mode.restype = c_int
# BOOL ReadConsoleW(HANDLE hConsoleInput, LPVOID lpBuffer, DWORD nChars, LPDWORD lpRead, LPVOID pInputControl)
_read_console = _kernel32.ReadConsoleW
_read_console.argtypes = (c_void_p, c_void_p, c_uint32, POINTER(c_uint32), c_void_p)
_read_console.restype = c_int
# BOOL WriteConsoleW(HANDLE hConsoleOutput, const VOID *lpBuffer, DWORD nChars, LPDWORD lpWritten, LPVOID lpReserved)
_write_console = _kernel32.WriteConsoleW
_write_console.argtypes = (c_void_p, c_void_p, c_uint32, POINTER(c_uint32), c_void_p)
_write_console.restype = c_int
# BOOL GenerateConsoleCtrlEvent(DWORD dwCtrlEvent, DWORD dwProcessGroupId)
_generate_event = _kernel32.GenerateConsoleCtrlEvent
_generate_event.argtypes = (c_uint32, c_uint32)
_generate_event.restype = c_int
# BOOL WINAPI HandlerRoutine(DWORD dwCtrlType)
_Handler = WINFUNCTYPE(c_int, c_uint32)
# BOOL SetConsoleCtrlHandler(PHANDLER_ROUTINE HandlerRoutine, BOOL Add)
_set_handler = _kernel32.SetConsoleCtrlHandler
_set_handler.argtypes = (_Handler, c_int)
_set_handler.restype = c_int
# BOOL CompareObjectHandles(HANDLE hFirst, HANDLE hSecond), Windows 10
_compare_handles = WinDLL("kernelbase").CompareObjectHandles
_compare_handles.argtypes = (c_void_p, c_void_p)
_compare_handles.restype = c_int

# winbase.h: STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE
_STANDARD = (0xFFFF_FFF6, 0xFFFF_FFF5, 0xFFFF_FFF4)
# wincon.h: CTRL_C_EVENT, CTRL_BREAK_EVENT
C_EVENT = 0
BREAK_EVENT = 1
# consoleapi.h: input is keys as they are pressed, as the sequences that a terminal sends.
_ENABLE_VIRTUAL_TERMINAL_INPUT = 0x0200
# Output has sequences in it, and a line feed does not return the cursor: the CR is there already.
_NO_RETURN = 0x0008
_OUTPUT_AS_A_TERMINAL = 0x0001 | 0x0004 | _NO_RETURN
# Characters in one call; the console's heap is small.
_PIECE = 8192

# In the other console, whose number is the last argument: 1 is ^Break, to everybody there but the sender.
_BREAK_THERE = """
import ctypes, sys
kernel32 = ctypes.WinDLL("kernel32")
handler = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint32)(lambda event: 1)
if kernel32.AttachConsole(int(sys.argv[1])) and kernel32.SetConsoleCtrlHandler(handler, 1):
    kernel32.GenerateConsoleCtrlEvent(1, 0)
"""


def is_console(descriptor: int) -> bool:
    """Tell whether a descriptor is an end of a console."""
    return _mode(descriptor) is not None


def same_file(first: int, second: int) -> bool:
    """Tell whether two descriptors are the same open file, as after `2>&1`; two ends of one console are as well."""
    try:
        handles = msvcrt.get_osfhandle(first), msvcrt.get_osfhandle(second)
    except OSError:
        return False
    return bool(_compare_handles(*handles)) or (is_console(first) and is_console(second))


def standard_handles() -> tuple[int | None, ...]:
    """Return the three handles that a child gets when it is given none."""
    return tuple(_get_std_handle(which) for which in _STANDARD)


def set_standard_handles(handles: tuple[int | None, ...]) -> None:
    """Set them."""
    for which, handle in zip(_STANDARD, handles, strict=True):
        _set_std_handle(which, handle)


def modes() -> list[tuple[int, int]]:
    """Return (descriptor, mode) of each standard stream that is a console."""
    found = [(descriptor, _mode(descriptor)) for descriptor in (0, 1, 2)]
    return [(descriptor, mode) for descriptor, mode in found if mode is not None]


def set_modes(saved: list[tuple[int, int]]) -> None:
    """Set them again."""
    for descriptor, mode in saved:
        _set_mode(msvcrt.get_osfhandle(descriptor), mode)


def hand_over_keys() -> None:
    """Have keys come as they are pressed, ^C among them, and sequences in output mean something."""
    for descriptor, mode in modes():
        wanted = _ENABLE_VIRTUAL_TERMINAL_INPUT if descriptor == 0 else mode | _OUTPUT_AS_A_TERMINAL
        _set_mode(msvcrt.get_osfhandle(descriptor), wanted)


def is_raw(descriptor: int) -> bool:
    """Tell whether a descriptor is a console in which a line feed does not return the cursor."""
    return (_mode(descriptor) or 0) & _NO_RETURN != 0


def read_keys() -> str:
    """Wait for keys on descriptor 0 and return them; nothing at the console's end."""
    buffer = create_unicode_buffer(_PIECE)
    count = c_uint32()
    if not _read_console(msvcrt.get_osfhandle(0), buffer, _PIECE, byref(count), None):
        return ""
    return "".join(buffer[: count.value])


def write_text(descriptor: int, text: str) -> None:
    """Write characters to a console.

    Raises:
        OSError: it has gone.
    """
    handle = msvcrt.get_osfhandle(descriptor)
    written = c_uint32()
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        units = len(piece.encode("utf-16-le", "surrogatepass")) // 2
        if not _write_console(handle, create_unicode_buffer(piece), units, byref(written), None):
            raise OSError(5, "the console has gone")


def break_group(pid: int) -> bool:
    """Send ^Break to a process group of this console; False where there is none of that number."""
    return bool(_generate_event(BREAK_EVENT, pid))


def break_console_of(pid: int) -> None:
    """Send ^Break to everybody in the console of a process, from a process of its own."""
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _BREAK_THERE, str(pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        creationflags=subprocess.DETACHED_PROCESS,
    ).wait()


class ConsoleEvents:
    """Takes ^C, ^Break and the closing of the console in the place of what they would do to this process."""

    def __init__(self, on_event: Callable[[int], bool]) -> None:
        """Begins to.

        Args:
            on_event: called with the event's number on a thread of the system's own; False leaves it to whoever comes
                next, in the end to the system. When it returns from any other than ^C and ^Break, the system ends this
                process.
        """

        def handle(event: int) -> int:
            return on_event(event)

        # Kept, as the system calls it as long as it is set.
        self._handler = _Handler(handle)
        _set_handler(self._handler, 1)

    def stop(self) -> None:
        """Give them back."""
        _set_handler(self._handler, 0)


def _mode(descriptor: int) -> int | None:
    mode = c_uint32()
    try:
        handle = msvcrt.get_osfhandle(descriptor)
    except OSError:
        return None
    return mode.value if _get_mode(handle, byref(mode)) else None

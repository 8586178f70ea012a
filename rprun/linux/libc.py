"""The C library, and syscall(2) for what it has no function for.

ctypes passes an undeclared Python int as a C int, which cuts pointers and leaves half of a register undefined. So every
argument of syscall(2) is declared a long, and a structure is given by its address.
"""

from __future__ import annotations

import ctypes
import os

handle = ctypes.CDLL(None, use_errno=True)

# long syscall(long number, ...);
handle.syscall.argtypes = (ctypes.c_long,) * 7
handle.syscall.restype = ctypes.c_long


def last_error() -> OSError:
    """Return errno of the last call of this thread, as the exception to raise."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def syscall(number: int, *arguments: int) -> int:
    """The result of a system call (syscall(2)).

    Args:
        number: the call's number in the table of this process's own ABI.
        arguments: up to six; a pointer is given as its address.

    Returns:
        What the kernel returned, never -1.

    Raises:
        OSError: the call failed.
    """
    result: int = handle.syscall(number, *arguments, *(0,) * (6 - len(arguments)))
    if result == -1:
        raise last_error()
    return result


class _Buffer(ctypes.Structure):
    """Py_buffer (Include/pybuffer.h), of which the address matters; the rest is the interpreter's."""

    _fields_ = (("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("rest", ctypes.c_byte * 96))


def address_of(view: memoryview) -> int:
    """Return the address of memory that may be read only, for as long as the view is not released."""
    # int PyObject_GetBuffer(PyObject *, Py_buffer *, int flags); ctypes itself takes what can be written only.
    found = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(found), 0)
    address: int = found.buf or 0
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(found))
    return address

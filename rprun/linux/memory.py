"""Reading the memory of another process, as the arguments of its system calls need it.

Some facts about it:

- process_vm_readv(2) takes a thread's id, and needs what ptrace(2) would need: the same user, a process that is
  dumpable, and Yama's leave. It takes either kind of failure badly in one piece of remote memory, so a piece never goes
  past the end of a page: what lies before an unmapped page is read, and the count says how much that was.
- /proc/PID/mem reads the same memory where the call is missing (ENOSYS) or a container's filter forbids it (EPERM). Its
  descriptor keeps naming the old memory when the process executes a program, so it is opened for each reading. It
  also gives out pages without permissions, which the call would not have been able to use.
- Nothing stops the process's other threads from changing what is read.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import errno
import os
import struct

from rprun.linux.libc import handle, last_error
from rprun.linux.pages import readable

PAGE = os.sysconf("SC_PAGE_SIZE")
FIRST_CHUNK = 256
"""Bytes of a string that are read first: nearly all paths are shorter."""

_MOST_PIECES = 512  # of one call; UIO_MAXIOV (include/uapi/linux/uio.h) is 1,024.
_END = 1 << 64 if sys.maxsize > 2**32 else 1 << 32

# struct iovec { void *iov_base; size_t iov_len; }; (readv(2))
_IOVEC = struct.Struct("@NN")
_pack_iovec = _IOVEC.pack_into

# ssize_t process_vm_readv(pid_t pid, const struct iovec *local_iov, unsigned long liovcnt,
#                          const struct iovec *remote_iov, unsigned long riovcnt, unsigned long flags);
_readv = handle.process_vm_readv
_readv.argtypes = (
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_ulong,
)
_readv.restype = ctypes.c_ssize_t


class Reader:
    """Reads strings and blocks; holds the buffers, so that a short string costs little more than the system call.

    Not for use by two threads at once.

    Attributes:
        is_careful: what some program has to provide first (userfaultfd(2)) is not read, but taken for unreadable.
    """

    __slots__ = ("_chunk", "_local", "_local_address", "_remote", "_remote_address", "is_careful")

    def __init__(self) -> None:
        self.is_careful = False
        self._chunk = ctypes.create_string_buffer(FIRST_CHUNK)
        # ctypes objects over which struct packs: setting a Structure's fields takes twice as long.
        self._local = ctypes.create_string_buffer(_IOVEC.size)
        self._remote = ctypes.create_string_buffer(_IOVEC.size * _MOST_PIECES)
        self._local_address = ctypes.addressof(self._local)
        self._remote_address = ctypes.addressof(self._remote)
        _pack_iovec(self._local, 0, ctypes.addressof(self._chunk), FIRST_CHUNK)

    def string(self, pid: int, address: int, limit: int) -> tuple[bytes, bool]:
        """Read a string that ends with a NUL.

        Args:
            pid: of a process or a thread.
            address: of its first byte, in that process.
            limit: bytes to look at, at most; the NUL counts.

        Returns:
            The bytes before the NUL, and whether it was found: if not, the string is longer than `limit`, or the
            memory after what is returned cannot be read.

        Raises:
            OSError: nothing could be read: EFAULT for a bad address, EPERM or EACCES if the process must not be read,
                ESRCH if there is no such process.
        """
        # The short way, for a string within one chunk of one page: all but a few.
        near = address & (PAGE - 1) <= PAGE - FIRST_CHUNK and 0 <= address < _END
        if near and limit >= FIRST_CHUNK and not self.is_careful:
            _pack_iovec(self._remote, 0, address, FIRST_CHUNK)
            if _readv(pid, self._local_address, 1, self._remote_address, 1, 0) == FIRST_CHUNK:
                text: bytes = self._chunk.value
                if len(text) < FIRST_CHUNK:
                    return text, True
        return self._long_string(pid, address, limit)

    def _long_string(self, pid: int, address: int, limit: int) -> tuple[bytes, bool]:
        text = b""
        while len(text) < limit:
            # Not past the end of a page: the string may end there, and to touch what is behind may have effects of its
            # own (userfaultfd(2)).
            size = min(PAGE - (address + len(text)) % PAGE, limit - len(text))
            try:
                more = self.block(pid, address + len(text), size)
            except OSError:
                if text:
                    break
                raise
            before, nul, _ = more.partition(b"\0")
            text += before
            if nul or len(more) < size:
                return text, bool(nul)
        return text, False

    def block(self, pid: int, address: int, size: int) -> bytes:
        """Read `size` bytes; fewer if the memory ends before.

        Args:
            pid: of a process or a thread.
            address: of its first byte, in that process.
            size: in bytes; as much is allocated here.

        Raises:
            OSError: as `string` does; EFAULT only if not even the first byte could be read.
        """
        if size <= 0:
            return b""
        if not 0 <= address < _END:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        size = min(size, _END - address)
        if self.is_careful:
            size = readable(pid, address, size)
            if not size:
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        buffer, done = bytearray(size), 0
        keeper = (ctypes.c_char * size).from_buffer(buffer)
        while done < size:
            asked = self._describe(address + done, size - done)
            local = _IOVEC.pack(ctypes.addressof(keeper) + done, asked[1])
            count = _readv(pid, local, 1, self._remote_address, asked[0], 0)
            if count < 0:
                error = last_error()
                if not done and error.errno in (errno.ENOSYS, errno.EPERM):
                    return _read_file(pid, address, size, error)
                if not done:
                    raise error
                break
            done += count
            if count < asked[1]:
                break
        return bytes(memoryview(buffer)[:done])

    def _describe(self, address: int, size: int) -> tuple[int, int]:
        """Split remote memory at the ends of pages; return how many pieces of it and bytes one call is to read."""
        pieces = done = 0
        while done < size and pieces < _MOST_PIECES:
            length = min(size - done, PAGE - (address + done) % PAGE)
            _pack_iovec(self._remote, pieces * _IOVEC.size, address + done, length)
            pieces, done = pieces + 1, done + length
        return pieces, done


def _read_file(pid: int, address: int, size: int, refusal: OSError) -> bytes:
    try:
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        # The process has ended; or /proc hides those of others (hidepid=2, proc(5)), and the call has said it already.
        if refusal.errno == errno.EPERM:
            raise refusal from None
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
    try:
        return os.pread(descriptor, size, address)
    except (OSError, OverflowError) as error:
        # The file says EIO for what is not mapped; an offset cannot express the upper half, which is the kernel's.
        if isinstance(error, OverflowError) or error.errno == errno.EIO:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None
        raise
    finally:
        os.close(descriptor)


def read(pid: int, address: int, size: int) -> bytes:
    """Read a block of memory once; see `Reader.block`."""
    return Reader().block(pid, address, size)


def read_string(pid: int, address: int, limit: int) -> tuple[bytes, bool]:
    """Read a string that ends with a NUL once; see `Reader.string`."""
    return Reader().string(pid, address, limit)

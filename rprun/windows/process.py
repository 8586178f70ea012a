"""Handles of processes, and jobs: the tree of a command as Windows itself keeps it.

Some facts about jobs:

- A process is in the job of its parent from its first instruction on, and stays there when its parent ends: what psutil
  finds by parents' numbers is lost as soon as one in between has gone, and may be another tree's.
- The last handle of a job with KILL_ON_JOB_CLOSE ends all that is in it: if rprun is killed, the kernel closes that.
- A process that asks to start a child outside of its job (CREATE_BREAKAWAY_FROM_JOB) is refused unless the job permits
  it. Without us it would not have been refused, so this one does.
- Jobs nest since Windows 8. In an older or a restricted one, to put a process into another fails.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import ntpath
import subprocess
from ctypes import POINTER, WinDLL, WinError, byref, c_int, c_size_t, c_uint32, c_void_p, get_last_error, sizeof

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

from rprun.windows.structures import (
    JOB_BASIC_PROCESS_ID_LIST,
    JOB_EXTENDED_LIMITS,
    LIMIT_BREAKAWAY_OK,
    LIMIT_KILL_ON_JOB_CLOSE,
    ExtendedLimits,
    ProcessIds,
)

_kernel32 = WinDLL("kernel32", use_last_error=True)
_ntdll = WinDLL("ntdll")

# HANDLE OpenProcess(DWORD dwDesiredAccess, BOOL bInheritHandle, DWORD dwProcessId)
_open_process = _kernel32.OpenProcess
_open_process.argtypes = (c_uint32, c_int, c_uint32)
_open_process.restype = c_void_p
# DWORD WaitForSingleObject(HANDLE hHandle, DWORD dwMilliseconds)
_wait = _kernel32.WaitForSingleObject
_wait.argtypes = (c_void_p, c_uint32)
_wait.restype = c_uint32
# BOOL GetExitCodeProcess(HANDLE hProcess, LPDWORD lpExitCode)
_get_exit_code = _kernel32.GetExitCodeProcess
_get_exit_code.argtypes = (c_void_p, POINTER(c_uint32))
_get_exit_code.restype = c_int
# BOOL TerminateProcess(HANDLE hProcess, UINT uExitCode)
_terminate = _kernel32.TerminateProcess
_terminate.argtypes = (c_void_p, c_uint32)
_terminate.restype = c_int
# BOOL CloseHandle(HANDLE hObject)
_close_handle = _kernel32.CloseHandle
_close_handle.argtypes = (c_void_p,)
_close_handle.restype = c_int
# NTSTATUS NtResumeProcess(HANDLE ProcessHandle)
_resume = _ntdll.NtResumeProcess
_resume.argtypes = (c_void_p,)
_resume.restype = c_int
# HANDLE CreateJobObjectW(LPSECURITY_ATTRIBUTES lpJobAttributes, LPCWSTR lpName)
_create_job = _kernel32.CreateJobObjectW
_create_job.argtypes = (c_void_p, c_void_p)
_create_job.restype = c_void_p
# BOOL SetInformationJobObject(HANDLE hJob, JOBOBJECTINFOCLASS class, LPVOID information, DWORD length)
_set_job = _kernel32.SetInformationJobObject
_set_job.argtypes = (c_void_p, c_int, c_void_p, c_uint32)
_set_job.restype = c_int
# BOOL QueryInformationJobObject(HANDLE hJob, JOBOBJECTINFOCLASS class, LPVOID information, DWORD length,
#                                LPDWORD needed)
_query_job = _kernel32.QueryInformationJobObject
_query_job.argtypes = (c_void_p, c_int, c_void_p, c_uint32, POINTER(c_uint32))
_query_job.restype = c_int
# BOOL AssignProcessToJobObject(HANDLE hJob, HANDLE hProcess)
_assign = _kernel32.AssignProcessToJobObject
_assign.argtypes = (c_void_p, c_void_p)
_assign.restype = c_int
# BOOL IsProcessInJob(HANDLE ProcessHandle, HANDLE JobHandle, PBOOL Result)
_is_in_job = _kernel32.IsProcessInJob
_is_in_job.argtypes = (c_void_p, c_void_p, POINTER(c_int))
_is_in_job.restype = c_int
# BOOL QueryFullProcessImageNameW(HANDLE hProcess, DWORD dwFlags, LPWSTR lpExeName, PDWORD lpdwSize)
_get_image_name = _kernel32.QueryFullProcessImageNameW
_get_image_name.argtypes = (c_void_p, c_uint32, c_void_p, POINTER(c_uint32))
_get_image_name.restype = c_int

# winnt.h, access rights: to terminate, put into a job, resume, ask for the exit code, wait.
_ALL_WE_DO = 0x0001 | 0x0100 | 0x0800 | 0x1000 | 0x0010_0000
_FOR_EVER = 0xFFFF_FFFF
_ERROR_MORE_DATA = 234
_LONGEST_PATH = 32768
# winbase.h, for CreateProcess.
_CREATE_SUSPENDED = 0x4


class ProcessHandle:
    """A process, also after its end: as long as this is open its number is nobody else's."""

    def __init__(self, pid: int) -> None:
        """Opens it.

        Raises:
            OSError: there is none of that number, or it is another user's.
        """
        self.pid = pid
        self._handle: int | None = _open_process(_ALL_WE_DO, 0, pid)
        if not self._handle:
            raise WinError(get_last_error())

    def wait(self) -> int:
        """Wait for its end; return its exit code, all 32 bits of it.

        That it has ended is known by the wait, so 259 (STILL_ACTIVE) is a code like any other here.
        """
        code = c_uint32()
        if _wait(self._handle, _FOR_EVER) or not _get_exit_code(self._handle, byref(code)):
            raise WinError(get_last_error())
        return code.value

    def terminate(self, code: int) -> None:
        """End it with this exit code. One that has ended already has its own."""
        _terminate(self._handle, code)

    def resume(self) -> None:
        """Let it run, if it was started suspended."""
        _resume(self._handle)

    def join(self, job: Job) -> bool:
        """Put it into a job, with all that it will start; False where the system refuses."""
        return bool(_assign(job.handle, self._handle))

    def is_in(self, job: Job) -> bool:
        """Tell whether it is in a job, as far as is known: a number read from there may be another process's by now."""
        answer = c_int(1)
        _is_in_job(self._handle, job.handle, byref(answer))
        return bool(answer.value)

    def name(self) -> str:
        """Return the name of its program's file; empty if it cannot be found out."""
        buffer = ctypes.create_unicode_buffer(_LONGEST_PATH)
        size = c_uint32(_LONGEST_PATH)
        _get_image_name(self._handle, 0, buffer, byref(size))
        return ntpath.basename(buffer.value)

    def close(self) -> None:
        """Let go of it. A second call does nothing."""
        handle, self._handle = self._handle, None
        if handle:
            _close_handle(handle)


def start(
    path: str,
    line: str,
    stdio: tuple[int, int, int],
    *,
    directory: str,
    variables: Mapping[str, str] | None,
    job: Job | None,
    own_group: bool,
    share_handles: bool,
) -> ProcessHandle:
    """Start a process; it is in the job before its first instruction.

    Args:
        path: its file.
        line: its command line.
        stdio: for stdin, stdout and stderr a descriptor, or -1 for this process's own.
        directory: where it starts.
        variables: its environment; None for this process's, as it is.
        job: what to put it into.
        own_group: it begins a process group, which ^Break can be sent to and ^C is not heard in.
        share_handles: whatever is inheritable here is inherited.

    Raises:
        OSError: the system refuses; `winerror` says why.
    """
    given = [None if descriptor < 0 else descriptor for descriptor in stdio]
    process = subprocess.Popen(
        line,
        executable=path,
        stdin=given[0],
        stdout=given[1],
        stderr=given[2],
        cwd=directory,
        env=variables,
        close_fds=not share_handles,
        creationflags=_CREATE_SUSPENDED | (subprocess.CREATE_NEW_PROCESS_GROUP if own_group else 0),
    )
    # Popen would warn about a child that nobody waited for. It keeps a handle until the other one has been opened.
    process.returncode = 0
    handle = ProcessHandle(process.pid)
    if job is not None:
        handle.join(job)
    handle.resume()
    return handle


class Job:
    """A job that ends with its last handle; see the facts above.

    Attributes:
        handle: its handle, None once closed.
    """

    def __init__(self) -> None:
        """Makes it.

        Raises:
            OSError: the system has none to give.
        """
        self.handle: int | None = _create_job(None, None)
        if not self.handle:
            raise WinError(get_last_error())
        self._limit(LIMIT_KILL_ON_JOB_CLOSE | LIMIT_BREAKAWAY_OK)

    def spare(self) -> None:
        """Let those who are in it live on when it is closed."""
        self._limit(LIMIT_BREAKAWAY_OK)

    def _limit(self, flags: int) -> None:
        limits = ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = flags
        _set_job(self.handle, JOB_EXTENDED_LIMITS, byref(limits), sizeof(limits))

    def pids(self) -> list[int]:
        """Return the numbers of those who are in it and have not ended."""
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(sizeof(ProcessIds) + room * sizeof(c_size_t))
            if _query_job(self.handle, JOB_BASIC_PROCESS_ID_LIST, buffer, sizeof(buffer), None):
                count = ProcessIds.from_buffer(buffer).NumberOfProcessIdsInList
                return list((c_size_t * count).from_buffer(buffer, sizeof(ProcessIds)))
            if get_last_error() != _ERROR_MORE_DATA:
                return []
            room *= 4

    def close(self) -> None:
        """Let go of it. A second call does nothing."""
        handle, self.handle = self.handle, None
        if handle:
            _close_handle(handle)

"""In the place of `rprun.windows.process`: processes of this system, and all below this one as the job."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import doors

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProcessHandle:
    def __init__(self, pid: int) -> None:
        if not doors.can_be_opened(pid):
            raise ProcessLookupError(pid)
        self.pid = pid

    def wait(self) -> int:
        return doors.wait_for(self.pid)

    def terminate(self, code: int) -> None:
        doors.terminate(self.pid, code)

    def join(self, job: Job) -> bool:
        return True

    def is_in(self, job: Job) -> bool:
        return True

    def name(self) -> str:
        with open(f"/proc/{self.pid}/comm", encoding="utf-8") as file:
            return file.read().strip()

    def close(self) -> None:
        pass


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
    given = [None if descriptor < 0 else descriptor for descriptor in stdio]
    try:
        process = subprocess.Popen(
            doors.words_of(line),
            executable=path,
            stdin=given[0],
            stdout=given[1],
            stderr=given[2],
            cwd=directory,
            env=variables,
            close_fds=not share_handles,
            process_group=0 if own_group else None,
        )
    except OSError as error:
        # ERROR_BAD_EXE_FORMAT and ERROR_ACCESS_DENIED are one here.
        error.winerror = 2 if error.errno == 2 else 193  # type: ignore[attr-defined]
        raise
    doors.adopt(process)
    return ProcessHandle(process.pid)


class Job:
    def __init__(self) -> None:
        self.handle: int | None = 1
        self._spares = False

    def spare(self) -> None:
        self._spares = True

    def pids(self) -> list[int]:
        return doors.tree()

    def close(self) -> None:
        if self.handle is not None and not self._spares:
            for pid in doors.tree():
                doors.terminate(pid, 1)
        self.handle = None

"""The command's own processes, told apart from all others of the host by the messages of the proc connector.

Some facts that give it its shape:

- A process ends with the last of its threads, so they are counted, or rather named.
- An exec in a thread that is not the first ends all others and takes over the number of the first. Their exit messages
  may come after that of the exec; the number in them is one that no longer belongs to the process.
- An exit message has the status of its thread. That of the process is the one that it, or a signal, ended all threads
  with; a thread that ends alone does so with 0, whatever library it comes from, and its message may be the last.
- With CLONE_PARENT the parent is not who called clone(2) but that one's parent. Seen from here a child of the
  command's own parent, which starts nothing else, is therefore one of the command's.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Tree:
    """The living processes of a tree; a process is its number, and a status is a wait status (wait(2)).

    Attributes:
        root: the command.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self._above = -1  # not known yet
        self._threads: dict[int, set[int]] = {root: {root}}
        self._statuses: dict[int, int] = {}
        self._taken_over: set[int] = set()

    def __contains__(self, process: int) -> bool:
        return process in self._threads

    def on_fork(self, thread: int, process: int, parent: int) -> bool:
        """Take note of a new thread; True if it is the first of a new descendant."""
        if process == self.root == thread:
            self._above = parent
        elif thread != process:
            if process in self._threads:
                self._threads[process].add(thread)
        elif process not in self._threads and (parent in self._threads or parent == self._above):
            self._threads[process] = {process}
            self._statuses.pop(process, None)
            return True
        return False

    def on_exec(self, process: int) -> bool:
        """Take note of a program that has been started; True if that was in this tree."""
        threads = self._threads.get(process)
        if threads is None:
            return False
        if threads != {process}:
            self._taken_over.add(process)
        self._threads[process] = {process}
        self._statuses.pop(process, None)
        return True

    def on_exit(self, thread: int, process: int, status: int) -> int | None:
        """Take note of the end of a thread; the status of its process if that has ended with it."""
        threads = self._threads.get(process)
        if threads is None or thread not in threads:
            return None
        if process in self._taken_over and procfs.lives(process, thread):
            # The message is of the thread that had this number before, and comes late.
            return None
        threads.remove(thread)
        if status or process not in self._statuses:
            self._statuses[process] = status
        if threads:
            return None
        return self.forget(process)

    def forget(self, process: int) -> int:
        """Take a process out; its status as far as it is known."""
        del self._threads[process]
        self._taken_over.discard(process)
        return self._statuses.pop(process, 0)

    # -- what /proc says, where a message is late or missing

    def is_settled(self) -> bool:
        """Tell whether there is a message of the end of every thread that has ended."""
        return all(procfs.lives(process, thread) for process, threads in self._threads.items() for thread in threads)

    def ended(self) -> list[int]:
        """Return processes that have ended without a message, after messages were dropped; the living are set right."""
        found = []
        for process, threads in self._threads.items():
            alive = {thread for thread in procfs.threads(process) if procfs.lives(process, thread)}
            if alive:
                threads.clear()
                threads.update(alive)
            else:
                found.append(process)
        return found

    def adopt(self) -> Iterator[tuple[int, int]]:
        """Take in living descendants whose fork messages were dropped; yields (process, parent), parents first."""
        waiting = list(self._threads)
        for parent in waiting:
            for child in procfs.children(parent):
                if child not in self._threads:
                    self._threads[child] = set(procfs.threads(child)) or {child}
                    waiting.append(child)
                    yield child, parent

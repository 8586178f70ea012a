"""What a command is started with on Windows: its file, its command line, its environment, its directory."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

assert not TYPE_CHECKING or sys.platform == "win32"

import os

from rprun.errors import NotExecutable, NotFound, RprunError
from rprun.transport.windows import command_line
from rprun.windows import environment


class Launch:
    """Everything about the command that is known before it is started.

    Attributes:
        argv: the command and its arguments, as UTF-8; bytes, as on other systems.
        cwd: its working directory, or None for this process's.
        env: the whole environment, or None for that of this process.
        env_set, env_unset: changes to the environment of this process when `env` is None.
        line: the command line that argv was taken from, where that is known.
        share_handles: handles that this process was given to pass on are passed on.
        subreaper, channel, traps, nonzero, token: of other systems; nothing here looks at them.
    """

    def __init__(
        self, argv: Sequence[bytes], *, cwd: bytes | None = None, env: Mapping[bytes, bytes] | None = None
    ) -> None:
        self.argv = list(argv)
        self.cwd = cwd
        self.env = env
        self.env_set: list[tuple[bytes, bytes]] = []
        self.env_unset: list[bytes] = []
        self.line: str | None = None
        self.share_handles = False
        self.subreaper = False
        self.channel = -1
        self.traps: Mapping[int, Collection[int]] = {}
        self.nonzero: Mapping[tuple[int, int], int] = {}
        self.token = 0

    @property
    def directory(self) -> str:
        """The command's working directory.

        Raises:
            RprunError: there is no such directory.
        """
        if self.cwd is None:
            return os.getcwd()
        directory = os.path.abspath(os.fsdecode(self.cwd))
        if not os.path.isdir(directory):
            reason = "Not a directory" if os.path.exists(directory) else "No such file or directory"
            raise RprunError(f"cannot change to directory {os.fsdecode(self.cwd)}: {reason} (see --cwd)")
        return directory

    def variables(self) -> dict[str, str]:
        """Return the command's environment. Of names that differ in case only, which are one, the last one's holds."""
        if self.env is not None:
            found = [(os.fsdecode(name), os.fsdecode(value)) for name, value in self.env.items()]
        else:
            # `=C:=C:\dir`: the name of a drive's directory begins with the sign that ends the others.
            entries = [
                entry.partition("=") if entry[:1] != "=" else _hidden(entry) for entry in environment.environment()
            ]
            found = [(name, value) for name, _, value in entries]
            unset = {os.fsdecode(name).upper() for name in self.env_unset}
            found = [(name, value) for name, value in found if name.upper() not in unset]
            found += [(os.fsdecode(name), os.fsdecode(value)) for name, value in self.env_set]
        merged: dict[str, tuple[str, str]] = {}
        for name, value in found:
            merged[name.upper()] = (merged.get(name.upper(), (name,))[0], value)
        return dict(merged.values())

    @property
    def is_plain(self) -> bool:
        """The environment is that of this process, untouched."""
        return self.env is None and not self.env_set and not self.env_unset

    def resolve(self) -> tuple[str, str]:
        """Return the program's file and its whole command line.

        Raises:
            NotFound, NotExecutable: there is no such command, or Windows would not run it as it is meant.
            RprunError: there is no such directory.
        """
        words = [os.fsdecode(word) for word in self.argv]
        name = words[0]
        directory = self.directory
        variables = {key.upper(): value for key, value in self.variables().items()}
        path = command_line.find(name, variables, directory)
        if path is None:
            if os.path.isdir(os.path.join(directory, name)):
                raise NotExecutable(f"cannot run {name}: Is a directory (is it an executable file?)")
            if os.path.dirname(name):
                raise NotFound(f"cannot run {name}: No such file or directory (check the path)")
            raise NotFound(f"cannot run {name}: command not found (check the spelling and PATH)")
        if command_line.is_batch(path):
            shell = variables.get("COMSPEC") or "cmd.exe"
            path, line = shell, command_line.batch(path, words[1:], shell)
        elif self.line is not None:
            line = self.line
        else:
            line = command_line.join(words)
        command_line.check_length(line, name)
        return path, line


def _hidden(entry: str) -> tuple[str, str, str]:
    name, sign, value = entry[1:].partition("=")
    return f"={name}", sign, value

"""What rprun itself can fail with: one line for the user, one exit status.

This module is on the start-up path and imports nothing.
"""

from __future__ import annotations


class RprunError(Exception):
    """rprun itself failed; the message reads `what failed: why (what to try)`.

    Attributes:
        status: the exit status that reports it, as timeout(1) and docker(1) number them.
    """

    status = 125


class UsageError(RprunError):
    """The command line or an argument of the API makes no sense."""

    status = 2


class NotExecutable(RprunError):
    """The command was found and the kernel refused to execute it."""

    status = 126


class NotFound(RprunError):
    """There is no such command."""

    status = 127

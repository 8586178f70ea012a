"""The proc connector: every fork, exec and exit of the command's tree, told by the kernel.

`probing` finds out whether that works here, `tree` makes sense of the messages, `attempts` joins them with what the
seccomp filter saw of the same exec, and `backend` drives it all.
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from rprun.backends.connector.backend import ProcConnector

__all__ = ["ProcConnector"]

"""Mounts whose server is there and never answers: whoever looks at what is in them waits for as long as they are."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MNT_FORCE, MNT_DETACH = 1, 2  # umount2(2)
# include/uapi/linux/fuse.h: fuse_in_header, fuse_out_header, fuse_init_in and fuse_init_out, up to what is of interest.
_IN = struct.Struct("=IIQ")
_OUT = struct.Struct("=IiQ")
_VERSION = struct.Struct("=IIII")
_INIT_OUT = struct.Struct("=IIIIHHI40x")
_INIT = 26
# include/uapi/linux/auto_fs.h
_AUTOFS_VERSION = 5
_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: Path, kind: str, options: str) -> None:
    words = [os.fsencode(each) for each in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(0), options.encode()):
        error = ctypes.get_errno()
        pytest.skip(f"mount(2) of {kind}, which needs to be root: {os.strerror(error)}")


@contextlib.contextmanager
def filesystem(target: Path, user: int = 0) -> Iterator[int]:
    """Mount a FUSE file system that says hello and nothing more.

    Args:
        target: where.
        user: whose it is; of others, root too, it refuses everything at once.

    Returns:
        What is readable once somebody waits.
    """
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"/dev/fuse, which needs to be root: {error}")
    try:
        _mount("silent", target, "fuse", f"fd={device},rootmode=40000,user_id={user},group_id=0")
        try:
            request = os.read(device, 1 << 16)
            _, operation, unique = _IN.unpack_from(request)
            assert operation == _INIT
            major, minor, readahead, _ = _VERSION.unpack_from(request, 40)
            answer = _INIT_OUT.pack(major, minor, readahead, 0, 1, 1, 4096)
            os.write(device, _OUT.pack(_OUT.size + len(answer), 0, unique) + answer)
            yield device
        finally:
            # Who waits is let go.
            _libc.umount2(os.fsencode(target), MNT_FORCE | MNT_DETACH)
    finally:
        os.close(device)


@contextlib.contextmanager
def automount(target: Path) -> Iterator[int]:
    """Put autofs where something would be mounted when somebody comes there.

    Returns:
        What is readable once somebody waits.
    """
    read, write = os.pipe()
    # Its own daemon is a process group, for which there is nothing to wait.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as daemon:
        try:
            versions = f"minproto={_AUTOFS_VERSION},maxproto={_AUTOFS_VERSION}"
            _mount("silent", target, "autofs", f"fd={write},pgrp={daemon.pid},{versions},direct")
            try:
                yield read
            finally:
                _libc.umount2(os.fsencode(target), MNT_DETACH)
        finally:
            os.close(read)
            os.close(write)
            daemon.communicate()

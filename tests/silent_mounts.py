"""Mounts whose server is there and never answers: whoever looks at what is in them waits for as long as they are."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
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
_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: Path, kind: str, options: str) -> None:
    words = [os.fsencode(each) for each in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(0), options.encode()):
        error = ctypes.get_errno()
        pytest.skip(f"mount(2) of {kind}, which needs to be root: {os.strerror(error)}")


@contextlib.contextmanager
def filesystem(target: Path, user: int = 0) -> Iterator[None]:
    """Mount a FUSE file system that says hello and nothing more; of another user's than `user` it refuses all."""
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
            yield
        finally:
            # Who waits is let go.
            _libc.umount2(os.fsencode(target), MNT_FORCE | MNT_DETACH)
    finally:
        os.close(device)

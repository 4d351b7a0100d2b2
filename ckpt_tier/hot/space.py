"""Room on the hot tier."""

import os
from pathlib import Path

import msgspec


class Space(msgspec.Struct, frozen=True):
    """Bytes of a file system: its size, and what this user may still write."""

    total: int
    free: int


def space(path: Path) -> Space:
    """The room on the file system that holds `path`, which must exist. Raises OSError.

    `free` leaves out what is reserved for root (f_bavail): https://man7.org/linux/man-pages/man3/statvfs.3.html
    """
    seen = os.statvfs(path)
    return Space(total=seen.f_blocks * seen.f_frsize, free=seen.f_bavail * seen.f_frsize)

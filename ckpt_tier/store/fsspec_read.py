"""Reading from a filesystem of fsspec, without its shortcuts: no cache, and no error taken for an answer.

All of it raises what the filesystem raises; `ckpt_tier.store.fsspec_errors` translates.
"""

from ckpt_tier.errors import IntegrityError, UnavailableError
from ckpt_tier.store.fsspec_place import Filesystem
from ckpt_tier.store.fsspec_walk import Info
from ckpt_tier.system.digests import crc64nvme

Cut = list[tuple[int, int, int]]
"""(offset, length, CRC) of each piece of a file."""

REQUEST = 2**23
"""Bytes per request: the most that is held in memory."""


def is_there(fs: Filesystem, path: str) -> bool:
    """Whether something is at `path`. Unlike fsspec's `exists`, which takes every error for a "no"."""
    try:
        fs.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def file_info(fs: Filesystem, path: str) -> Info:
    """What the filesystem says of a file; raises FileNotFoundError if it is none."""
    info: Info = fs.info(path)
    if info["type"] != "file":
        raise FileNotFoundError(path)
    return info


def size_of(fs: Filesystem, path: str) -> int:
    """The size of a file in bytes."""
    return int(file_info(fs, path)["size"])


def children(fs: Filesystem, folder: str) -> list[Info]:
    """The entries directly below a folder; none if there is no such folder."""
    try:
        entries: list[Info] = fs.ls(folder, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    # Object stores may list the folder itself: the marker that a console makes for an empty one.
    return [entry for entry in entries if str(entry["name"]).strip("/") != folder.strip("/")]


def read_range(fs: Filesystem, path: str, offset: int, length: int) -> bytes:
    """`length` bytes, at most `REQUEST`. Raises IntegrityError where the file ends before, UnavailableError where the
    answer does."""
    end = offset + length
    if length == 0:
        return b""
    try:
        data: bytes = fs.cat_file(path, offset, end)
    except FileNotFoundError:
        raise
    except Exception:  # for some libraries a range beyond the end is an error
        _refuse_short(fs, path, end)
        raise
    if len(data) != length:
        _refuse_short(fs, path, end)
        raise UnavailableError(f"the answer for {path} broke off", f"{len(data)} of {length} bytes came")
    return data


def _refuse_short(fs: Filesystem, path: str, end: int) -> None:
    if (size := size_of(fs, path)) < end:
        raise IntegrityError(f"{path} is shorter than it should be", f"it has {size} bytes, {end} were asked for")


def proven(fs: Filesystem, path: str, size: int, cut: Cut) -> bool:
    """Whether a file is the one that was cut into these pieces, by reading all of it."""
    if size_of(fs, path) != size:
        return False
    for offset, length, expected in cut:
        crc = 0
        for position in range(offset, offset + length, REQUEST):
            crc = crc64nvme(read_range(fs, path, position, min(REQUEST, offset + length - position)), crc)
        if crc != expected:
            return False
    return True

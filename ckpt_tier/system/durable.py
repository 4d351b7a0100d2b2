"""Files that survive a crash, and names that are never overwritten.

The order is always: write to a name nobody looks at, fsync the file, give it its name, fsync the folder.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ckpt_tier.errors import ConflictError, NoSpaceError
from ckpt_tier.system.clock import random_id

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def out_of_space_is_said(path: Path) -> Iterator[None]:
    """Turns ENOSPC and EDQUOT into NoSpaceError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                f"no space left for {path}", error.strerror or "", "free some space and run the command again"
            ) from error
        raise


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Writes `data` at `offset`, however many calls that takes."""
    while len(data):
        written = os.pwrite(descriptor, data, offset)
        data = data[written:]
        offset += written


def fsync_file(path: Path) -> None:
    """Flushes a file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Flushes a folder's names to the disk. File systems that can't (some FUSE) answer EINVAL: then nothing."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replaces the file `path` with `data` in one step; with `durable` it survives power loss too."""
    temporary = path.with_name(f".{path.name}.{random_id()}.tmp")
    with out_of_space_is_said(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    if durable:
        fsync_folder(path.parent)


def rename_no_replace(source: Path, target: Path) -> None:
    """Renames, unless `target` exists: then raises FileExistsError and changes nothing.

    By renameat2(RENAME_NOREPLACE), else, on file systems without it, by link and unlink (files only).
    """
    result = _libc.renameat2(
        _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    if result == 0:
        return
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        os.link(source, target)
        source.unlink()
        return
    raise OSError(code, os.strerror(code), str(source), None, str(target))


def publish(temporary: Path, target: Path) -> None:
    """Gives a finished file its name without replacing anything, durably; raises ConflictError.

    The file's bytes must have been fsynced by the caller.
    """
    try:
        rename_no_replace(temporary, target)
    except FileExistsError as error:
        raise ConflictError(f"{target} is already there", fix="move it away, or choose another place") from error
    fsync_folder(target.parent)


def make_folders(path: Path, root: Path) -> None:
    """Creates the folders from `root` (which exists) down to `path`, and makes their names durable."""
    missing = []
    while path != root and not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)


def flush(descriptor: int) -> None:
    """Flushes an open file's bytes to the disk. After a failure the file's content is anybody's guess, and another
    try may succeed without having written anything: start again from a new file.

    https://wiki.postgresql.org/wiki/Fsync_Errors
    """
    os.fsync(descriptor)


def forget_cached(descriptor: int, offset: int, length: int) -> None:
    """Drops a flushed range of an open file from the page cache, so that reading it reads the medium; a page that lies
    in it only in part stays. A request, not a command: pages that somebody maps or that a file system keeps for itself
    stay, too."""
    os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)

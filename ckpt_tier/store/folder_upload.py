"""A file into a folder: written under a name nobody looks at, flushed, read back past the cache, then published
without replacing anything."""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ckpt_tier.errors import (
    ConflictError,
    IntegrityError,
    KeyExistsError,
    MissingKeyError,
    SourceChangedError,
    UnavailableError,
)
from ckpt_tier.store.folder_paths import TEMPORARY, Root
from ckpt_tier.store.protocol import Source, Watch
from ckpt_tier.store.source_body import changed, checked_pieces, opened, read_at
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.digests import crc64nvme
from ckpt_tier.system.durable import flush, forget_cached, fsync_folder, make_folders, publish, write_all

Cut = list[tuple[int, int, int]]
"""(offset, length, CRC) of each piece."""

_BLOCK = 2**20
_FLUSH_EVERY = 64 * 2**20
"""Bytes written between two flushes: none takes long enough to look like a mount that hangs, and dirty pages that a
training would have to wait for don't pile up."""
_TRIES = 20
"""How often a folder may be removed under us by a `delete` of its last other file."""


def upload(root: Root, key: str, source: Source, watch: Watch) -> None:
    """See `ckpt_tier.store.protocol.Store.upload`. Raises OSError beside this program's errors."""
    cut = checked_pieces(source)
    target = root.place(key)
    if already_there(target, source, cut, watch):
        watch.resumed(source.size)
        return
    with _unfinished(temporary_folder(root), key) as (temporary, descriptor):
        try:
            _fill(descriptor, temporary, source, cut, watch)
            root.check()
            if publish_below(root, temporary, target):
                return
            already_there(target, source, cut, watch)
            temporary.unlink()
        except (SourceChangedError, IntegrityError, KeyExistsError):
            temporary.unlink(missing_ok=True)
            raise


def refresh(root: Root, key: str, source: Source, watch: Watch) -> None:
    """See `ckpt_tier.store.protocol.Store.refresh`. Raises OSError beside this program's errors."""
    target = root.place(key)
    if not already_there(target, source, checked_pieces(source), watch):
        raise MissingKeyError(f"there is no object {target}")
    watch.resumed(source.size)
    # Without times the file system's own clock counts, on NFS the server's.
    os.utime(target, follow_symlinks=False)


def already_there(target: Path, source: Source, cut: Cut, watch: Watch) -> bool:
    """Whether the same file is at `target` already, by reading it; raises KeyExistsError when it is another one."""
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        if os.fstat(descriptor).st_size == source.size:
            forget_cached(descriptor)
            if _good_pieces(descriptor, cut, watch) == len(cut):
                return True
    finally:
        os.close(descriptor)
    raise KeyExistsError(
        f"{target} is already there with other bytes",
        fix="nothing was overwritten",
    )


def partial_name(key: str) -> str:
    """The name of a key's unfinished file."""
    return f"{hashlib.sha256(key.encode()).hexdigest()}.partial"


def temporary_folder(root: Root) -> Path:
    """Where unfinished files lie, made if it is not there."""
    folder = root.path / TEMPORARY
    root.refuse_links(folder)
    folder.mkdir(exist_ok=True)
    return folder


def publish_below(root: Root, temporary: Path, target: Path, *, replace: bool = False) -> bool:
    """Gives a flushed file its name, making the folders it needs; without `replace`, False if something is there."""
    for attempt in range(_TRIES):
        try:
            make_folders(target.parent, root.path)
            if replace:
                temporary.replace(target)
                fsync_folder(target.parent)
            else:
                publish(temporary, target)
        except (FileNotFoundError, FileExistsError):
            # A `delete` removes emptied folders, some just as they are being made or used. Else the mount is gone, or
            # a file stands where a folder should be.
            root.check()
            if attempt == _TRIES - 1:
                raise
        except ConflictError:
            return False
        else:
            return True
    raise AssertionError("unreachable")


@contextlib.contextmanager
def _unfinished(folder: Path, key: str) -> Iterator[tuple[Path, int]]:
    """The temporary file and a descriptor of it, which no other upload of this key writes meanwhile.

    Where the file system has locks, it is what an earlier attempt left. Else it is a new one, removed afterwards: an
    upload that was killed while it hung may still cut or write its file after this one has published its own.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    temporary = folder / partial_name(key)
    while True:
        descriptor = os.open(temporary, flags, 0o644)
        try:
            if not lock(descriptor, temporary):
                break
            if is_still(temporary, descriptor):  # else the one before us has just published or removed it
                yield temporary, descriptor
                return
        finally:
            os.close(descriptor)
    temporary = temporary.with_suffix(f".{random_id()}.partial")
    descriptor = os.open(temporary, flags | os.O_EXCL, 0o644)
    try:
        yield temporary, descriptor
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def lock(descriptor: int, temporary: Path) -> bool:
    """Makes the unfinished file ours for as long as the descriptor is open; raises UnavailableError if it is another
    process's. False on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UnavailableError(
            "another process is uploading the same file", f"it holds {temporary}", "it is tried again"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS):
            raise
        return False
    return True


def is_still(path: Path, descriptor: int) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _fill(descriptor: int, temporary: Path, source: Source, cut: Cut, watch: Watch) -> None:
    """Brings the temporary file to the source's content, flushed and read back."""
    good = _good_pieces(descriptor, cut, watch)
    kept = sum(length for _, length, _ in cut[:good])
    if kept:
        watch.resumed(kept)
    os.ftruncate(descriptor, kept)
    with opened(source) as original:
        unflushed = 0
        for offset, length, crc in cut[good:]:
            if _copy(source, original, descriptor, offset, length, watch) != crc:
                raise changed(source, f"other bytes between {offset} and {offset + length}")
            unflushed += length
            if unflushed >= _FLUSH_EVERY:
                _flush(descriptor, temporary)
                unflushed = 0
    _flush(descriptor, temporary)
    forget_cached(descriptor)
    if _good_pieces(descriptor, cut, watch) != len(cut):
        raise IntegrityError(
            f"{temporary} came back with other bytes than were written",
            "",
            "check the disk or mount; it is written anew",
        )


def _flush(descriptor: int, temporary: Path) -> None:
    """Flushes; after a failure the file is gone: what it holds is anybody's guess."""
    try:
        flush(descriptor)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UnavailableError(
            f"{temporary} could not be flushed to the disk", error.strerror or "", "it is written anew"
        ) from error


def _copy(source: Source, original: int, descriptor: int, offset: int, length: int, watch: Watch) -> int:
    """Copies one piece; the CRC-64/NVME of what was read."""
    buffer = memoryview(bytearray(min(_BLOCK, length)))
    crc = 0
    for position in range(offset, offset + length, _BLOCK):
        block = buffer[: offset + length - position]
        read_at(source, original, position, block)
        crc = crc64nvme(block, crc)
        write_all(descriptor, block, position)
        watch.moved(len(block))
    return crc


def _good_pieces(descriptor: int, cut: Cut, watch: Watch) -> int:
    """How many pieces at the start of a file are the source's, by reading them."""
    size = os.fstat(descriptor).st_size
    buffer = memoryview(bytearray(min(_BLOCK, max(size, 1))))
    for number, (offset, length, expected) in enumerate(cut):
        if offset + length > size:
            return number
        crc = 0
        for position in range(offset, offset + length, _BLOCK):
            block = buffer[: offset + length - position]
            count = os.preadv(descriptor, [block], position)
            crc = crc64nvme(block[:count], crc)
            watch.moved(0)
        if crc != expected:
            return number
    return len(cut)

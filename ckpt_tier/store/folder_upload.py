"""A file into a folder: written under a name nobody looks at, flushed, read back past the cache, then published
without replacing anything. Of a large file a stretch is read back while the next is written."""

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
from ckpt_tier.store.folder_read_back import Cut, good_pieces, prove, proving_beside, span
from ckpt_tier.store.protocol import Source, Watch
from ckpt_tier.store.source_body import changed, checked_pieces, opened, read_at
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.digests import crc64nvme
from ckpt_tier.system.durable import flush, fsync_folder, make_folders, publish, write_all

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
        same_size = os.fstat(descriptor).st_size == source.size
        if same_size and good_pieces(descriptor, cut, lambda: watch.moved(0)) == len(cut):
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
    good = _taken_over(descriptor, temporary, cut, watch)
    flushed: Cut = []
    with opened(source) as original:
        for stretch in _stretches(cut[good:]):
            with proving_beside(descriptor, temporary, flushed, watch):
                for offset, length, crc in stretch:
                    if _copy(source, original, descriptor, offset, length, watch) != crc:
                        raise changed(source, f"other bytes between {offset} and {offset + length}")
                _flush(descriptor, temporary)
            flushed = stretch
    # Nothing is left to do beside the last, so a file of one stretch takes no thread.
    prove(descriptor, temporary, flushed, lambda: watch.moved(0))


def _taken_over(descriptor: int, temporary: Path, cut: Cut, watch: Watch) -> int:
    """How many pieces of an earlier attempt's file are good, now flushed and read back; the rest is cut off."""
    if os.fstat(descriptor).st_size == 0:
        return 0
    _flush(descriptor, temporary)  # what a killed process wrote last may be nowhere but in the cache
    good = good_pieces(descriptor, cut, lambda: watch.moved(0))
    kept = span(cut[:good])
    if kept:
        watch.resumed(kept)
    os.ftruncate(descriptor, kept)
    _flush(descriptor, temporary)
    return good


def _stretches(cut: Cut) -> Iterator[Cut]:
    """The pieces in runs, each of which is flushed at its end."""
    stretch: Cut = []
    for piece in cut:
        stretch.append(piece)
        if span(stretch) >= _FLUSH_EVERY:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


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

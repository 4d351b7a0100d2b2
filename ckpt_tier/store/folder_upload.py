"""A file into a folder: written under a name nobody looks at, flushed, read back past the cache, then published
without replacing anything."""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ckpt_tier.errors import ConflictError, IntegrityError, KeyExistsError, SourceChangedError, UnavailableError
from ckpt_tier.store.folder_paths import TEMPORARY, Root
from ckpt_tier.store.protocol import Source, Watch
from ckpt_tier.store.source_body import changed, checked_pieces, opened, read_at
from ckpt_tier.system.digests import crc64nvme
from ckpt_tier.system.durable import flush, forget_cached, fsync_folder, make_folders, publish

Cut = list[tuple[int, int, int]]
"""(offset, length, CRC) of each piece."""

_BLOCK = 2**20
_TRIES = 20
"""How often a folder may be removed under us by a `delete` of its last other file."""


def upload(root: Root, key: str, source: Source, watch: Watch) -> None:
    """See `ckpt_tier.store.protocol.Store.upload`. Raises OSError beside this program's errors."""
    cut = checked_pieces(source)
    target = root.place(key)
    if already_there(target, source, cut):
        watch.resumed(source.size)
        return
    temporary = temporary_folder(root) / partial_name(key)
    with _locked(temporary) as descriptor:
        try:
            _fill(descriptor, temporary, source, cut, watch)
            root.check()
            if publish_below(root, temporary, target):
                return
            already_there(target, source, cut)
            temporary.unlink()
        except (SourceChangedError, IntegrityError, KeyExistsError):
            temporary.unlink(missing_ok=True)
            raise


def already_there(target: Path, source: Source, cut: Cut) -> bool:
    """Whether the same file is at `target` already, by reading it; raises KeyExistsError when it is another one."""
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        if os.fstat(descriptor).st_size == source.size:
            forget_cached(descriptor)
            if _good_pieces(descriptor, cut) == len(cut):
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
def _locked(temporary: Path) -> Iterator[int]:
    """A descriptor of the temporary file, which no other upload of this key writes meanwhile."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            lock(descriptor, temporary)
            if is_still(temporary, descriptor):  # else the one before us has just published or removed it
                yield descriptor
                return
        finally:
            os.close(descriptor)


def lock(descriptor: int, temporary: Path) -> None:
    """Makes the unfinished file ours for as long as the descriptor is open; raises UnavailableError if it is
    another process's."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UnavailableError(
            "another process is uploading the same file", f"it holds {temporary}", "it is tried again"
        ) from error
    except OSError as error:
        # A file system without locks: two uploads of one key write the same bytes, and both read them back.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise


def is_still(path: Path, descriptor: int) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _fill(descriptor: int, temporary: Path, source: Source, cut: Cut, watch: Watch) -> None:
    """Brings the temporary file to the source's content, flushed and read back."""
    good = _good_pieces(descriptor, cut)
    kept = sum(length for _, length, _ in cut[:good])
    if kept:
        watch.resumed(kept)
    os.ftruncate(descriptor, kept)
    with opened(source) as original:
        for offset, length, crc in cut[good:]:
            if _copy(source, original, descriptor, offset, length, watch) != crc:
                raise changed(source, f"other bytes between {offset} and {offset + length}")
    try:
        flush(descriptor)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UnavailableError(
            f"{temporary} could not be flushed to the disk", error.strerror or "", "it is written anew"
        ) from error
    forget_cached(descriptor)
    if _good_pieces(descriptor, cut) != len(cut):
        raise IntegrityError(
            f"{temporary} came back with other bytes than were written",
            "",
            "check the disk or mount; it is written anew",
        )


def _copy(source: Source, original: int, descriptor: int, offset: int, length: int, watch: Watch) -> int:
    """Copies one piece; the CRC-64/NVME of what was read."""
    buffer = memoryview(bytearray(min(_BLOCK, length)))
    crc = 0
    for position in range(offset, offset + length, _BLOCK):
        block = buffer[: offset + length - position]
        read_at(source, original, position, block)
        crc = crc64nvme(block, crc)
        written = 0
        while written < len(block):
            written += os.pwrite(descriptor, block[written:], position + written)
        watch.moved(len(block))
    return crc


def _good_pieces(descriptor: int, cut: Cut) -> int:
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
        if crc != expected:
            return number
    return len(cut)

"""Where a checkpoint's files can be read by range: a copy on this machine, or the cold tier's object.

A hot copy counts only if the journal says that exactly this content passed validation, and only as long as its inode,
size and mtime are those of then; the cold tier's object is the one that a committed manifest names.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from ckpt_tier.cold.manifest import ManifestFile
from ckpt_tier.core.nouns import FileDigest, Stamp
from ckpt_tier.core.states import VALID
from ckpt_tier.errors import IntegrityError, MissingKeyError, NotFoundError, SourceChangedError, UsageError
from ckpt_tier.formats.reader import FileReader
from ckpt_tier.journal.saves import Save
from ckpt_tier.store.protocol import Store
from ckpt_tier.tensors.ranges import Cost, Ranges

Retry = Callable[[Callable[[], bytes]], bytes]
"""Makes a call until it succeeds, as far as that is worth it: `flow.retry.persistently` with a clock."""


class Source(msgspec.Struct, frozen=True):
    """One file, not opened yet.

    Attributes:
        path: relative to the checkpoint's root.
        size: bytes.
        place: where it is read from: an absolute path, or the URL of an object.
        open: opens it; gives a `formats.check.Reader`. Raises NotFoundError, IntegrityError, UnavailableError; on the
            way out SourceChangedError where a local file is not what it was.
        rank: whose share it belongs to, where the checkpoint has several.
        digest: what validation found in it; None where nobody vouches for it.
        key: of the object; None on this machine.
        stamp: of a file of this machine; only while it has that, it is what was found.
    """

    path: str
    size: int
    place: str
    open: Callable[[], AbstractContextManager[Ranges]]
    rank: int | None = None
    digest: FileDigest | ManifestFile | None = None
    key: str | None = None
    stamp: Stamp | None = None

    @property
    def sha256(self) -> str | None:
        """Of all of it, 64 hex digits, as its validation read it; None where nobody has."""
        return None if self.digest is None else self.digest.sha256


def local_file(
    path: Path,
    name: str,
    cost: Cost,
    stamp: Stamp | None = None,
    *,
    rank: int | None = None,
    digest: FileDigest | None = None,
) -> Source:
    """A file of this machine, called `name`; with `stamp`, it must have that content. Raises NotFoundError, UsageError,
    SourceChangedError."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{path} is not there", fix="check the path, or give --step N") from error
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    seen = Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
    if stamp not in (None, seen):
        raise SourceChangedError(f"{path} changed since it was validated")

    @contextlib.contextmanager
    def opened() -> Iterator[Ranges]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            yield Ranges(seen.size, FileReader(descriptor, seen.size).read_at, cost)
            now = os.fstat(descriptor)
            if Stamp(now.st_ino, now.st_size, now.st_mtime_ns) != seen:
                raise SourceChangedError(f"{path} changed while it was read", fix="run it again")
        finally:
            os.close(descriptor)

    return Source(name, seen.size, str(path), opened, rank=rank, digest=digest, stamp=seen)


def cold_file(store: Store, file: ManifestFile, retry: Retry, cost: Cost, rank: int | None = None) -> Source:
    """The cold tier's object. Each range is one request, which `retry` may repeat."""

    def fetch(offset: int, length: int) -> bytes:
        try:
            return retry(lambda: _range(store, file.key, offset, length))
        except MissingKeyError as error:
            raise IntegrityError(f"{file.key} is missing", "its manifest is there, the object is not") from error

    return Source(
        file.path,
        file.size,
        f"{store.url.rstrip('/')}/{file.key}",
        lambda: contextlib.nullcontext(Ranges(file.size, fetch, cost)),
        rank=rank,
        digest=file,
        key=file.key,
    )


def hot_files(hot: Path, shares: Sequence[Save], cost: Cost) -> tuple[Source, ...] | None:
    """The files of these shares of one checkpoint on the hot tier; None unless all of them are there, and all are the
    very content that was validated."""
    if not shares or any(share.state not in VALID for share in shares):
        return None
    try:
        return tuple(
            local_file(hot / file.path, file.path, cost, file.stamp, rank=share.rank, digest=file.digest)
            for share in shares
            for file in share.files
        )
    except (NotFoundError, UsageError, SourceChangedError, OSError):
        return None


def remembering(source: Source) -> Source:
    """The same file: the small blocks that its first reader has read are not read again by later ones."""
    known: list[tuple[int, bytes]] = []

    @contextlib.contextmanager
    def opened() -> Iterator[Ranges]:
        with source.open() as reader:
            reader.keep(known)
            yield reader
            if not known:
                known.extend(reader.kept())

    return msgspec.structs.replace(source, open=opened)


def _range(store: Store, key: str, offset: int, length: int) -> bytes:
    data = bytearray()
    with contextlib.closing(store.read(key, offset, length)) as blocks:
        for block in blocks:
            data += block
    return bytes(data)

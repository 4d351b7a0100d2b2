"""The bytes of one file of a checkpoint, by ranges: of the verified hot copy, or of the cold tier's object."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Protocol

from ckpt_tier.core.nouns import Stamp
from ckpt_tier.errors import IntegrityError, MissingKeyError, NotFoundError, SourceChangedError
from ckpt_tier.flow.retry import persistently
from ckpt_tier.formats.reader import FileReader
from ckpt_tier.store.protocol import Store
from ckpt_tier.store.s3_filesystem import S3Reader
from ckpt_tier.system.clock import Clock
from ckpt_tier.tensors.sources import Source


class Content(Protocol):
    """An open file."""

    def read(self, begin: int, end: int) -> bytes:
        """Exactly these bytes, which the file has. Raises IntegrityError, SourceChangedError, UnavailableError."""
        ...

    def close(self) -> None: ...


class HotContent:
    """A validated copy on this machine. It may be evicted meanwhile, but each read looks whether it is still what was
    validated. Safe to use from several threads."""

    def __init__(self, source: Source) -> None:
        """Raises NotFoundError, SourceChangedError: gone, or not what was validated."""
        self._source = source
        try:
            self._descriptor = os.open(source.place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise NotFoundError(f"{source.place} can't be opened", error.strerror or "") from error
        try:
            self._check()
        except SourceChangedError:
            self.close()
            raise

    def read(self, begin: int, end: int) -> bytes:
        data = FileReader(self._descriptor, self._source.size).read_at(begin, end - begin)
        self._check()
        return data

    def _check(self) -> None:
        now = os.fstat(self._descriptor)
        if Stamp(now.st_ino, now.st_size, now.st_mtime_ns) != self._source.stamp:
            raise SourceChangedError(f"{self._source.place} changed since it was validated", fix="open it again")

    def close(self) -> None:
        os.close(self._descriptor)


class ColdContent:
    """An object. `fetch(key, begin, end)` reads a range of it. As safe to use from several threads as that is."""

    def __init__(self, source: Source, key: str, fetch: Callable[[str, int, int], bytes]) -> None:
        self._source = source
        self._key = key
        self._fetch = fetch

    def read(self, begin: int, end: int) -> bytes:
        try:
            data = self._fetch(self._key, begin, end)
        except MissingKeyError as error:
            raise IntegrityError(
                f"{self._source.place} is missing",
                "its manifest is there, the object is not",
                "`ckpt-tier verify` tells what else is missing; take another step",
            ) from error
        if len(data) != end - begin:
            raise IntegrityError(
                f"{self._source.place} is not what was uploaded",
                f"of bytes {begin} to {end} there came {len(data)}",
                "`ckpt-tier verify --read` tells what else is damaged; take another step",
            )
        return data

    def close(self) -> None:
        """Nothing is held."""


class ColdReader:
    """Reads objects of one store: S3 through s3fs, all others as `Store` does. Safe to use from several threads, not
    over a fork."""

    def __init__(self, store: Store, s3: S3Reader | None, clock: Clock) -> None:
        self._store = store
        self._s3 = s3
        self._clock = clock

    def fetch(self, key: str, begin: int, end: int) -> bytes:
        """Raises what `Store.read` does."""
        # s3fs takes what follows this for the version of an object.
        if self._s3 is not None and "?versionId=" not in key:
            return self._s3.read(key, begin, end)
        return persistently(lambda: self._whole(key, begin, end), self._clock)

    def _whole(self, key: str, begin: int, end: int) -> bytes:
        data = bytearray()
        with contextlib.closing(self._store.read(key, begin, end - begin)) as blocks:
            for block in blocks:
                data += block
        return bytes(data)

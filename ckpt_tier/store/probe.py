"""Trying out a store: each thing the program will ask of it, done once for real and cleaned up."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ckpt_tier.core.pieces import PieceChecksums, pieces
from ckpt_tier.errors import AttentionError, CkptTierError, KeyExistsError, UnavailableError
from ckpt_tier.store.apart import ApartStore
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Source, Store
from ckpt_tier.store.s3 import S3Store
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.digests import combine, crc64nvme, to_hex

_PIECE = 5 * 2**20
"""The smallest part that S3 takes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""


class Trial(msgspec.Struct, frozen=True):
    """One thing that was tried.

    Attributes:
        name: what, in a few words: "conditional write".
        ok: whether it did what it should.
        detail: what came of it, one clause; empty when there is nothing to say.
        needed: whether the store can't be used without it.
        fix: what to do about it, where that is known; `detail` ends with it.
        exit_code: what the error's exit code is; that of AttentionError where there was none.
    """

    name: str
    ok: bool
    detail: str = ""
    needed: bool = True
    fix: str = ""
    exit_code: int = AttentionError.exit_code


class _Silent:
    """Watches without a word."""

    def moved(self, count: int) -> None:
        pass

    def resumed(self, count: int) -> None:
        pass


def try_out(store: Store) -> Iterator[Trial]:
    """Tries one thing after the other, each when its result is asked for; ends early when nothing can be written.

    Writes below ``.ckpt-tier-probe/`` only, and removes that. Raises nothing of what a store may raise: errors are
    results.
    """
    folder = f".ckpt-tier-probe/{random_id()}"
    written = _attempt("write", lambda: store.put(f"{folder}/small", b"ckpt-tier"))
    yield written
    if not written.ok:
        return
    try:
        yield _attempt("read back", lambda: _read_back(store, f"{folder}/small"))
        yield _attempt("list", lambda: _list(store, folder))
        name = "no-replace" if isinstance(store, FolderStore | ApartStore) else "conditional write"
        yield _attempt(name, lambda: _conditional_write(store, f"{folder}/once"))
        if isinstance(store, S3Store):
            yield _attempt("multipart with checksum", lambda: _multipart(store, f"{folder}/large"))
            yield _attempt("wrong checksum refused", lambda: _wrong_checksum(store), needed=False)
        else:
            name = "upload, read back past the cache" if isinstance(store, FolderStore) else "upload, read back"
            yield _attempt(name, lambda: _multipart(store, f"{folder}/large"))
        yield _attempt("delete", lambda: _delete(store, folder))
    finally:
        with contextlib.suppress(CkptTierError):
            _remove(store, folder)


class _Disappointed(Exception):  # noqa: N818
    """The store did something else than it should; the text says what."""


def _attempt(name: str, trial: Callable[[], str | None], *, needed: bool = True) -> Trial:
    try:
        return Trial(name, True, trial() or "", needed)
    except _Disappointed as error:
        return Trial(name, False, str(error), needed)
    except CkptTierError as error:
        detail = f"{error}; {error.fix}" if error.fix else str(error)
        return Trial(name, False, detail, needed, error.fix, error.exit_code)


def _read_back(store: Store, key: str) -> None:
    if store.get(key, 1000) != b"ckpt-tier":
        raise _Disappointed("other bytes came back than were written")
    if b"".join(map(bytes, store.read(key, 5, 4))) != b"tier":
        raise _Disappointed("a range came back wrong")


def _list(store: Store, folder: str) -> None:
    if isinstance(store, FolderStore | ApartStore):
        # Its listing leaves the probe out: list what is beside it.
        list(store.folders(""))
        return
    if [entry.key for entry in store.list(folder)] != [f"{folder}/small"]:
        raise _Disappointed("an object that was just written is not listed")


def _conditional_write(store: Store, key: str) -> str:
    store.put(key, b"first", if_absent=True)
    try:
        store.put(key, b"second", if_absent=True)
    except KeyExistsError:
        if store.get(key, 1000) == b"first":
            return "" if store.capabilities().conditional_put else "by looking first: the store has none"
    raise _Disappointed("a second writer replaced what the first had written")


def _multipart(store: Store, key: str) -> str:
    with tempfile.TemporaryDirectory(prefix="ckpt-tier-") as folder:
        path = Path(folder) / "probe"
        path.write_bytes(os.urandom(_PIECE + 1))
        source = _source(path)
        store.upload(key, source, _Silent())
    found = store.stat(key)
    if found.size != source.size or found.crc64nvme not in (None, source.crc64nvme):
        raise _Disappointed(f"{found.size} bytes with checksum {found.crc64nvme} are there")
    return "" if found.crc64nvme else "the store keeps no checksum: every upload is read back"


def _source(path: Path) -> Source:
    data = path.read_bytes()
    ranges = pieces(len(data), _PIECE)
    crcs = tuple(crc64nvme(data[offset : offset + length]) for offset, length in ranges)
    whole = combine([(crc, length) for crc, (_, length) in zip(crcs, ranges, strict=True)])
    return Source(path, len(data), to_hex(whole), PieceChecksums(_PIECE, crcs))


def _wrong_checksum(store: S3Store) -> None:
    if not store.refuses_wrong_checksums():
        raise _Disappointed("the store accepted it: every upload is read back, which takes as long again")


def _delete(store: Store, folder: str) -> None:
    _remove(store, folder)
    try:
        store.get(f"{folder}/small", 1000)
    except CkptTierError as error:
        if isinstance(error, UnavailableError):
            raise
        return
    raise _Disappointed("an object is still there after it was deleted")


def _remove(store: Store, folder: str) -> None:
    for name in ("small", "once", "large"):
        store.delete(f"{folder}/{name}")

"""The store protocol: the whole of what the rest of the program may ask of a cold tier.

A store holds objects under keys below one root (a bucket and prefix, or a folder). Its contract:

**Keys** are relative POSIX paths of printable segments, never absolute, never with an empty, ``.`` or ``..``
segment; `check_key` refuses others. Keys compare by their UTF-8 bytes.

**Atomicity.** An object is there whole or not at all; no reader ever sees part of one. Writing the same key twice
is the caller's mistake except where it says `if_absent`; the layout of the cold tier gives different bytes
different keys.

**Age.** `Stat.modified` is when the object was last written, and `prune` takes what nothing refers to for rubbish once
that is long ago. So whoever is about to refer to an object that an earlier attempt had left there calls `refresh`
first. (S3 dates an object of several parts by the beginning of its upload, so one that took days is born old.)

**Durability.** When `put` or `upload` returns, the object survives the death of this process and machine as far
as the medium can promise it (S3: acknowledged; folder: file and folder fsynced).

**Retries.** A store tries each request once. Retrying is done by one place only (`ckpt_tier.flow.retry`), and
everything here can be called again after any error.

**Threads.** Every method may be called from several threads at once.

**Errors** are of `ckpt_tier.errors`: MissingKeyError (no object under the key), KeyExistsError (`if_absent`, and
one is there), AccessDeniedError (credentials refused), UnavailableError (no answer, throttled, 5xx, a cut
stream, a stale mount: worth another try), IntegrityError (the store refused or delivered wrong bytes),
SourceChangedError (the local file is not what its checksums say), NoSpaceError (a folder is full), ConfigError
(no such bucket, no marker file, bad URL). No exception of a library leaves a store.
"""

from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from ckpt_tier.core.pieces import PieceChecksums
from ckpt_tier.errors import UsageError

MAX_KEY_BYTES = 1024
"""S3's limit: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""


READ_BLOCK = 2**20
"""Bytes, at the most, of a block that is read: it stays in the processor's cache while it is checked and written."""

Blocks = Generator[memoryview, None, None]
"""Bytes in blocks of at most `READ_BLOCK`; each is valid until the next is asked for."""


class Capabilities(msgspec.Struct, frozen=True):
    """What a store was found to do, each by trying it.

    Attributes:
        conditional_put: `put(if_absent=True)` is atomic against other writers.
        verifies_uploads: the store itself refuses bytes that don't match the CRC-64/NVME sent along; where it
            does not, `upload` reads every object back before it returns.
    """

    conditional_put: bool
    verifies_uploads: bool


class Stat(msgspec.Struct, frozen=True):
    """One object as the store describes it.

    Attributes:
        key: relative to the store's root.
        size: bytes.
        crc64nvme: 16 hex digits over the whole object, or None where the store keeps none.
        modified: seconds since the epoch by the store's clock.
    """

    key: str
    size: int
    crc64nvme: str | None
    modified: float


class Leftovers(msgspec.Struct, frozen=True):
    """What killed uploads had left behind: how many, and their bytes in all."""

    count: int = 0
    size: int = 0


class Source(msgspec.Struct, frozen=True):
    """A local file with the checksums that validation found: what `upload` must deliver, or refuse.

    `crc64nvme` is 16 hex digits over the whole; `pieces` cut the file as `core.pieces.piece_size` says.
    """

    path: Path
    size: int
    crc64nvme: str
    pieces: PieceChecksums


class Watch(Protocol):
    """Follows a transfer. Called from several threads."""

    def moved(self, count: int) -> None:
        """`count` more bytes went over the wire (or, for a folder, to the disk). Blocks to hold a bandwidth limit;
        raises CancelledError to end the transfer, which can then be resumed. A `count` of 0 is a sign of life while
        nothing is sent (bytes are read back, say), and an occasion to raise."""
        ...

    def resumed(self, count: int) -> None:
        """`count` bytes need not be sent: an earlier attempt, or somebody else, had stored them. Whenever anything of
        an object may be older than the call, this is called, if only with 0."""
        ...


class Store(Protocol):
    """A cold tier. The module's docstring is the contract."""

    @property
    def url(self) -> str:
        """The root, without credentials: for messages."""
        ...

    @property
    def listing_page(self) -> int | None:
        """Keys that one request of a listing brings; None where a listing is not made of requests."""
        ...

    def capabilities(self) -> Capabilities:
        """What this store does, found by trying it once below ``.ckpt-tier-probe/`` (cleaned up afterwards)."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        """Objects whose keys start with `prefix` and sort after `after` (a whole key), in key order; `crc64nvme`
        is None. Lazy: see `listing_page`."""
        ...

    def folders(self, prefix: str) -> Sequence[str]:
        """The names of the folders directly below `prefix` (which ends in ``/`` or is empty), sorted."""
        ...

    def stat(self, key: str) -> Stat:
        """Size and checksum of one object, without its bytes; raises MissingKeyError."""
        ...

    def get(self, key: str, limit: int) -> bytes:
        """A small object whole; raises IntegrityError when it holds more than `limit` bytes."""
        ...

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Stores a small object in one request; with `if_absent` raises KeyExistsError, and changes nothing, when
        there is one. Without a conditional write in the store, `if_absent` is a stat followed by a put."""
        ...

    def upload(self, key: str, source: Source, watch: Watch) -> None:
        """Stores a file of any size. Goes on where an earlier, killed attempt with the same key stopped, at whole
        pieces; what had been finished is asked of the store, so nothing need be remembered here. The same
        object already there is success. When it returns, the object's bytes are proven to have the source's
        checksum: by the store, or by reading them back."""
        ...

    def refresh(self, key: str, source: Source, watch: Watch) -> None:
        """Makes an object that `upload` has found or put there young again: `modified` becomes now. The same bytes are
        written over it, or, where the store can, only its time; a reader sees them whole throughout. Raises as `upload`
        does; KeyExistsError, and changes nothing, when the object has other bytes; MissingKeyError when it is gone."""
        ...

    def read(self, key: str, offset: int, length: int) -> Blocks:
        """The object's bytes from `offset` on, `length` of them, in order, as they arrive: nothing is asked for before
        the first is wanted. To be closed by whoever does not read to the end. Raises, out of the iteration,
        IntegrityError where the object ends before, UnavailableError where the answer breaks off: what had come until
        then is right, as far as the line goes, and another call can go on behind it."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; one that is not there is success."""
        ...

    def clean_up(self, prefixes: Sequence[str], older_than: float, keep: Collection[str]) -> Leftovers:
        """Removes what killed uploads of keys below `prefixes` have left, and says what it was. Never an object.

        Only what has not grown for `older_than` seconds by the store's own clock, is not being written now, and
        belongs to none of the keys in `keep`. An upload that wanted to go on from it begins anew. A folder's
        leftovers don't tell their prefix: there those of every prefix go. Where a store lets nobody look, nothing is
        removed; raises AccessDeniedError where it may be seen but not removed."""
        ...


def check_key(key: str) -> str:
    """`key`, if it is a fit one; raises UsageError."""
    segments = key.split("/")
    if any(s in ("", ".", "..") for s in segments) or not key.isprintable() or "\\" in key:
        raise UsageError(f"{key!r} is not a key", "keys are relative paths without '.', '..' or control characters")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise UsageError(f"the key {key[:60]!r}… is too long", f"S3 takes at most {MAX_KEY_BYTES} bytes")
    return key

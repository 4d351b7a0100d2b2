"""One piece of a local file as the body of a request.

Either it is read by `pread` as it is sent, and its checksum proven before the last block leaves; or it goes from the
page cache into the socket, and the store proves the checksum that goes with it (see `store.s3_wire`)."""

import contextlib
import io
import os
import threading
from collections.abc import Iterator

from ckpt_tier.core.pieces import pieces
from ckpt_tier.errors import CancelledError, IntegrityError, SourceChangedError
from ckpt_tier.store.protocol import Source, Watch
from ckpt_tier.system.digests import combine, crc64nvme, to_hex

SEND_BLOCK = 2**18
"""Bytes read and sent at a time: Python's send timeout runs per block, so slow lines need small ones; and what was read
is still in the processor's caches when it is sent."""


@contextlib.contextmanager
def opened(source: Source) -> Iterator[int]:
    """A descriptor of the source's file; raises SourceChangedError if it is gone or has another size."""
    try:
        descriptor = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceChangedError(f"{source.path} is gone", error.strerror or "") from error
    try:
        if (size := os.fstat(descriptor).st_size) != source.size:
            raise changed(source, f"it has {size} bytes instead of {source.size}")
        yield descriptor
    finally:
        os.close(descriptor)


def checked_pieces(source: Source) -> list[tuple[int, int, int]]:
    """(offset, length, CRC) of each piece; raises SourceChangedError when the checksums don't belong together."""
    ranges = pieces(source.size, source.pieces.piece_size)
    crcs = source.pieces.crcs
    if len(crcs) != len(ranges):
        raise changed(source, f"{len(crcs)} checksums for {len(ranges)} pieces")
    if to_hex(combine([(crc, length) for crc, (_, length) in zip(crcs, ranges, strict=True)])) != source.crc64nvme:
        raise changed(source, "the checksums of its pieces don't combine to that of the whole")
    return [(offset, length, crc) for (offset, length), crc in zip(ranges, crcs, strict=True)]


def changed(source: Source, why: str) -> SourceChangedError:
    """The error for a file that is not what its checksums say."""
    return SourceChangedError(f"{source.path} changed since it was validated", why)


def _cut_short(source: Source, at: int) -> SourceChangedError:
    return changed(source, f"it ends at byte {at} of {source.size}")


def read_at(source: Source, descriptor: int, offset: int, buffer: memoryview) -> None:
    """Fills `buffer` with the source's bytes from `offset`; raises SourceChangedError when they end before."""
    filled = 0
    while filled < len(buffer):
        try:
            count = os.preadv(descriptor, [buffer[filled:]], offset + filled)
        except OSError as error:
            raise IntegrityError(f"{source.path} can't be read", error.strerror or "") from error
        if count == 0:
            raise _cut_short(source, offset + filled)
        filled += count


class PieceBody:
    """The bytes `offset` … `offset + length` of an open source, as a file to be read once from start to end.

    `crc` is the CRC-64/NVME they must have; `checked_by_store` says that the store refuses others. Going back to the
    start (botocore does so to send again) is possible; bytes are reported to `watch` the first time only. Holds a block
    whatever the length. Not thread-safe. Blocks that `read` returns are valid until the next `read`.

    Raises, out of `read`: SourceChangedError, before the last block, when the bytes have another checksum;
    CancelledError when `stopped` is set or `watch` says so.
    """

    def __init__(
        self,
        source: Source,
        descriptor: int,
        offset: int,
        length: int,
        crc: int,
        watch: Watch,
        stopped: threading.Event,
        *,
        checked_by_store: bool,
    ) -> None:
        self._source = source
        self._descriptor = descriptor
        self._offset = offset
        self.length = length
        self._crc = crc
        self._watch = watch
        self._stopped = stopped
        self.checked_by_store = checked_by_store
        self._buffer: memoryview | None = None  # made when something is read
        self._reported = 0
        self._spanned = 0
        self._rewind(0)

    def span(self, most: int) -> tuple[int, int, int] | None:
        """(descriptor, offset, length) of the next run of bytes, at most `most` long, for whoever sends them without
        reading them; None at the end. What was asked for is taken as sent when the next is asked for.

        Raises CancelledError when `stopped` is set or `watch` says so.
        """
        self._position += self._spanned
        self._report()
        self._spanned = min(most, self.length - self._position)
        if self._spanned == 0:
            return None
        self._go_on()
        return self._descriptor, self._offset + self._position, self._spanned

    def cut_short(self, offset: int) -> SourceChangedError:
        """The error for a file that was found to end at `offset`."""
        return _cut_short(self._source, offset)

    def check(self) -> None:
        """Reads the piece; raises SourceChangedError when its bytes have another checksum."""
        self._rewind(0)
        while self._loaded < self.length:
            self._load()

    def _rewind(self, position: int) -> None:
        self._position = position
        self._loaded = 0  # how far blocks have been read
        self._running = 0

    def read(self, _count: int = -1) -> memoryview:
        """The next block, of the size that suits us: whoever sends takes whatever is given. Empty at the end."""
        self._go_on()
        if self._position >= self.length:
            return memoryview(b"")
        block = self._load()
        self._position += len(block)
        self._report()
        return block

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise CancelledError("the upload was ended", fix="run the same command again to go on")

    def _report(self) -> None:
        if self._position > self._reported:
            fresh, self._reported = self._position - self._reported, self._position
            self._watch.moved(fresh)

    def _load(self) -> memoryview:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(min(SEND_BLOCK, self.length)))
        block = self._buffer[: self.length - self._loaded]
        read_at(self._source, self._descriptor, self._offset + self._loaded, block)
        self._running = crc64nvme(block, self._running)
        self._loaded += len(block)
        if self._loaded == self.length and self._running != self._crc:
            raise changed(self._source, f"other bytes between {self._offset} and {self._offset + self.length}")
        return block

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """To the start, where everything begins anew, or to the end, by which botocore measures the length."""
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.length}[whence]
        if target not in (0, self.length, self._position):
            raise io.UnsupportedOperation("a piece is read from its start to its end")
        if target != self._position:
            self._rewind(target)
        return target

    def tell(self) -> int:
        return self._position

"""Bringing one object down into a staging file: parallel streams, checked while they arrive, resumed after a kill.

Beside ``<n>.part`` lies ``<n>.pieces``: a line per finished piece with its index and CRC. After a kill the pieces
named there are read again from the staging file, and only those whose CRC still holds are kept: a piece that a power
loss took back is fetched again.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import msgspec

from ckpt_tier.cold.manifest import ManifestFile
from ckpt_tier.core.pieces import MIB, pieces
from ckpt_tier.errors import IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.flow.lanes import Lane, Lanes
from ckpt_tier.flow.proof import verdict_on_reading
from ckpt_tier.flow.reading import Reading
from ckpt_tier.flow.retry import READ_ATTEMPTS, persistently
from ckpt_tier.store.protocol import READ_BLOCK, Store, Watch
from ckpt_tier.system.clock import Clock
from ckpt_tier.system.digests import combine, crc64nvme, to_hex
from ckpt_tier.system.durable import flush, out_of_space_is_said, write_all
from ckpt_tier.system.flushing import flushed_beside
from ckpt_tier.system.streams import Streams, Width, in_streams

PIECE = 16 * MIB
"""Bytes that are noted as finished together: a kill costs at most so many in each stream."""
FLUSH_EVERY = 64 * MIB
"""Bytes written between two flushes of a large file."""
MOST_STREAMS = 16
"""Over a line with a long way."""


class _Target(msgspec.Struct, frozen=True):
    """What the streams of one object share: the staging file, its ledger, and who does what."""

    descriptor: int
    ledger: BinaryIO | None
    lanes: Lanes
    streams: Streams
    stopped: threading.Event
    wrote: Callable[[int], object]


class Fetching:
    """One object on its way into `staged`. To be used once, by one thread."""

    def __init__(
        self, store: Store, file: ManifestFile, staged: Path, watch: Watch, clock: Clock, width: Width
    ) -> None:
        self._store = store
        self._file = file
        self._staged = staged
        self._ledger = staged.with_suffix(".pieces")
        self._watch = watch
        self._clock = clock
        self._width = width
        self._plan = pieces(file.size, PIECE)
        self._crcs: dict[int, int] = {}

    def run(self) -> None:
        """Fills the staging file with the object's bytes, all of them proven by the manifest's CRC-64/NVME, gives it
        the mode and time of the saved one, and flushes it.

        Raises IntegrityError when the object is damaged or missing, UnavailableError when the store is away,
        NoSpaceError, CancelledError, OSError. What arrived is kept for another try, except after an IntegrityError
        and after a flush that failed.
        """
        with out_of_space_is_said(self._staged):
            descriptor = self._opened()
            try:
                if os.fstat(descriptor).st_size == self._file.size:
                    self._keep_what_arrived(descriptor)
                os.ftruncate(descriptor, self._file.size)
                self._fetch_missing(descriptor)
                self._refuse_damaged()
                os.fchmod(descriptor, self._file.mode & 0o777)  # no set-user-id or the like from a bucket
                os.utime(descriptor, ns=(self._file.mtime_ns, self._file.mtime_ns))
                self._flush(descriptor)
            finally:
                os.close(descriptor)

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._staged, flags, 0o600)
        except PermissionError:  # a kill came after it had got its read-only mode
            self._staged.chmod(0o600)
            return os.open(self._staged, flags, 0o600)

    def _flush(self, descriptor: int) -> None:
        try:
            flush(descriptor)
        except OSError:
            self._discard()
            raise

    def _refuse_damaged(self) -> None:
        whole = combine([(self._crcs[index], length) for index, (_, length) in enumerate(self._plan)])
        if to_hex(whole) != self._file.crc64nvme:
            self._discard()
            raise self._damaged("what came back has another CRC-64/NVME than the manifest says")

    def _keep_what_arrived(self, descriptor: int) -> None:
        for index, crc in self._noted():
            if 0 <= index < len(self._plan) and _crc_of(descriptor, *self._plan[index]) == crc:
                self._crcs[index] = crc
        kept = sum(self._plan[index][1] for index in self._crcs)
        if kept:
            self._watch.resumed(kept)

    def _noted(self) -> Iterator[tuple[int, int]]:
        """(index, CRC) of the pieces that may have arrived. One of a single piece needs no note: it is known what its
        CRC must be."""
        if len(self._plan) == 1:
            yield 0, int(self._file.crc64nvme, 16)
            return
        with contextlib.suppress(FileNotFoundError):
            for line in self._ledger.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    index, crc = (int(word, 16) for word in line.split())
                    yield index, crc

    def _fetch_missing(self, descriptor: int) -> None:
        missing = [index for index in range(len(self._plan)) if index not in self._crcs]
        if not missing:
            return
        streams = Streams(self._width, min(MOST_STREAMS, len(missing)), self._clock.monotonic)
        lanes = Lanes(missing, streams.count)
        stopped = threading.Event()
        try:
            with self._opened_ledger() as ledger, self._flushed_beside(descriptor) as wrote:
                target = _Target(descriptor, ledger, lanes, streams, stopped, wrote)
                in_streams(lambda lane: self._fetch(lane, target), lanes.claim, streams, stopped)
        except MissingKeyError as error:
            raise self._damaged("the object is missing, its manifest is there") from error
        except UnavailableError as error:
            raise verdict_on_reading(self._store, self._file, error) from error

    def _flushed_beside(self, descriptor: int) -> AbstractContextManager[Callable[[int], object]]:
        if self._file.size <= FLUSH_EVERY:
            return contextlib.nullcontext(lambda _: None)
        return flushed_beside(lambda: self._flush(descriptor), FLUSH_EVERY)

    def _opened_ledger(self) -> AbstractContextManager[BinaryIO | None]:
        return self._ledger.open("ab", buffering=0) if len(self._plan) > 1 else contextlib.nullcontext()

    def _fetch(self, lane: Lane, target: "_Target") -> None:
        """Fetches the lane's pieces, and notes each."""
        crc = 0

        def take(block: memoryview) -> None:
            nonlocal crc
            position = reading.position
            while len(block) and position < reading.end:
                offset, size = self._plan[lane.at]
                part = block[: offset + size - position]
                crc = crc64nvme(part, crc)
                write_all(target.descriptor, part, position)
                position, block = position + len(part), block[len(part) :]
                if position == offset + size:
                    self._note(lane.at, crc, target.ledger)
                    crc = 0
                    if not target.lanes.advance(lane) or target.stopped.is_set():
                        reading.end = position
                target.wrote(len(part))
                target.streams.moved(len(part))
                self._watch.moved(len(part))

        def go_on() -> None:
            at = lane.at
            try:
                reading.go_on()
            except UnavailableError:
                if lane.at == at:
                    raise
                # What breaks off after whole pieces have come is no failed attempt: a long lane may see many of those.

        begin, (last, length) = self._plan[lane.at][0], self._plan[lane.end - 1]
        reading = Reading(self._store, self._file.key, begin, last + length, take)
        while not reading.is_done:
            persistently(go_on, self._clock, READ_ATTEMPTS)

    def _note(self, index: int, crc: int, ledger: BinaryIO | None) -> None:
        self._crcs[index] = crc
        if ledger is not None:
            ledger.write(f"{index:x} {crc:016x}\n".encode())

    def _damaged(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self._file.key} is damaged", why, "restore another step, or repair the object from another copy"
        )

    def _discard(self) -> None:
        self._staged.unlink(missing_ok=True)
        self._ledger.unlink(missing_ok=True)


def _crc_of(descriptor: int, offset: int, length: int) -> int:
    crc = 0
    for position in range(offset, offset + length, READ_BLOCK):
        crc = crc64nvme(os.pread(descriptor, min(READ_BLOCK, offset + length - position), position), crc)
    return crc

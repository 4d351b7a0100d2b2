"""Bringing one object down into a staging file: parallel ranges, checked while they arrive, resumed after a kill.

Beside ``<n>.part`` lies ``<n>.pieces``: a line per finished piece with its index and CRC. After a kill the pieces
named there are read again from the staging file, and only those whose CRC still holds are kept: a piece that a power
loss took back is fetched again.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ckpt_tier.cold.manifest import ManifestFile
from ckpt_tier.core.pieces import MIB, pieces
from ckpt_tier.errors import IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.flow.at_once import at_once
from ckpt_tier.flow.proof import verdict_on_reading
from ckpt_tier.flow.reading import Reading
from ckpt_tier.flow.retry import READ_ATTEMPTS, persistently
from ckpt_tier.store.protocol import READ_BLOCK, Store, Watch
from ckpt_tier.system.clock import Clock
from ckpt_tier.system.digests import combine, crc64nvme, to_hex
from ckpt_tier.system.durable import out_of_space_is_said

PIECE = 16 * MIB
"""Bytes that are noted as finished together: a kill costs at most so many in each thread."""
PIECES_IN_A_RUN = 8
"""Pieces that one request brings."""
THREADS = 4


class Fetching:
    """One object on its way into `staged`. To be used once, by one thread."""

    def __init__(self, store: Store, file: ManifestFile, staged: Path, watch: Watch, clock: Clock) -> None:
        self._store = store
        self._file = file
        self._staged = staged
        self._ledger = staged.with_suffix(".pieces")
        self._watch = watch
        self._clock = clock
        self._plan = pieces(file.size, PIECE)
        self._crcs: dict[int, int] = {}

    def run(self) -> None:
        """Fills the staging file with the object's bytes, all of them proven by the manifest's CRC-64/NVME.

        Raises IntegrityError when the object is damaged or missing, UnavailableError when the store is away,
        NoSpaceError, CancelledError. What arrived is kept for another try, except after an IntegrityError.
        """
        with out_of_space_is_said(self._staged):
            with contextlib.suppress(FileNotFoundError):  # a kill may have come after it got its read-only mode
                self._staged.chmod(0o600)
            descriptor = os.open(self._staged, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if os.fstat(descriptor).st_size == self._file.size:
                    self._keep_what_arrived(descriptor)
                os.ftruncate(descriptor, self._file.size)
                self._fetch_missing(descriptor)
            finally:
                os.close(descriptor)
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
        runs = list(_runs([index for index in range(len(self._plan)) if index not in self._crcs]))
        try:
            if len(self._plan) == 1:
                at_once(lambda run: self._fetch(run, descriptor, None), runs, THREADS)
                return
            with self._ledger.open("ab", buffering=0) as ledger:
                at_once(lambda run: self._fetch(run, descriptor, ledger), runs, THREADS)
        except MissingKeyError as error:
            raise self._damaged("the object is missing, its manifest is there") from error
        except UnavailableError as error:
            raise verdict_on_reading(self._store, self._file, error) from error

    def _fetch(self, run: Sequence[int], descriptor: int, ledger: BinaryIO | None) -> None:
        """Fetches consecutive pieces, and notes each."""
        begin, (last, length) = self._plan[run[0]][0], self._plan[run[-1]]
        waiting = iter(run)
        index = next(waiting)
        crc = 0

        def take(block: memoryview) -> None:
            nonlocal index, crc
            position = reading.position
            while len(block):
                offset, size = self._plan[index]
                part = block[: offset + size - position]
                crc = crc64nvme(part, crc)
                write_all(descriptor, part, position)
                position, block = position + len(part), block[len(part) :]
                if position == offset + size:
                    self._crcs[index] = crc
                    if ledger is not None:
                        ledger.write(f"{index:x} {crc:016x}\n".encode())
                    index, crc = next(waiting, index), 0
                self._watch.moved(len(part))

        reading = Reading(self._store, self._file.key, begin, last + length, take)
        while not reading.is_done:
            persistently(reading.go_on, self._clock, READ_ATTEMPTS)

    def _damaged(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self._file.key} is damaged", why, "restore another step, or repair the object from another copy"
        )

    def _discard(self) -> None:
        self._staged.unlink(missing_ok=True)
        self._ledger.unlink(missing_ok=True)


def _runs(missing: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cuts ascending indices into runs of consecutive ones, each short enough for a request."""
    run: list[int] = []
    for index in missing:
        if run and (index != run[-1] + 1 or len(run) == PIECES_IN_A_RUN):
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _crc_of(descriptor: int, offset: int, length: int) -> int:
    crc = 0
    for position in range(offset, offset + length, READ_BLOCK):
        crc = crc64nvme(os.pread(descriptor, min(READ_BLOCK, offset + length - position), position), crc)
    return crc


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Writes `data` at `offset`, however many calls that takes."""
    while len(data):
        written = os.pwrite(descriptor, data, offset)
        data = data[written:]
        offset += written

"""Verifying the cold tier: presence by HEAD, or content by reading every byte."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

import msgspec

from ckpt_tier.cold.manifest import Manifest, ManifestFile
from ckpt_tier.cold.manifests import Entry, Manifests
from ckpt_tier.core.pieces import MIB
from ckpt_tier.errors import IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.flow.proof import prove_present, verdict_on_reading
from ckpt_tier.flow.retry import persistently
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.clock import Clock
from ckpt_tier.system.digests import crc64nvme, to_hex

HEADS_AT_ONCE = 16
READS_AT_ONCE = 4
_BLOCK = 16 * MIB


class Proved(StrEnum):
    """What a verification has shown."""

    PRESENCE = "presence"
    """Every object is there, with its size and the checksum that the store noted when it took the bytes."""
    CONTENT = "content"
    """Every byte was read, and SHA-256 and CRC-64/NVME are the manifest's."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint's verdict. `problem` is empty if it is good."""

    series: str
    step: int
    generation: str
    size_bytes: int
    proved: Proved
    problem: str = ""


def verify(manifests: Manifests, entries: list[Entry], *, read: bool, clock: Clock) -> Iterator[Verified]:
    """A verdict for each entry, in their order, as each is reached. Raises UnavailableError, CancelledError."""
    found, damaged = persistently(lambda: manifests.read_all(entries), clock)
    proved = Proved.CONTENT if read else Proved.PRESENCE

    def verdict(entry: Entry) -> Verified:
        manifest = found.get(entry)
        problem = str(damaged[entry]) if manifest is None else _problem(manifests.store, manifest, read, clock)
        return Verified(
            series=entry.series,
            step=entry.step,
            generation=entry.generation,
            size_bytes=manifest.size if manifest else 0,
            proved=proved,
            problem=problem,
        )

    with ThreadPoolExecutor(READS_AT_ONCE if read else HEADS_AT_ONCE) as pool:
        try:
            yield from pool.map(verdict, entries)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _problem(store: Store, manifest: Manifest, read: bool, clock: Clock) -> str:
    try:
        persistently(lambda: prove_present(store, manifest.files), clock)
        if read:
            for file in manifest.files:
                _read_through(store, file, clock)
    except IntegrityError as error:
        return str(error)
    return ""


def _read_through(store: Store, file: ManifestFile, clock: Clock) -> None:
    sha256 = hashlib.sha256()
    crc = 0
    buffer = memoryview(bytearray(min(_BLOCK, max(1, file.size))))
    for offset in range(0, file.size, _BLOCK):
        block = buffer[: min(_BLOCK, file.size - offset)]
        _read_block(store, file, offset, block, clock)
        sha256.update(block)
        crc = crc64nvme(block, crc)
    if sha256.hexdigest() != file.sha256 or to_hex(crc) != file.crc64nvme:
        raise IntegrityError(f"{file.key} is damaged", "its bytes have another checksum than the manifest says")


def _read_block(store: Store, file: ManifestFile, offset: int, block: memoryview, clock: Clock) -> None:
    try:
        persistently(lambda: store.read_into(file.key, offset, block), clock)
    except MissingKeyError as error:
        raise IntegrityError(f"{file.key} is missing", "its manifest is there, the object is not") from error
    except UnavailableError as error:
        raise verdict_on_reading(store, file, error) from error

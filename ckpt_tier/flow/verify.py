"""Verifying the cold tier: presence by HEAD, or content by reading every byte."""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from ckpt_tier.cold.manifest import Manifest, ManifestFile
from ckpt_tier.cold.manifests import Entry, Manifests
from ckpt_tier.core.pieces import MIB
from ckpt_tier.errors import IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.flow.proof import Content, prove_present, verdict_on_reading
from ckpt_tier.flow.reading import Reading
from ckpt_tier.flow.retry import persistently
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.asking import answers
from ckpt_tier.system.clock import Clock

HEADS_AT_ONCE = 16
READS_AT_ONCE = 4
_STRETCH = 256 * MIB
"""Bytes per request, each tried a few times."""


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
        clock.sleep(0)
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

    yield from answers(verdict, entries, READS_AT_ONCE if read else HEADS_AT_ONCE)


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
    content = Content()
    reading = Reading(store, file.key, 0, file.size, content.update)
    try:
        while not reading.is_done:
            clock.sleep(0)
            persistently(lambda: reading.go_on(_STRETCH), clock)
    except MissingKeyError as error:
        raise IntegrityError(f"{file.key} is missing", "its manifest is there, the object is not") from error
    except UnavailableError as error:
        raise verdict_on_reading(store, file, error) from error
    content.require(file)

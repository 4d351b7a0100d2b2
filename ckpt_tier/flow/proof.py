"""Proving that the cold tier holds what a manifest names.

A HEAD proves presence, size and the checksum that the store noted when it took the bytes. Only reading proves the
bytes themselves: a store with a rotten disk still answers HEAD with the old checksum.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence

from ckpt_tier.cold.manifest import Manifest, ManifestFile, Member
from ckpt_tier.cold.manifests import Entry, Manifests
from ckpt_tier.core.pieces import MIB
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import CkptTierError, IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.flow.line import JOBS
from ckpt_tier.journal.saves import Save
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.asking import answers
from ckpt_tier.system.digests import crc64nvme, to_hex


def prove_present(store: Store, files: Iterable[ManifestFile]) -> None:
    """Returns if every object is there with its size and, where the store keeps one, its checksum.

    Raises IntegrityError naming one that is not.
    """

    def prove(file: ManifestFile) -> None:
        try:
            stat = store.stat(file.key)
        except MissingKeyError as error:
            raise IntegrityError(f"{file.key} is missing", "its manifest is there, the object is not") from error
        if stat.size != file.size:
            raise IntegrityError(f"{file.key} is damaged", f"it has {stat.size} bytes, the manifest says {file.size}")
        if stat.crc64nvme is not None and stat.crc64nvme != file.crc64nvme:
            raise IntegrityError(f"{file.key} is damaged", "its CRC-64/NVME is not the manifest's")

    for _ in answers(prove, list(files), JOBS):
        pass


def prove_arrived(store: Store, prefix: str, files: Sequence[ManifestFile]) -> None:
    """As `prove_present`, for files below `prefix` of which an `upload` has proven the bytes, just now or before it
    posted its receipt: what can have happened to them since is that they were removed, and a listing of 1,000 shows
    that in one request. What it does not show as it should be is asked for by itself."""
    listed = {stat.key: stat.size for stat in store.list(prefix)} if len(files) > JOBS else {}
    prove_present(store, [file for file in files if listed.get(file.key) != file.size])


class Content:
    """The checksums of bytes as they are read, to be held against a manifest."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._crc = 0

    def update(self, block: memoryview) -> None:
        self._sha256.update(block)
        self._crc = crc64nvme(block, self._crc)

    def require(self, file: ManifestFile) -> None:
        """Raises IntegrityError unless these were all the bytes of the file."""
        if self._sha256.hexdigest() != file.sha256 or to_hex(self._crc) != file.crc64nvme:
            raise IntegrityError(f"{file.key} is damaged", "its bytes have another checksum than the manifest says")


def covers(manifest: Manifest, path: str, size: int, sha256: str) -> bool:
    """Whether the manifest commits exactly these bytes under this path."""
    return any((f.path, f.size, f.sha256) == (path, size, sha256) for f in manifest.files)


def prove_committed(manifests: Manifests, save: Save) -> None:
    """Returns if the manifest of the save's generation covers exactly the bytes of all its files, and every object that
    it names is there; the manifest is read anew. Raises IntegrityError, UnavailableError."""
    if save.generation is None or save.digests is None:
        raise IntegrityError(f"{save.path} is not committed", "it has no generation in the cold tier")
    entry = Entry(save.series, save.step, save.generation, 0.0)
    try:
        manifest = manifests.read_fresh(entry)
    except MissingKeyError as error:
        raise IntegrityError(f"the manifest of {save.path} is gone from the cold tier") from error
    if not all(covers(manifest, digest.path, digest.size, digest.sha256) for digest in save.digests):
        raise IntegrityError(f"the manifest of {save.path} covers other bytes")
    prove_present(manifests.store, manifest.files)


def manifest_with(manifests: Manifests, save: Save, window: float) -> Manifest | None:
    """The manifest of the committed generation that this save is part of; None if there is none.

    The same bytes in a generation of another save don't count: their set has yet to be made whole. What the hook
    brought is of the same save by its id and time; what scanning found again, by the times of its files.
    """
    for entry in manifests.entries(save.series, save.step):
        if entry.step != save.step:
            break
        with contextlib.suppress(IntegrityError, MissingKeyError):
            manifest = manifests.read(entry)
            if has_save(manifest, save, window):
                return manifest
    return None


def has_save(manifest: Manifest, save: Save, window: float) -> bool:
    """Whether one of the manifest's members is this very save."""
    return any(member.id == save.member and _is_of(manifest, member, save, window) for member in manifest.members)


def _is_of(manifest: Manifest, member: Member, save: Save, window: float) -> bool:
    if save.ticket is None:
        times = {(file.path, file.mtime_ns) for file in member.files}
        return times == {(digest.path, digest.mtime_ns) for digest in save.digests or ()}
    later = manifest.saved - save.saved_at
    return manifest.save_id == save.save_id and later > -1e-3 and (save.save_id is not None or later <= window)


def says_committed(manifests: Manifests, committed: Iterable[tuple[str, int, str]], save: Save) -> bool:
    """Whether one of the committed generations says that it is this save, by path, size and time of saving. Enough to
    spare a false alarm about a file that is gone; no proof of its bytes."""
    for series, step, generation in committed:
        if (series, step) == (save.series, save.step):
            with contextlib.suppress(IntegrityError, MissingKeyError):
                manifest = manifests.read_fresh(Entry(series, step, generation, 0.0))
                files = {(file.path, file.size) for file in manifest.files}
                mine = {(file.path, file.stamp.size) for file in save.files}
                if manifest.saved_at == format_time(save.saved_at) and mine <= files:
                    return True
    return False


def verdict_on_reading(store: Store, file: ManifestFile, error: UnavailableError) -> CkptTierError:
    """One object that keeps failing while a neighbour reads is damaged, not busy: MinIO answers SlowDownRead, or
    cuts the stream, for an object with a rotten disk block. Else the error itself."""
    prefix = file.key.removesuffix(file.path)
    try:
        for other in store.list(prefix):
            if other.key != file.key and 0 < other.size <= MIB:
                for _ in store.read(other.key, 0, other.size):
                    pass
                return IntegrityError(f"{file.key} is damaged", f"it can't be read while its neighbour can: {error}")
    except CkptTierError:
        return error
    return error

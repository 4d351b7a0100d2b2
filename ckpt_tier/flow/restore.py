"""Bringing a checkpoint back: manifest, staging, proof, names.

Until every byte of every file is proven, nothing appears at the destination. A crash leaves, between any two steps:

1. lock on the destination                                        → nothing
2. a hold, if the destination is the hot folder                   → a hold too many, which runs out by itself
3. pieces into ``.ckpt-tier/staging/<generation>/``               → staging, which the next restore goes on with
4. mode and mtime set, file fsynced                               → the same
5. the files given their names                                    → see `flow.placing`
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ckpt_tier.cold.manifest import Manifest, ManifestFile
from ckpt_tier.core.events import Emit, Restored
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import NoSpaceError, NotFoundError, UsageError
from ckpt_tier.flow.fetch import PIECE, Fetching
from ckpt_tier.flow.line import JOBS
from ckpt_tier.flow.meter import Bandwidth, file_meter
from ckpt_tier.flow.placing import (
    destination_lock,
    finish_locked,
    is_there,
    place_all,
    staged_name,
    staging_of,
    target_of,
)
from ckpt_tier.hot.holds import hold
from ckpt_tier.hot.space import space
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.clock import Clock
from ckpt_tier.system.streams import Width, at_once, streams_at_first


class Restoring(msgspec.Struct, frozen=True):
    """Where to and how.

    Attributes:
        root: the destination folder; the manifest's paths go below it.
        force: move existing files that differ out of the way, to ``.ckpt-tier/replaced/``.
        mend: the same, but only what is damaged beyond doubt, and can't be another good save.
        hold_until: seconds since the epoch; None where the destination is not the hot folder.
        width: of the line, as the files before have shown it.
    """

    root: Path
    force: bool = False
    mend: bool = False
    hold_until: float | None = None
    width: Width = msgspec.field(default_factory=lambda: Width(streams_at_first()))


def restore(store: Store, manifest: Manifest, how: Restoring, clock: Clock, emit: Emit) -> int:
    """Brings all files of the manifest to their place; returns the bytes that were fetched.

    Safe to call from many processes at once: one fetches, the others wait and find the files. Raises ConflictError
    (a different file is there, and neither `force` nor `mend` lets it be moved), NoSpaceError before the first byte,
    IntegrityError (damaged, or a path that leads outside the destination), UnavailableError, CancelledError.
    """
    begun = clock.monotonic()
    how.root.mkdir(parents=True, exist_ok=True)
    with _locked(how.root, clock):
        # First of all: what is there already could be evicted while we look at it.
        if how.hold_until is not None:
            hold(how.root, manifest.series, manifest.step, how.hold_until)
        finish_locked(how.root, clock, emit)
        targets = {file: target_of(how.root, file.path) for file in manifest.files}
        wanted = [
            file
            for file, target in targets.items()
            if not is_there(file, target, clock, force=how.force, mend=how.mend)
        ]
        try:
            moved = _stage_all(store, manifest, wanted, how, clock, emit)
            place_all(manifest, wanted, how.root, emit, force=how.force or how.mend)
        finally:
            _tidy(how.root, manifest.generation)
    emit(
        Restored(
            series=manifest.series,
            step=manifest.step,
            generation=manifest.generation,
            path=", ".join(str(target) for target in targets.values()),
            size_bytes=manifest.size,
            fetched_bytes=moved,
            elapsed_seconds=clock.monotonic() - begun,
        )
    )
    return moved


def share_of(manifest: Manifest, rank: int | None) -> Manifest:
    """The manifest with only that rank's share; all of it for None.

    Raises NotFoundError when there is no such rank, UsageError when all are asked for and their paths are the same.
    """
    if rank is None:
        paths = [file.path for file in manifest.files]
        if len(set(paths)) < len(paths):
            raise UsageError(
                f"step {manifest.step} has shares of {len(manifest.members)} ranks under the same paths",
                "each rank saved in a folder of its own",
                "restore one with --rank R, each into a folder of its own",
            )
        return manifest
    mine = tuple(member for member in manifest.members if member.rank == rank)
    if not mine:
        ranks = [str(member.rank) for member in manifest.members if member.rank is not None]
        has = f"it has the ranks {', '.join(ranks)}" if ranks else "it was saved by one process"
        raise NotFoundError(f"step {manifest.step} of series {manifest.series!r} has no rank {rank}", has)
    return msgspec.structs.replace(manifest, members=mine)


@contextlib.contextmanager
def _locked(root: Path, clock: Clock) -> Iterator[None]:
    lock = destination_lock(root, "ckpt-tier restore")
    while not lock.try_acquire():
        clock.sleep(0.1)
    with lock:
        yield


def _check_space(root: Path, wanted: Mapping[ManifestFile, Path]) -> None:
    needed = 0
    for file, staged in wanted.items():
        arrived = staged.stat().st_blocks * 512 if staged.exists() else 0
        needed += max(0, file.size - arrived)
    free = space(root).free
    if needed > free:
        raise NoSpaceError(
            f"{format_size(needed)} are needed at {root}, {format_size(free)} are free",
            "nothing was fetched",
            "free some space, or restore to another disk with --to DIR",
        )


def _stage_all(
    store: Store, manifest: Manifest, wanted: Sequence[ManifestFile], how: Restoring, clock: Clock, emit: Emit
) -> int:
    """Fetches the files into staging and proves them; returns the bytes that came."""
    if not wanted:
        return 0
    staging = staging_of(how.root, manifest.generation)
    staging.mkdir(parents=True, exist_ok=True)
    staged = {file: staging / staged_name(file) for file in wanted}
    _check_space(how.root, staged)
    meters = {
        file: file_meter(
            emit, Bandwidth(None, clock), series=manifest.series, step=manifest.step, path=file.path, size=file.size
        )
        for file in wanted
    }

    def stage(file: ManifestFile) -> None:
        Fetching(store, file, staged[file], meters[file], clock, how.width).run()

    at_once(stage, [file for file in wanted if file.size <= PIECE], JOBS)
    for file in wanted:
        if file.size > PIECE:
            stage(file)
    return sum(meter.moved_bytes for meter in meters.values())


def _tidy(root: Path, generation: str) -> None:
    """Removes a staging folder in which nothing is left to go on with, and the lock file, except in the hot folder."""
    hidden = root / HIDDEN
    staging = staging_of(root, generation)
    with contextlib.suppress(OSError):
        staging.rmdir()
        staging.parent.rmdir()
    if not any((hidden / name).exists() for name in ("inbox", "unsent", "holds", "replaced", "worker.lock", "staging")):
        with contextlib.suppress(OSError):
            (hidden / "restore.lock").unlink()
            hidden.rmdir()

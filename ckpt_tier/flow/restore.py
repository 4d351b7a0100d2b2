"""Bringing a checkpoint back: manifest, staging, proof, rename.

Until every byte of every file is proven, nothing appears at the destination. A crash leaves, between any two steps:

1. lock on the destination                                        → nothing
2. a hold, if the destination is the hot folder                   → a hold too many, which runs out by itself
3. pieces into ``.ckpt-tier/staging/<generation>/``               → staging, which the next restore goes on with
4. mode and mtime set, file fsynced                               → the same
5. each folder that is a checkpoint's own put together beside the staged files, of hard links, and renamed whole
                                                                  → a folder of links, made anew; or the folder in place
6. each other file renamed into place, its folder fsynced         → some files in place, recognised by hash next time
7. staging removed                                                → an empty folder, removed next time
"""

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ckpt_tier.cold.manifest import Manifest, ManifestFile, is_safe_path
from ckpt_tier.core.events import Emit, Note, Restored
from ckpt_tier.core.nouns import ID_HEX_DIGITS
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import ConfigError, ConflictError, IntegrityError, NoSpaceError, NotFoundError, UsageError
from ckpt_tier.flow.fetch import Fetching
from ckpt_tier.flow.meter import Meter, Pace, file_meter
from ckpt_tier.hot.holds import hold
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.space import space
from ckpt_tier.inbox import HIDDEN, NO_LINKS
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.clock import Clock, random_id
from ckpt_tier.system.digests import sha256_of
from ckpt_tier.system.durable import fsync_file, fsync_folder, make_folders, publish, rename_no_replace
from ckpt_tier.system.locks import FileLock


class Restoring(msgspec.Struct, frozen=True):
    """Where to and how.

    Attributes:
        root: the destination folder; the manifest's paths go below it.
        force: move existing files that differ out of the way, to ``.ckpt-tier/replaced/``.
        hold_until: seconds since the epoch; None where the destination is not the hot folder.
    """

    root: Path
    force: bool = False
    hold_until: float | None = None


def restore(store: Store, manifest: Manifest, how: Restoring, clock: Clock, emit: Emit) -> int:
    """Brings all files of the manifest to their place; returns the bytes that were fetched.

    Safe to call from many processes at once: one fetches, the others wait and find the files. Raises ConflictError
    (a different file is there and `force` is off), NoSpaceError before the first byte, IntegrityError (damaged, or a
    path that leads outside the destination), UnavailableError, CancelledError.
    """
    begun = clock.monotonic()
    how.root.mkdir(parents=True, exist_ok=True)
    with _locked(how.root, clock):
        # First of all: what is there already could be evicted while we look at it.
        if how.hold_until is not None:
            hold(how.root, manifest.series, manifest.step, how.hold_until)
        targets = {file: target_of(how.root, file.path) for file in manifest.files}
        wanted = [file for file, target in targets.items() if not _is_there(file, target, how, clock)]
        staging = how.root / HIDDEN / "staging" / manifest.generation
        moved = 0
        staged: dict[ManifestFile, Path] = {}
        if wanted:
            staging.mkdir(parents=True, exist_ok=True)
            staged = {file: staging / _staged_name(file) for file in wanted}
            _check_space(how.root, [(file, staged[file]) for file in wanted])
            for file in wanted:
                meter = file_meter(
                    emit, Pace(None, clock), series=manifest.series, step=manifest.step, path=file.path, size=file.size
                )
                _stage(store, file, staged[file], meter, clock)
                moved += meter.moved_bytes
        for folder in _whole_folders(manifest, wanted, how.root):
            inside = [file for file in wanted if file.path.startswith(f"{folder}/")]
            _place_folder({file: staged[file] for file in inside}, folder, how.root, staging)
            wanted = [file for file in wanted if file not in inside]
        for file in wanted:
            _place(staged[file], targets[file], how, emit)
        shutil.rmtree(staging, ignore_errors=True)
        _tidy(how.root)
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


def _staged_name(file: ManifestFile) -> str:
    """The same for a file whatever else is restored with it: another call may go on with what this one leaves."""
    return f"{hashlib.sha256(file.key.encode()).hexdigest()[:ID_HEX_DIGITS]}.part"


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


def _whole_folders(manifest: Manifest, wanted: Sequence[ManifestFile], root: Path) -> list[str]:
    """The folders that are a checkpoint's, or share's, own and of which nothing is there yet."""
    try:
        layout = Layout.parse(manifest.layout)
    except ConfigError:  # "auto", or nonsense: then file by file
        return []
    if not layout.is_folder:
        return []
    own = {place[0] for file in wanted if (place := layout.place_of(file.path)) is not None}
    return sorted(folder for folder in own if not os.path.lexists(root / folder))


def _place_folder(staged: Mapping[ManifestFile, Path], folder: str, root: Path, staging: Path) -> None:
    """Puts the folder together of hard links, so that a crash leaves the staged files, and renames it whole."""
    built = staging / "folder"
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir()
    for file, part in staged.items():
        target = built / Path(file.path).relative_to(folder)
        make_folders(target.parent, built)
        try:
            os.link(part, target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            part.rename(target)  # without links a crash here means to fetch it again
        fsync_folder(target.parent)
    make_folders((root / folder).parent, root)
    publish(built, root / folder)


def target_of(root: Path, path: str) -> Path:
    """Where a manifest's path lies below `root`; raises IntegrityError if it would lie anywhere else."""
    if not is_safe_path(path):
        raise IntegrityError(f"the path {path!r} leads outside the destination", "nothing was written")
    place = root
    for part in path.split("/")[:-1]:
        place /= part
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(place.lstat().st_mode):
                raise IntegrityError(
                    f"{place} is not a folder",
                    f"the path {path!r} would lead through it, and it may be a link to elsewhere",
                    "restore into an empty folder with --to",
                )
    return root / path


@contextlib.contextmanager
def _locked(root: Path, clock: Clock) -> Iterator[None]:
    lock = FileLock(root / HIDDEN / "restore.lock", "ckpt-tier restore")
    while not lock.try_acquire():
        clock.sleep(0.1)
    with lock:
        yield


def _is_there(file: ManifestFile, target: Path, how: Restoring, clock: Clock) -> bool:
    try:
        status = target.lstat()
    except FileNotFoundError:
        return False
    regular = stat.S_ISREG(status.st_mode)
    same_size = regular and status.st_size == file.size
    if same_size and sha256_of(target, lambda: clock.sleep(0)) == file.sha256:
        return True
    if not regular or not how.force:
        raise ConflictError(
            f"{target} is there and differs from the checkpoint",
            "" if regular else "it is not a regular file",
            "restore elsewhere with --to DIR" + (", or replace it with --force" if regular else ""),
        )
    return False


def _check_space(root: Path, wanted: list[tuple[ManifestFile, Path]]) -> None:
    needed = 0
    for file, staged in wanted:
        arrived = staged.stat().st_blocks * 512 if staged.exists() else 0
        needed += max(0, file.size - arrived)
    free = space(root).free
    if needed > free:
        raise NoSpaceError(
            f"{format_size(needed)} are needed at {root}, {format_size(free)} are free",
            "nothing was fetched",
            "free some space, or restore to another disk with --to DIR",
        )


def _stage(store: Store, file: ManifestFile, staged: Path, meter: Meter, clock: Clock) -> None:
    Fetching(store, file, staged, meter, clock).run()
    # No set-user-id or the like from a bucket.
    staged.chmod(file.mode & 0o777)
    os.utime(staged, ns=(file.mtime_ns, file.mtime_ns))
    fsync_file(staged)


def _place(staged: Path, target: Path, how: Restoring, emit: Emit) -> None:
    """Gives the staged file its name. With `force`, a different file there is moved aside: nobody has proven that
    its bytes exist elsewhere. Without, one that came meanwhile is a conflict."""
    root = how.root
    make_folders(target.parent, root)
    if how.force and target.exists():
        aside = root / HIDDEN / "replaced" / f"{target.name}.{random_id()}"
        aside.parent.mkdir(exist_ok=True)
        rename_no_replace(target, aside)
        emit(Note(text=f"the file that was at {target} is now at {aside}"))
    publish(staged, target)


def _tidy(root: Path) -> None:
    """Removes what this module made and left empty; the lock file only outside the hot folder."""
    hidden = root / HIDDEN
    with contextlib.suppress(OSError):
        (hidden / "staging").rmdir()
    if not any((hidden / name).exists() for name in ("inbox", "unsent", "holds", "replaced", "worker.lock", "staging")):
        with contextlib.suppress(OSError):
            (hidden / "restore.lock").unlink()
            hidden.rmdir()

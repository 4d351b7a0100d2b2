"""Giving restored, proven files their names at the destination.

A set of several files can't get its names in one step. So a list of them, ``placing.json``, is written into the
staging folder first; what a kill left of it is finished by the next `restore` there, and in the hot folder by the next
`sync`. A crash leaves, between any two steps, with the destination locked:

1. the list, durably                                    → staging and a list that says all of it
2. each folder that is a checkpoint's own put together beside the staged files, of hard links, and renamed whole
                                                        → a folder of links, made anew; or the folder in place
3. each other file renamed into place, its folder fsynced  → some in place, recognised by hash; the others staged
4. the list removed, then the staging                   → staging that nobody needs, swept a week later

A list promises that everything it names is in staging or in place. Where somebody has put another file in such a
place meanwhile, theirs stays, and the list goes: only a person can say which is wanted.
"""

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ckpt_tier.cold.documents import decode, encode
from ckpt_tier.cold.manifest import Manifest, ManifestFile, is_safe_path
from ckpt_tier.core.events import Emit, Note, Warned
from ckpt_tier.core.nouns import ID_HEX_DIGITS
from ckpt_tier.errors import CkptTierError, ConfigError, ConflictError, IntegrityError
from ckpt_tier.formats.check import Level, Rejected
from ckpt_tier.formats.validate import validate
from ckpt_tier.hot.layout import Layout
from ckpt_tier.inbox import HIDDEN, NO_LINKS
from ckpt_tier.system.clock import Clock, random_id
from ckpt_tier.system.digests import sha256_of
from ckpt_tier.system.durable import fsync_folder, make_folders, publish, rename_no_replace, write_atomic
from ckpt_tier.system.locks import FileLock

_LIST = "placing.json"


class Placing(msgspec.Struct, frozen=True):
    """What is to get its name, of one generation. `layout` is the manifest's."""

    series: str
    step: int
    layout: str
    files: tuple[ManifestFile, ...]


def staging_of(root: Path, generation: str) -> Path:
    """Where the files of a generation arrive on their way to `root`."""
    return root / HIDDEN / "staging" / generation


def staged_name(file: ManifestFile) -> str:
    """The same for a file whatever else is restored with it: another call may go on with what this one leaves."""
    return f"{hashlib.sha256(file.key.encode()).hexdigest()[:ID_HEX_DIGITS]}.part"


def destination_lock(root: Path, what: str) -> FileLock:
    """Held by whoever places files below `root`; `what` tells others who that is."""
    return FileLock(root / HIDDEN / "restore.lock", what)


def place_all(manifest: Manifest, wanted: Sequence[ManifestFile], root: Path, emit: Emit, *, force: bool) -> None:
    """Places those of the manifest's files that are `wanted`, all of them staged, proven and fsynced. Under the lock.

    Raises ConflictError when another file has come to such a place; with `force` that one is moved aside.
    """
    staging = staging_of(root, manifest.generation)
    work = Placing(manifest.series, manifest.step, manifest.layout, tuple(wanted))
    if len(wanted) > 1:
        write_atomic(staging / _LIST, encode(work))
    _carry_out(work, staging, root, emit, force=force)


def finish(root: Path, clock: Clock, emit: Emit) -> None:
    """Places what restores that were killed had begun to place below `root`. Never raises for what it finds there:
    what can't be finished is said. Leaves everything to a restore that is under way."""
    lists = sorted((root / HIDDEN / "staging").glob(f"*/{_LIST}"))
    lock = destination_lock(root, "ckpt-tier sync, finishing a restore")
    if not lists or not lock.try_acquire():
        return
    with lock:
        finish_locked(root, clock, emit)


def finish_locked(root: Path, clock: Clock, emit: Emit) -> None:
    """`finish`, for whoever holds the lock."""
    for each in sorted((root / HIDDEN / "staging").glob(f"*/{_LIST}")):
        try:
            work = decode(each.read_bytes(), Placing, str(each))
            missing = [file for file in work.files if not is_there(file, target_of(root, file.path), clock)]
            for file in missing:
                _require_proven(each.parent / staged_name(file), file, clock)
            _carry_out(msgspec.structs.replace(work, files=tuple(missing)), each.parent, root, emit, force=False)
        except (ConflictError, IntegrityError) as error:
            each.unlink()
            emit(Warned(text=f"a restore that was killed is not finished: {error}", fix="restore that step again"))
        except (OSError, CkptTierError) as error:
            emit(Warned(text=f"a restore that was killed can't be finished: {error}", fix="it is tried again"))
        else:
            emit(Note(text=f"finished the restore of step {work.step} of series {work.series}, which had been killed"))


def is_there(file: ManifestFile, target: Path, clock: Clock, *, force: bool = False, mend: bool = False) -> bool:
    """Whether the file is in its place, by its bytes.

    Raises ConflictError when something else is there, except for a regular file with `force`, and with `mend` for one
    that is damaged beyond doubt.
    """
    try:
        status = target.lstat()
    except FileNotFoundError:
        return False
    regular = stat.S_ISREG(status.st_mode)
    same_size = regular and status.st_size == file.size
    if same_size and sha256_of(target, lambda: clock.sleep(0)) == file.sha256:
        return True
    if regular and force:
        return False
    damage = _damage(file, target, status, clock) if regular else ""
    if damage and mend:
        return False
    if damage:
        raise ConflictError(
            f"{target} is there and is damaged",
            damage,
            "fetch the good one with --force; the damaged file is moved to .ckpt-tier/replaced/",
        )
    raise ConflictError(
        f"{target} is there and differs from the checkpoint",
        "" if regular else "it is not a regular file",
        "restore elsewhere with --to DIR" + (", or replace it with --force" if regular else ""),
    )


def _damage(file: ManifestFile, target: Path, status: os.stat_result, clock: Clock) -> str:
    """Why what differs can't be another good save, as a clause; empty if it may be one."""
    if (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns):
        return "it has the size and time of the checkpoint's file, and other bytes: they have changed on the disk"
    try:
        validate(target, level=Level.FULL, stop=lambda: clock.sleep(0))
    except Rejected as rejection:
        return str(rejection)
    except IntegrityError:  # it changed meanwhile, or can't be read: nothing is proven
        return ""
    return ""


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


def _require_proven(staged: Path, file: ManifestFile, clock: Clock) -> None:
    """Time has passed since the bytes were proven, and whoever killed the restore may have been at them."""
    try:
        if sha256_of(staged, lambda: clock.sleep(0)) == file.sha256:
            return
    except FileNotFoundError:
        pass
    raise IntegrityError(f"{file.path} is not in staging any more as it was proven")


def _carry_out(work: Placing, staging: Path, root: Path, emit: Emit, *, force: bool) -> None:
    staged = {file: staging / staged_name(file) for file in work.files}
    for folder, inside in _whole_folders(work, root):
        _place_folder({file: staged.pop(file) for file in inside}, folder, root, staging)
    for file, part in staged.items():
        _place(part, target_of(root, file.path), root, emit, force=force)
    with contextlib.suppress(FileNotFoundError):
        (staging / _LIST).unlink()
    shutil.rmtree(staging, ignore_errors=True)
    with contextlib.suppress(OSError):  # there is more in it
        staging.parent.rmdir()


def _whole_folders(work: Placing, root: Path) -> Iterator[tuple[str, list[ManifestFile]]]:
    """The folders that are a checkpoint's, or share's, own and of which nothing is there yet; and what is in them."""
    try:
        layout = Layout.parse(work.layout)
    except ConfigError:  # "auto", or nonsense: then file by file
        return
    if not layout.is_folder:
        return
    own = {place[0] for file in work.files if (place := layout.place_of(file.path)) is not None}
    for folder in sorted(own):
        if not os.path.lexists(root / folder):
            yield folder, [file for file in work.files if file.path.startswith(f"{folder}/")]


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
    for inside in {(built / Path(file.path).relative_to(folder)).parent for file in staged}:
        fsync_folder(inside)
    make_folders((root / folder).parent, root)
    publish(built, root / folder)


def _place(staged: Path, target: Path, root: Path, emit: Emit, *, force: bool) -> None:
    """Gives the staged file its name. With `force`, a different file there is moved aside: nobody has proven that
    its bytes exist elsewhere. Without, one that came meanwhile is a conflict."""
    make_folders(target.parent, root)
    if force and target.exists():
        aside = root / HIDDEN / "replaced" / f"{target.name}.{random_id()}"
        aside.parent.mkdir(exist_ok=True)
        rename_no_replace(target, aside)
        emit(Note(text=f"the file that was at {target} is now at {aside}"))
    publish(staged, target)

"""What lies in the hot folder now. Nothing here changes anything, follows a symlink, or reads a checkpoint."""

import contextlib
import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ckpt_tier.core.nouns import FileStamp, Stamp, stamp_of
from ckpt_tier.errors import ConfigError
from ckpt_tier.hot.layout import OUR_FOLDER, Layout, Place

_TRACKER_NAME = "latest"
"""DeepSpeed's tracker file, which others have taken over: its text names a file or folder beside it."""
_LONGEST_TRACKER = 4096


class HotCopy(msgspec.Struct, frozen=True):
    """A checkpoint on the hot tier, or one rank's share of it: a file or folder that the layout matches.

    Attributes:
        path: relative to the hot folder, POSIX separators.
        rank: None where the layout has no ranks.
        stamp: of the file, or of all files in the folder together.
        files: sorted by path; one for a file, all that lie below a folder.
        changed_ns: the latest mtime or ctime of files and folders, nanoseconds since the epoch.
    """

    path: str
    series: str
    step: int
    rank: int | None
    stamp: Stamp
    files: tuple[FileStamp, ...]
    changed_ns: int

    @property
    def mtime_ns(self) -> int:
        """Of the file that was written last, nanoseconds since the epoch."""
        return self.stamp.mtime_ns


class Skipped(msgspec.Struct, frozen=True):
    """Something that has a checkpoint's name and is none, with the reason as a clause."""

    path: str
    reason: str


class Ambiguous(msgspec.Struct, frozen=True):
    """Paths that all claim to be the same checkpoint, or share of one: none of them is taken for it."""

    series: str
    step: int
    paths: tuple[str, ...]


class Scan(msgspec.Struct, frozen=True):
    """One look at a hot folder.

    Attributes:
        copies: sorted by series, step and rank; at most one for each.
        ambiguous: what was left out of `copies` because it can't be told apart.
        skipped: symlinks, folders and devices where a checkpoint would lie.
        errors: what could not be looked at, each a whole clause.
    """

    copies: tuple[HotCopy, ...]
    ambiguous: tuple[Ambiguous, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What a person should see to, in whole clauses: errors and ambiguous files."""
        return self.errors + tuple(
            f"{' and '.join(each.paths)} both claim to be step {each.step} of series {each.series}: "
            "neither is taken up until one is gone or renamed"
            for each in self.ambiguous
        )


def scan(root: Path, layout: Layout) -> Scan:
    """Everything under the hot folder `root` that `layout` matches.

    Folders that the layout has no place for are not entered. A file that vanishes during the scan is not there;
    a folder that can't be read is an error in the result. Raises ConfigError when `root` is not a folder.
    """
    if not root.is_dir():
        raise ConfigError(
            f"the hot folder {root} is not there",
            "nothing is known about it, so nothing is done",
            "check [hot] path, and that its disk is mounted",
        )
    walk = _Walk(layout)
    walk.enter(os.fspath(root), "", 0)
    by_place: defaultdict[Place, list[HotCopy]] = defaultdict(list)
    for copy in walk.copies:
        by_place[Place(copy.series, copy.step, copy.rank)].append(copy)
    claims = sorted(by_place.items(), key=lambda claim: (claim[0].series, claim[0].step, claim[0].rank or 0))
    return Scan(
        copies=tuple(copies[0] for _, copies in claims if len(copies) == 1),
        ambiguous=tuple(
            Ambiguous(place.series, place.step, tuple(sorted(copy.path for copy in copies)))
            for place, copies in claims
            if len(copies) > 1
        ),
        skipped=tuple(sorted(walk.skipped, key=lambda each: each.path)),
        errors=tuple(sorted(walk.errors)),
    )


def look_at(root: Path, relative: str, place: Place) -> HotCopy | None:
    """The file or folder at `relative` under `root` now; None if it is gone, or neither. Raises OSError otherwise."""
    path = root / relative
    try:
        seen = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(seen.st_mode):
        return _copy(relative, place, [(relative, seen)])
    if stat.S_ISDIR(seen.st_mode):
        inside = _files_in(os.fspath(path), relative)
        return _copy(relative, place, inside.files, inside.changed_ns) if inside.files and not inside.odd else None
    return None


def stamp_in(status: os.stat_result) -> Stamp:
    """A file's stamp from one stat."""
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def _copy(path: str, place: Place, files: list[tuple[str, os.stat_result]], changed_ns: int = 0) -> HotCopy:
    stamps = tuple(FileStamp(name, stamp_in(seen)) for name, seen in sorted(files, key=lambda each: each[0]))
    return HotCopy(
        path=path,
        series=place.series,
        step=place.step,
        rank=place.rank,
        stamp=stamp_of(stamps),
        files=stamps,
        changed_ns=max(changed_ns, *(max(seen.st_mtime_ns, seen.st_ctime_ns) for _, seen in files)),
    )


class _Inside(msgspec.Struct):
    """What lies in a folder, however deep; `odd` names the first thing that is neither file nor folder."""

    files: list[tuple[str, os.stat_result]] = []
    changed_ns: int = 0
    odd: str = ""


def _files_in(folder: str, relative: str) -> _Inside:
    """Raises OSError for what can't be looked at; what vanishes meanwhile is not there."""
    inside = _Inside()
    waiting = [(folder, relative)]
    while waiting:
        place, prefix = waiting.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(place) as entries:
            seen = os.stat(place)  # noqa: PTH116
            inside.changed_ns = max(inside.changed_ns, seen.st_mtime_ns, seen.st_ctime_ns)
            for entry in entries:
                name = f"{prefix}/{entry.name}"
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append((entry.path, name))
                    elif stat.S_ISREG(status.st_mode):
                        inside.files.append((name, status))
                    else:
                        inside.odd = inside.odd or name
    return inside


class _Walk:
    """Goes down as deep as the layout does, and collects."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._last = len(layout.segments) - 1
        self.copies: list[HotCopy] = []
        self.skipped: list[Skipped] = []
        self.errors: list[str] = []

    def enter(self, folder: str, prefix: str, depth: int) -> None:
        fits = self._layout.segments[depth].fullmatch
        for entry in self._entries(folder, prefix):
            if not fits(entry.name) or (depth == 0 and entry.name == OUR_FOLDER):
                continue
            relative = prefix + entry.name
            if depth == self._last:
                self._take(entry, relative)
            elif entry.is_symlink():
                self.skipped.append(Skipped(relative, "it is a symlink: put the folder itself here"))
            elif entry.is_dir(follow_symlinks=False):
                self.enter(entry.path, f"{relative}/", depth + 1)

    def _take(self, entry: os.DirEntry[str], relative: str) -> None:
        place = self._layout.match(relative)
        if place is None:
            return
        try:
            seen = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(seen.st_mode):
                self.skipped.append(Skipped(relative, "it is a symlink"))
            elif stat.S_ISDIR(seen.st_mode) and self._layout.is_folder:
                self._take_folder(entry, relative, place)
            elif stat.S_ISREG(seen.st_mode) and not self._layout.is_folder:
                self.copies.append(_copy(relative, place, [(relative, seen)]))
            elif stat.S_ISDIR(seen.st_mode):
                why = "it is a folder: a layout that ends in / takes folders"
                self.skipped.append(Skipped(relative, why))
            else:
                self.skipped.append(
                    Skipped(relative, "it is not a file" if not self._layout.is_folder else "no folder")
                )
        except FileNotFoundError:
            return
        except OSError as error:
            self.errors.append(f"can't look at {relative}: {error.strerror}")

    def _take_folder(self, entry: os.DirEntry[str], relative: str, place: Place) -> None:
        inside = _files_in(entry.path, relative)
        if inside.odd:
            self.errors.append(f"{inside.odd} is neither file nor folder: {relative} is not taken up while it is there")
        elif inside.files:
            self.copies.append(_copy(relative, place, inside.files, inside.changed_ns))

    def _entries(self, folder: str, prefix: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                yield from entries
        except FileNotFoundError:
            return
        except OSError as error:
            self.errors.append(f"can't look into {prefix or folder}: {error.strerror}")


def tracked(root: Path, layout: Layout | None = None) -> set[str]:
    """Paths relative to the hot folder `root` that a symlink or a text file `latest` below it points to.

    A pointer to a folder stands for the files in it. With `layout`, that holds only for the folder of a single
    step: a symlink to a whole series must not stop eviction there for ever. Folders that can't be read are passed
    over here; `scan` reports them.
    """
    top = os.path.realpath(root)
    found: set[str] = set()
    for target in set(_targets(top)):
        if not target.startswith(f"{top}/"):
            continue
        relative = target[len(top) + 1 :]
        mode = _mode(target)
        if stat.S_ISREG(mode):
            found.add(relative)
        elif stat.S_ISDIR(mode) and (layout is None or relative.count("/") >= _step_depth(layout)):
            found.update(entry.path[len(top) + 1 :] for entry in _below(target))
    return found


def _targets(top: str) -> Iterator[str]:
    """Where the pointers below the folder `top` lead, links resolved."""
    for entry in _below(top):
        if entry.is_symlink():
            yield os.path.realpath(entry.path)
        elif entry.name == _TRACKER_NAME and (text := _tracker_text(entry.path)):
            yield os.path.realpath(Path(entry.path).parent / text)
            yield os.path.realpath(Path(top, text))


def _below(top: str) -> Iterator[os.DirEntry[str]]:
    """Everything below `top` that is no folder, symlinks not followed, without our own folder."""
    waiting = [top]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        yield entry
                    elif entry.name != OUR_FOLDER:
                        waiting.append(entry.path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ESTALE):
                raise


def _mode(path: str) -> int:
    """The type and permissions of what a pointer leads to; 0 if there is nothing, or the name is nonsense."""
    try:
        return Path(path).stat().st_mode
    except OSError:
        return 0


def _tracker_text(path: str) -> str:
    """The text of a tracker file; empty if it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return ""
        text = file.read(_LONGEST_TRACKER).decode(errors="replace").strip()
    return text if text.isprintable() else ""


def _step_depth(layout: Layout) -> int:
    """How many folders lie above the first name that holds the step."""
    return next(index for index, part in enumerate(layout.pattern.split("/")) if "{step" in part)

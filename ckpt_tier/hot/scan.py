"""What lies in the hot folder now. Nothing here changes anything, follows a symlink, or reads a checkpoint."""

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ckpt_tier.core.nouns import Stamp
from ckpt_tier.errors import ConfigError
from ckpt_tier.hot.layout import OUR_FOLDER, Layout

_TRACKER_NAME = "latest"
"""DeepSpeed's tracker file, which others have taken over: its text names a file or folder beside it."""
_LONGEST_TRACKER = 4096


class HotFile(msgspec.Struct, frozen=True):
    """A file that the layout matches, as seen by one lstat.

    Attributes:
        path: relative to the hot folder, POSIX separators.
        mtime_ns, ctime_ns: nanoseconds since the epoch.
        links: hard links to the file, this one included.
        mode: permission bits (``stat.S_IMODE``).
    """

    path: str
    series: str
    step: int
    stamp: Stamp
    mtime_ns: int
    ctime_ns: int
    links: int
    mode: int


class Skipped(msgspec.Struct, frozen=True):
    """Something that has a checkpoint's name and is none, with the reason as a clause."""

    path: str
    reason: str


class Ambiguous(msgspec.Struct, frozen=True):
    """Files that all claim to be the same checkpoint: none of them is taken for it."""

    series: str
    step: int
    paths: tuple[str, ...]


class Scan(msgspec.Struct, frozen=True):
    """One look at a hot folder.

    Attributes:
        files: sorted by series and step; at most one for each.
        ambiguous: what was left out of `files` because it can't be told apart.
        skipped: symlinks, folders and devices where a checkpoint would lie.
        errors: what could not be looked at, each a whole clause.
    """

    files: tuple[HotFile, ...]
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
    by_checkpoint: defaultdict[tuple[str, int], list[HotFile]] = defaultdict(list)
    for file in walk.files:
        by_checkpoint[file.series, file.step].append(file)
    claims = sorted(by_checkpoint.items())
    return Scan(
        files=tuple(files[0] for _, files in claims if len(files) == 1),
        ambiguous=tuple(
            Ambiguous(series, step, tuple(sorted(file.path for file in files)))
            for (series, step), files in claims
            if len(files) > 1
        ),
        skipped=tuple(sorted(walk.skipped, key=lambda each: each.path)),
        errors=tuple(sorted(walk.errors)),
    )


def look_at(root: Path, relative: str, series: str, step: int) -> HotFile | None:
    """The file at `relative` under `root` now; None if it is gone or no regular file. Raises OSError otherwise."""
    try:
        seen = (root / relative).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _hot_file(relative, series, step, seen) if stat.S_ISREG(seen.st_mode) else None


def _hot_file(path: str, series: str, step: int, seen: os.stat_result) -> HotFile:
    return HotFile(
        path=path,
        series=series,
        step=step,
        stamp=Stamp(seen.st_ino, seen.st_size, seen.st_mtime_ns),
        mtime_ns=seen.st_mtime_ns,
        ctime_ns=seen.st_ctime_ns,
        links=seen.st_nlink,
        mode=stat.S_IMODE(seen.st_mode),
    )


class _Walk:
    """Goes down as deep as the layout does, and collects."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._last = len(layout.segments) - 1
        self.files: list[HotFile] = []
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
        checkpoint = self._layout.match(relative)
        if checkpoint is None:
            return
        try:
            seen = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            self.errors.append(f"can't look at {relative}: {error.strerror}")
            return
        if stat.S_ISREG(seen.st_mode):
            self.files.append(_hot_file(relative, *checkpoint, seen))
        elif stat.S_ISLNK(seen.st_mode):
            self.skipped.append(Skipped(relative, "it is a symlink"))
        elif stat.S_ISDIR(seen.st_mode):
            self.skipped.append(Skipped(relative, "it is a folder: this version takes checkpoints of one file"))
        else:
            self.skipped.append(Skipped(relative, "it is not a file"))

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

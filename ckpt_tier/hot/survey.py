"""What is in an existing folder, before anyone knows its layout: names and sizes, within bounds."""

import os
import re
from collections import Counter, deque
from pathlib import Path

import msgspec

MOST_ENTRIES = 300_000
MOST_FOLDERS_DEEP = 6
MOST_PER_FOLDER = 100
"""So many files of a folder are enough to tell a layout by."""

SUFFIXES = frozenset(
    {".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl", ".pickle", ".npz", ".npy", ".h5", ".hdf5"}
    | {".msgpack", ".tar", ".model", ".params", ".weights", ".zip"}
)
"""How the names of checkpoints end, in any case."""
_UNFINISHED = re.compile(r"(?i)(^|[._~-])(tmp|temp|part|partial|incomplete|writing|swp)\d*([._~-]|$)|~$")


class Unfit(msgspec.Struct, frozen=True):
    """Something that the layout does not take, with the reason as a clause."""

    path: str
    reason: str


class Survey(msgspec.Struct, frozen=True):
    """One look at a folder.

    Attributes:
        paths: what could be checkpoints by its name; relative, POSIX separators.
        sample: of these, at most MOST_PER_FOLDER from each folder.
        others: every other file, with the reason.
        files_in: for each folder with files, how many (of any kind) lie directly in it.
        complete: False if the folder is larger or deeper than the bounds, or partly unreadable.
    """

    paths: tuple[str, ...]
    sample: tuple[str, ...]
    others: tuple[Unfit, ...]
    files_in: dict[str, int]
    complete: bool


def survey(root: Path) -> Survey:
    """Looks at the folder `root`, symlinks not followed, hidden names left out. Raises OSError only for `root`."""
    paths: list[str] = []
    sample: list[str] = []
    others: list[Unfit] = []
    files_in: Counter[str] = Counter()
    complete = True
    seen = 0
    waiting = deque([("", 0)])
    while waiting and complete:
        prefix, depth = waiting.popleft()
        try:
            with os.scandir(root / prefix) as listing:
                entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=_by_name)
        except OSError as error:
            if not prefix:
                raise
            others.append(Unfit(prefix, f"it can't be read: {error.strerror}"))
            continue
        before = len(paths)
        for entry in entries:
            relative = prefix + entry.name
            if entry.is_symlink():
                others.append(Unfit(relative, "it is a symlink"))
            elif entry.is_dir(follow_symlinks=False):
                if depth < MOST_FOLDERS_DEEP:
                    waiting.append((f"{relative}/", depth + 1))
                else:
                    others.append(Unfit(relative, "it lies too deep to be looked at"))
            else:
                files_in[prefix] += 1
                reason = _why_not(entry.name)
                if reason:
                    others.append(Unfit(relative, reason))
                else:
                    paths.append(relative)
        sample += paths[before : before + MOST_PER_FOLDER]
        seen += len(entries)
        complete = seen <= MOST_ENTRIES
    return Survey(tuple(paths), tuple(sample), tuple(others), dict(files_in), complete)


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _why_not(name: str) -> str:
    if _UNFINISHED.search(name):
        return "its name says that it is unfinished"
    if Path(name).suffix.lower() not in SUFFIXES:
        return "its name does not end like a checkpoint's"
    return "" if name.isprintable() else "its name holds characters that no layout can"

"""The keys below a folder in the order in which S3 lists them: by their UTF-8 bytes."""

import os
from collections.abc import Iterator
from pathlib import Path

from ckpt_tier.errors import UsageError
from ckpt_tier.store.folder_paths import HIDDEN
from ckpt_tier.store.protocol import Stat, check_key


def walk(root: Path, prefix: str, after: str) -> Iterator[Stat]:
    """Files whose keys start with `prefix` and sort after `after`, one folder in memory at a time.

    Symbolic links, special files, names that can't be keys and this program's own hidden files at the root are left
    out; so is what disappears meanwhile. Raises OSError.
    """
    return _walk(root, "", prefix, after)


def _walk(root: Path, folder: str, prefix: str, after: str) -> Iterator[Stat]:
    for key, entry in _children(root, folder):
        if entry is None:  # a folder; its key ends in a slash
            all_before = key.encode() < after.encode() and not after.startswith(key)
            if not all_before and (key.startswith(prefix) or prefix.startswith(key)):
                yield from _walk(root, key, prefix, after)
        elif key.startswith(prefix) and key.encode() > after.encode():
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Stat(key, found.st_size, None, found.st_mtime)


def _children(root: Path, folder: str) -> list[tuple[str, "os.DirEntry[str] | None"]]:
    """(key, entry) of the files and (key with a slash, None) of the folders directly below `folder`, in key order."""
    children: list[tuple[str, os.DirEntry[str] | None]] = []
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                key = folder + entry.name
                if (not folder and entry.name.startswith(HIDDEN)) or not _is_key(key):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    children.append((key + "/", None))
                elif entry.is_file(follow_symlinks=False):
                    children.append((key, entry))
    except FileNotFoundError:
        if not folder:
            raise
    return sorted(children, key=lambda child: child[0].encode())


def _is_key(name: str) -> bool:
    try:
        return bool(check_key(name))
    except (UsageError, UnicodeEncodeError):
        return False

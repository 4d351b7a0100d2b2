"""Removing what killed uploads have left in a folder store: unfinished files under names that nobody looks at.

For each of them, and what a crash leaves between every two lines:

1. its lock is taken; who uploads holds it                                  → nothing: locks go with the process
2. its age is looked at, and that the name still stands for the locked file  → nothing
3. the marker of the store is looked for once more, the name is unlinked     → nothing, or the file is gone

An upload of the same key that comes after step 1 finds the lock taken and tries again; after step 3 it begins a new
file. An object never lies here: it got its name by being moved away.
"""

import os
import re
import stat
from collections.abc import Collection
from pathlib import Path

from ckpt_tier.errors import UnavailableError
from ckpt_tier.store.folder_paths import TEMPORARY, Root
from ckpt_tier.store.folder_upload import is_still, lock, partial_name
from ckpt_tier.store.protocol import Leftovers
from ckpt_tier.system.clock import random_id

_OURS = re.compile(r"[0-9a-f]{64}(\.[0-9a-f]{16})?\.partial|[0-9a-f]{16}\.put")


def remove_leftovers(root: Root, older_than: float, keep: Collection[str]) -> Leftovers:
    """See `ckpt_tier.store.protocol.Store.clean_up`. Raises OSError."""
    folder = root.path / TEMPORARY
    root.refuse_links(folder)
    if not folder.is_dir():
        return Leftovers()
    kept = tuple(partial_name(key).removesuffix("partial") for key in keep)
    before = _time_there(folder) - older_than
    count = size = 0
    for path in sorted(folder.iterdir()):
        if _OURS.fullmatch(path.name) and not path.name.startswith(kept):
            freed = _remove_if_old(root, path, before)
            if freed is not None:
                count, size = count + 1, size + freed
    return Leftovers(count, size)


def _time_there(folder: Path) -> float:
    """The time by the clock that dates the files: a NAS has its own. Seconds since the epoch."""
    probe = folder / f"{random_id()}.put"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def _remove_if_old(root: Root, path: Path, before: float) -> int | None:
    """The bytes that were freed; None if the file stays."""
    if path.is_symlink():
        return None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, PermissionError):
        return None  # finished meanwhile, or another user's, whose own worker sees to it
    try:
        try:
            lock(descriptor, path)
        except UnavailableError:
            return None  # it is being written now
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_mtime >= before or not is_still(path, descriptor):
            return None
        root.check()
        path.unlink()
        return found.st_size
    finally:
        os.close(descriptor)

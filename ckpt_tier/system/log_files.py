"""Log files that end at a size: the full one gets a number, and a new one its name. What was written is never cut.

A descriptor that somebody else still holds goes on writing into the renamed file, so no line is lost in between.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from ckpt_tier.system.durable import rename_no_replace


def rotate(log: Path, descriptors: Sequence[int], *, limit: int, keep: int) -> bool:
    """Begins a new `log` for those of this process's `descriptors` that write to it, once it has `limit` bytes; the
    `keep` latest stay as `log.1` (the newest) to `log.<keep>`. False if nothing was done.

    To be called by one process at a time. A crash in between leaves no `log`, and the next writer creates it. Raises
    OSError, having changed nothing that matters: the descriptors still write where they did.
    """
    try:
        named = log.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = [descriptor for descriptor in descriptors if os.path.samestat(os.fstat(descriptor), named)]
    if not ours or named.st_size < limit:
        return False
    fresh = log.with_name(f"{log.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(fresh, flags, 0o600)  # first of all: what can't be made needs no room
    try:
        for number in range(keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                log.with_name(f"{log.name}.{number}").replace(log.with_name(f"{log.name}.{number + 1}"))
        log.replace(log.with_name(f"{log.name}.1"))
        with contextlib.suppress(FileExistsError):  # another process has just begun it: then we join
            rename_no_replace(fresh, log)
    finally:
        os.close(descriptor)
        fresh.unlink(missing_ok=True)
    descriptor = os.open(log, flags, 0o600)
    try:
        for target in ours:
            os.dup2(descriptor, target)  # inheritable: a child's last words belong here too
    finally:
        os.close(descriptor)
    return True


def append_capped(log: Path, line: str, limit: int) -> None:
    """Appends a line; a file that has reached `limit` bytes is renamed to `log.1` before. For many processes at once:
    each line is one write, and only who sees the full file under its name renames it. Raises OSError."""
    with log.open("ab", buffering=0) as file:
        status = os.fstat(file.fileno())
        if status.st_size < limit or not _is_still(log, status):
            file.write(line.encode(errors="backslashreplace"))
            return
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("ab", buffering=0) as file:
        file.write(line.encode(errors="backslashreplace"))


def _is_still(log: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(log.stat(follow_symlinks=False), status)
    except FileNotFoundError:
        return False

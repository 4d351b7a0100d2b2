"""Clearing away what kills have left, once a day, by the worker and only while nothing else is due.

Each deletion, and what a crash leaves between every two lines of it. In the cold tier, unfinished uploads:

1. the keys of the queue are noted: what waits goes on from there       → nothing
2. the store removes what has not grown for a day (`Store.clean_up`, with its own table)  → some of them gone

On the hot tier, the staging of a restore that nobody went on with for a week. It holds downloaded pieces of what is
committed, so that all of it can be fetched again:

1. the lock of restores is taken; a restore under way holds it           → nothing: locks go with the process
2. everything in the folder must have been untouched for a week          → nothing
3. the folder is renamed to `<generation>.<random>.leaving`             → such a folder; the next sweep goes on at 4
4. it is removed                                                         → the same, with fewer files in it

And the hidden file of a killed `Tier.save`. These are the trainer's bytes, and one that is whole may be the only copy
of the last step before a crash, so it is never removed: `status` names it. Only what is certainly no checkpoint goes:

1. its name must be one that `Tier.save` makes, its last change a day ago  → nothing
2. it is looked at: its structure must be broken (cut short, empty)        → nothing
3. no process may have it open; it must still be the file looked at        → nothing
4. it is unlinked                                                          → nothing, or the file is gone

Between 3 and 4 a person may give it a name: then there is no hidden one to unlink, and the file stays.
"""

import contextlib
import re
import shutil
from pathlib import Path

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.core.events import Note, Warned
from ckpt_tier.core.states import QUEUED
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import AccessDeniedError, CkptTierError, IntegrityError, UnavailableError
from ckpt_tier.flow.observe import oldest_steps, waiting
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.placing import destination_lock
from ckpt_tier.flow.upload import member_of
from ckpt_tier.formats.check import Rejected
from ckpt_tier.formats.validate import glance
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.scan import scan
from ckpt_tier.hot.unnamed import Unnamed, unnamed
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.locks import is_open

DAY = 86_400.0
"""Seconds: the age of a leftover, and the time between two sweeps."""
STAGING_AGE = 7 * DAY
"""Seconds for which a restore that was cut off can go on where it stopped."""
_GENERATION = re.compile(r"[0-9a-f]{16}(\.[0-9a-f]{16}\.leaving)?")


def is_due(parts: Parts) -> bool:
    """Whether the last sweep was a day ago."""
    return not 0 <= parts.clock.now() - parts.journal.facts.swept_at < DAY


def sweep(parts: Parts, layout: Layout) -> None:
    """Clears away every kind of leftover; what can't be is said, and keeps nothing else from going. Raises
    UnavailableError when the cold tier is away (then it is not done), CancelledError."""
    _drop_uploads(parts, layout)
    for chore in (_remove_staging, _remove_unnamed, _compact):
        parts.clock.sleep(0)
        try:
            chore(parts, layout)
        except (OSError, CkptTierError) as error:
            parts.emit(Warned(text=f"not all leftovers could be cleared away: {error}", fix="look at their owner"))
    parts.journal.learn(msgspec.structs.replace(parts.journal.facts, swept_at=parts.clock.now()))


def still_unnamed(hot: Path, layout: Layout, now: float) -> list[Unnamed]:
    """The files of killed `Tier.save` calls that are a day old at `now` (seconds since the epoch)."""
    return [each for each in unnamed(hot, layout) if now - each.stamp.mtime_ns / 1e9 >= DAY]


def _drop_uploads(parts: Parts, layout: Layout) -> None:
    manifests, run = parts.cold.manifests, parts.config.run
    hot = oldest_steps(scan(parts.hot, layout).copies, parts.journal.saves(), waiting(parts.inbox, layout))
    prefixes = [keys.data_prefix(run, series) for series in sorted({*manifests.series(), *hot})]
    queued = [save for save in parts.journal.saves() if save.state in QUEUED and save.digests is not None]
    keep = {file.key for save in queued for file in member_of(parts, save).files}
    try:
        gone = parts.cold.store.clean_up(prefixes, DAY, keep)
    except AccessDeniedError as error:
        parts.emit(Warned(text=f"leftovers of killed uploads stay, and cost money: {error}", fix=error.fix))
    except UnavailableError:
        raise
    except CkptTierError as error:
        parts.emit(Warned(text=f"leftovers of killed uploads stay: {error}", fix=error.fix))
    else:
        _say(parts, gone.count, gone.size, "unfinished upload", "in the cold tier")


def _remove_staging(parts: Parts, _: Layout) -> None:
    folder = parts.hidden / "staging"
    lock = destination_lock(parts.hot, "ckpt-tier sync --watch, clearing away")
    if not folder.is_dir() or folder.is_symlink() or not lock.try_acquire():
        return
    count = size = 0
    with lock:
        for staging in sorted(folder.iterdir()):
            if not _GENERATION.fullmatch(staging.name) or staging.is_symlink() or not staging.is_dir():
                continue
            found = [staging.lstat(), *(path.lstat() for path in staging.rglob("*"))]
            if staging.suffix != ".leaving":
                # Not mtime: a finished file has that of the checkpoint.
                if parts.clock.now() - max(each.st_ctime for each in found) < STAGING_AGE:
                    continue
                staging = staging.rename(staging.with_name(f"{staging.name}.{random_id()}.leaving"))
            shutil.rmtree(staging)
            count, size = count + 1, size + sum(each.st_blocks * 512 for each in found)
        with contextlib.suppress(OSError):  # others are still in it
            folder.rmdir()
    _say(parts, count, size, "restore", "that nobody went on with")


def _remove_unnamed(parts: Parts, layout: Layout) -> None:
    broken = [each for each in still_unnamed(parts.hot, layout, parts.clock.now()) if _is_broken(parts.hot, each)]
    count = size = 0
    for each in broken:
        place = parts.hot / each.path
        with contextlib.suppress(FileNotFoundError):
            if not is_open(place) and _is_still(place, each):
                place.unlink()
                count, size = count + 1, size + each.stamp.size
    _say(parts, count, size, "broken file", "of a save that was killed")


def _is_broken(hot: Path, each: Unnamed) -> bool:
    """Whether its structure shows that it is no checkpoint. What can't be looked at may be one."""
    try:
        glance(hot / each.path)
    except Rejected:
        return True
    except (IntegrityError, OSError):
        return False
    return False


def _is_still(place: Path, each: Unnamed) -> bool:
    status = place.lstat()
    return (status.st_ino, status.st_size, status.st_mtime_ns) == msgspec.structs.astuple(each.stamp)


def _compact(parts: Parts, _: Layout) -> None:
    parts.journal.compact()
    parts.cold.manifests.shrink_cache()


def _say(parts: Parts, count: int, size: int, what: str, where: str) -> None:
    if count:
        plural = "" if count == 1 else "s"
        parts.emit(Note(text=f"cleared away {count} {what}{plural} {where}, {format_size(size)}"))

"""Deleting the hot copies of a checkpoint of several ranks: all of them or none, without a note of what is under way.

All shares get the same random token in their hidden names, so that the names alone tell at the next start what belonged
together (`flow.interrupted`). The order, and what a crash leaves between every two lines of it:

1. every share is renamed to ``.NAME.TOKEN.evicting``   → each has its name back at the next start: the set is whole
2. each must be what was validated, as in `flow.evict`, and not held; else all are put back                    → as 1
3. the folders that hold the hidden names are flushed                                                          → as 1
4. one of them, the leader, is renamed to ``.NAME.TOKEN.evicted``: from here on the set goes
                                                        → what has its token is removed, the leader last; after a power
                                                        loss that took the new name back: as 1
5. the leader's folder is flushed                       → what has its token is removed, the leader last
6. the other shares are removed, a file at once, a folder piece by piece                                       → as 5
7. their folders are flushed                                                                                   → as 5
8. the leader is removed                                → it, or what is left of it, is removed

Without 3 a power loss could bring back a leader whose mates have their own names, and the next start would remove it
alone; without 7 mates whose leader is gone, and they would be put back without it.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from ckpt_tier.core.events import Evicted, Warned
from ckpt_tier.flow.evict import (
    EVICTED,
    called_off,
    hidden_name,
    is_as_validated,
    is_held,
    proven_name,
    put_back,
    say_stranded,
)
from ckpt_tier.flow.parts import HotParts
from ckpt_tier.hot.layout import Layout, Place
from ckpt_tier.journal.saves import Save
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.durable import fsync_folder, rename_no_replace
from ckpt_tier.system.locks import is_open


def discard_set(parts: HotParts, layout: Layout, shares: Sequence[Save], reason: str) -> bool:
    """Deletes all shares of one checkpoint, whose bytes need not be kept here, as the caller has made sure. False if
    it was called off: then every share is there, under its name, or none is and the next start removes the rest."""
    if why := _why_not(parts, layout, shares):
        return called_off(parts, shares[0], why)
    token = random_id()
    places = [parts.hot / save.path for save in shares]
    hidden = [hidden_name(place, token) for place in places]
    leader = proven_name(hidden[0])
    try:
        for place, name in zip(places, hidden, strict=True):
            rename_no_replace(place, name)
        if not all(map(is_as_validated, shares, hidden)) or is_held(parts, shares[0]):
            _put_all_back(parts, places, hidden)
            return called_off(parts, shares[0], "a share changed since it was validated, or a restore wants it to stay")
        _flush_folders(hidden)
        rename_no_replace(hidden[0], leader)
    except OSError as error:
        if os.path.lexists(leader):  # over a network a call can fail and have been carried out all the same
            return _goes_on_later(parts, shares, error)
        _put_all_back(parts, places, hidden)
        return called_off(parts, shares[0], f"a share can't be renamed: {error.strerror}")
    try:
        _flush_folders([leader])
        _remove_all(hidden[1:], leader)
    except OSError as error:
        return _goes_on_later(parts, shares, error)
    for save in shares:
        parts.emit(Evicted(series=save.series, step=save.step, path=save.path, size_bytes=save.size, reason=reason))
    return True


def finish(parts: HotParts, layout: Layout, together: Sequence[tuple[Path, Path]]) -> None:
    """Removes what is left of a set, by the hidden and the own name of each with its token; one of them is a leader.

    Only what can be one checkpoint's shares is removed. Anything else, such as a symlink, or a second leader, only
    pretends, or the layout is another one by now: then all stay hidden, and a person is told.
    """
    leaders = [hidden for hidden, _ in together if hidden.name.endswith(EVICTED)]
    claims = {_claim(parts, layout, hidden, original) for hidden, original in together}
    if len(leaders) != 1 or len(claims) != 1 or None in claims:
        for hidden, _ in together:
            say_stranded(parts, hidden, "what has its token is not one checkpoint of several ranks by the layout")
        return
    _remove_all([hidden for hidden, _ in together if hidden != leaders[0]], leaders[0])


def _claim(parts: HotParts, layout: Layout, hidden: Path, original: Path) -> tuple[str, int] | None:
    """The (series, step) that something hidden is a share of; None if it is none."""
    place = layout.match(original.relative_to(parts.hot).as_posix())
    is_kind = stat.S_ISDIR if layout.is_folder else stat.S_ISREG
    if place is None or place.rank is None or not is_kind(hidden.lstat().st_mode):
        return None
    return place.series, place.step


def _why_not(parts: HotParts, layout: Layout, shares: Sequence[Save]) -> str:
    """Why not even the first of them should be renamed; empty if nothing is known."""
    for save in shares:
        if layout.match(save.path) != Place(save.series, save.step, save.rank):
            return f"{save.path} does not fit the layout, so what a crash leaves of it could not be told"
        try:
            if any(is_open(parts.hot / file.path) for file in save.files):
                return f"a process has {save.path} open"
        except FileNotFoundError:
            return f"{save.path} is gone"
    return ""


def _put_all_back(parts: HotParts, places: Iterable[Path], hidden: Iterable[Path]) -> None:
    for place, name in zip(places, hidden, strict=True):
        try:
            if os.path.lexists(name) and not put_back(name, place):
                say_stranded(parts, name, "its name is taken again")
        except OSError as error:
            say_stranded(parts, name, f"it can't be renamed: {error.strerror}")


def _goes_on_later(parts: HotParts, shares: Sequence[Save], error: OSError) -> bool:
    told = f"step {shares[0].step} of series {shares[0].series} is deleted in part only: {error.strerror}"
    parts.emit(
        Warned(text=told, fix="look at the disk's health; the next `ckpt-tier prune --tier hot` deletes the rest")
    )
    return False


def _remove_all(mates: Sequence[Path], leader: Path) -> None:
    for mate in mates:
        _remove(mate)
    _flush_folders(mates)
    _remove(leader)


def _remove(hidden: Path) -> None:
    if stat.S_ISDIR(hidden.lstat().st_mode):
        shutil.rmtree(hidden)
    else:
        hidden.unlink()


def _flush_folders(places: Iterable[Path]) -> None:
    for folder in sorted({place.parent for place in places}):
        fsync_folder(folder)

"""Deleting hot copies: with `evict_set` the only place in the program that deletes a checkpoint's bytes.

The order, and what a crash leaves between every two lines of it:

1. the manifest is read and must cover exactly the validated bytes; every object it names must be there   → nothing
2. the file, or folder, is renamed, beside itself, to a hidden name that tells its own  → gets it back at the next start
3. inode, size and mtime of every file must still be the validated ones, nothing else may lie in the folder, and nobody
   may write to any of it; else it is put back                              → as 2
4. a folder gets another hidden name, which says that all of this is proven → what is left of it is removed
5. the hidden file is unlinked; a folder's files one by one, then it        → as 4

After step 2 nobody can open the file by its name any more, so the look in step 3 can't be overtaken. The hidden name
needs no note beside it: on a disk without a free byte, evicting is what has to work. `interrupted` deals with what is
found at the next start.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ckpt_tier.core.events import Evicted, Lost, NotEvicted, Warned
from ckpt_tier.core.nouns import Stamp
from ckpt_tier.core.states import State
from ckpt_tier.errors import IntegrityError
from ckpt_tier.flow.parts import HotParts, Parts
from ckpt_tier.flow.proof import prove_committed
from ckpt_tier.flow.retry import persistently
from ckpt_tier.hot.holds import held
from ckpt_tier.hot.scan import stamp_in
from ckpt_tier.journal.saves import Save
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.durable import fsync_folder, rename_no_replace
from ckpt_tier.system.locks import is_open, is_open_for_writing

EVICTING, EVICTED = ".evicting", ".evicted"
"""What a hidden name ends in: what is put back after a crash, and what of which everything was proven."""


def evict(parts: Parts, save: Save, reason: str) -> bool:
    """Deletes the save's hot copy, if the cold tier provably holds its bytes. False if it was called off.

    Raises IntegrityError when the cold tier does not hold what its manifest says; nothing is deleted then.
    """
    _prove(parts, save)
    return discard(parts, save, reason)


def discard(parts: HotParts, save: Save, reason: str) -> bool:
    """Steps 2 to 4: deletes a hot copy whose bytes need not be kept here, as the caller has made sure. False if it was
    called off."""
    hot = parts.hot / save.path
    try:
        if any(is_open(parts.hot / file.path) for file in save.files):
            return called_off(parts, save, "a process has it open")
    except FileNotFoundError:
        return False
    hidden = hidden_name(hot, random_id())
    try:
        rename_no_replace(hot, hidden)
    except OSError as error:
        return called_off(parts, save, f"it can't be renamed: {error.strerror}")
    if not is_as_validated(save, hidden) or is_held(parts, save):
        if not put_back(hidden, hot):
            say_stranded(parts, hidden, "it changed since it was validated, and its name is taken again")
            return False
        return called_off(parts, save, "it changed since it was validated, or a restore wants it to stay")
    remove(hidden)
    parts.emit(Evicted(series=save.series, step=save.step, path=save.path, size_bytes=save.size, reason=reason))
    return True


def hidden_name(place: Path, token: str) -> Path:
    """What it is called on its way out: beside itself, and its own name can be told from it. `token`: 16 hex digits."""
    return place.with_name(f".{place.name}.{token}{EVICTING}")


def proven_name(hidden: Path) -> Path:
    """The hidden name which says that it may be removed after a crash."""
    return hidden.with_name(hidden.name.removesuffix(EVICTING) + EVICTED)


def is_as_validated(save: Save, hidden: Path) -> bool:
    """Whether what lies under the hidden name is exactly what was validated, and nobody writes to it."""
    moved = {hidden / Path(file.path).relative_to(save.path): file.stamp for file in save.files}
    if hidden.is_symlink() or (hidden.is_dir() and set(files_below(hidden)) != set(moved)):
        return False
    # First the writers: none can come any more, and what the last one wrote shows in the stamp.
    return not any(is_open_for_writing(path) or stamp_at(path) != stamp for path, stamp in moved.items())


def files_below(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder itself."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def remove(hidden: Path) -> None:
    """Deletes what is proven to be in the cold tier. A crash leaves a folder whose name says so."""
    if not hidden.is_dir():
        hidden.unlink()
        return
    proven = proven_name(hidden)
    rename_no_replace(hidden, proven)
    fsync_folder(proven.parent)  # a power loss must not bring half a folder back under the name that is put back
    shutil.rmtree(proven)


def release(parts: Parts, save: Save, links: Iterable[str]) -> None:
    """Unlinks the hook's links of a committed or rejected save; those that are a last name, only with proof."""
    last = {link for link in links if _is_last_name(parts.inbox.unsent / link)}
    if last and save.state is not State.COMMITTED:
        links = set(links) - last
        last = set()
    if last:
        _prove(parts, save)
    for link in links:
        parts.inbox.release(link)
    if last:
        parts.emit(
            Evicted(
                series=save.series,
                step=save.step,
                path=save.path,
                size_bytes=sum(file.stamp.size for file in save.files if file.link in last),
                reason="committed; the trainer had deleted its own copy",
            )
        )


def _is_last_name(place: Path) -> bool:
    try:
        return place.stat(follow_symlinks=False).st_nlink == 1
    except FileNotFoundError:
        return False


def let_go(parts: Parts, save: Save, reason: str) -> None:
    """Unlinks the last copy of a save that the trainer itself has deleted, and reports it as lost, unless it was a
    rejected one: that is gone, then."""
    if save.state is not State.REJECTED:
        lose(parts, save, reason)
    for link in save.links:
        parts.inbox.release(link)


def lose(parts: Parts, save: Save, reason: str) -> None:
    """Notes that a save is gone before it was committed."""
    parts.journal.put(
        msgspec.structs.replace(save, state=State.LOST, reason=reason, retry_at=0.0, changed_at=parts.clock.now())
    )
    if save.ticket:
        parts.inbox.resolve(save.ticket, rejected=True)
    parts.emit(Lost(series=save.series, step=save.step, path=save.path, reason=reason))


def say_stranded(parts: HotParts, hidden: Path, why: str) -> None:
    """Tells a person of what stays under its hidden name."""
    parts.emit(
        Warned(
            text=f"{hidden.relative_to(parts.hot)} was being evicted and could not be put back: {why}",
            fix="move it where it belongs, or delete it when you are sure",
        )
    )


def is_held(parts: HotParts, save: Save) -> bool:
    """Whether a restore wants its step to stay."""
    return (save.series, save.step) in held(parts.hot, parts.clock.now())


def put_back(hidden: Path, original: Path) -> bool:
    """Gives a hidden file its name back; False if that is taken."""
    try:
        rename_no_replace(hidden, original)
    except FileExistsError:
        return False
    return True


def _prove(parts: Parts, save: Save) -> None:
    if save.state is not State.COMMITTED:
        raise IntegrityError(f"{save.path} is not committed")
    persistently(lambda: prove_committed(parts.cold.manifests, save), parts.clock)


def called_off(parts: HotParts, save: Save, reason: str) -> bool:
    """Says why it stays after all; False."""
    parts.emit(NotEvicted(series=save.series, step=save.step, path=save.path, reason=reason))
    return False


def stamp_at(path: Path) -> Stamp | None:
    """The stamp of what is there now, symlinks not followed; None if nothing is."""
    with contextlib.suppress(FileNotFoundError):
        return stamp_in(path.stat(follow_symlinks=False))
    return None

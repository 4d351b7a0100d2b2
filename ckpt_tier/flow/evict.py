"""Deleting hot copies: the only place in the program that deletes a checkpoint's bytes.

The order, and what a crash leaves between every two lines of it:

1. the manifest is read and must cover exactly the validated bytes; every object it names must be there   → nothing
2. the file, or folder, is renamed, beside itself, to a hidden name that tells its own  → gets it back at the next start
3. inode, size and mtime of every file must still be the validated ones, nothing else may lie in the folder, and nobody
   may write to any of it; else it is put back                              → as 2
4. a folder gets another hidden name, which says that all of this is proven → what is left of it is removed
5. the hidden file is unlinked; a folder's files one by one, then it        → as 4

After step 2 nobody can open the file by its name any more, so the look in step 3 can't be overtaken. The hidden name
needs no note beside it: on a disk without a free byte, evicting is what has to work.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ckpt_tier.core.events import Evicted, Lost, NotEvicted, Warned
from ckpt_tier.core.nouns import Stamp
from ckpt_tier.core.states import State
from ckpt_tier.errors import IntegrityError, UnavailableError
from ckpt_tier.flow.parts import HotParts, Parts
from ckpt_tier.flow.proof import covers, prove_committed, prove_present
from ckpt_tier.flow.retry import persistently
from ckpt_tier.hot.holds import held
from ckpt_tier.hot.layout import Layout
from ckpt_tier.hot.scan import stamp_in
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.journal.saves import Save
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.digests import sha256_of
from ckpt_tier.system.durable import fsync_folder, rename_no_replace
from ckpt_tier.system.locks import is_open, is_open_for_writing

_LEAVING = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.evict(?:ing|ed)")


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
            return _called_off(parts, save, "a process has it open")
    except FileNotFoundError:
        return False
    hidden = hot.with_name(f".{hot.name}.{random_id()}.evicting")
    try:
        rename_no_replace(hot, hidden)
    except OSError as error:
        return _called_off(parts, save, f"it can't be renamed: {error.strerror}")
    if not _is_as_validated(save, hidden) or _is_held(parts, save):
        if not _put_back(hidden, hot):
            _say_stranded(parts, hidden, "it changed since it was validated, and its name is taken again")
            return False
        return _called_off(parts, save, "it changed since it was validated, or a restore wants it to stay")
    _remove(hidden)
    parts.emit(Evicted(series=save.series, step=save.step, path=save.path, size_bytes=save.size, reason=reason))
    return True


def _is_as_validated(save: Save, hidden: Path) -> bool:
    """Whether what lies under the hidden name is exactly what was validated, and nobody writes to it."""
    moved = {hidden / Path(file.path).relative_to(save.path): file.stamp for file in save.files}
    if hidden.is_symlink() or (hidden.is_dir() and set(_files_below(hidden)) != set(moved)):
        return False
    # First the writers: none can come any more, and what the last one wrote shows in the stamp.
    return not any(is_open_for_writing(path) or _stamp(path) != stamp for path, stamp in moved.items())


def _files_below(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder itself."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _remove(hidden: Path) -> None:
    """Deletes what is proven to be in the cold tier. A crash leaves a folder whose name says so."""
    if not hidden.is_dir():
        hidden.unlink()
        return
    proven = hidden.with_name(hidden.name.removesuffix(".evicting") + ".evicted")
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


def recover_evictions(parts: HotParts, layout: Layout) -> None:
    """Undoes what a crash interrupted: every file on its way out gets its name back; a folder of which everything was
    proven goes.

    Where the trainer has saved under that name again meanwhile, the eviction is finished instead, after its bytes
    were read and found in a committed manifest; without one, or without a cold tier, the file stays hidden, and a
    person is told.
    """
    for hidden, original in list(_leaving(parts.hot)):
        if hidden.name.endswith(".evicted"):
            if hidden.is_dir() and not hidden.is_symlink():  # only a folder gets that name from here
                shutil.rmtree(hidden)
        elif _put_back(hidden, original):
            continue
        elif not isinstance(parts, Parts):
            _say_stranded(parts, hidden, "its name is taken again, and there is no cold tier to ask for its bytes")
        else:
            try:
                _finish(parts, layout, hidden, original)
            except IntegrityError as error:
                _say_stranded(parts, hidden, str(error))
            except UnavailableError:
                continue  # the next start asks again


def _leaving(hot: Path) -> Iterator[tuple[Path, Path]]:
    """Each file or folder on its way out, and the name it had."""
    for folder, folders, names in os.walk(hot):
        for name in [*folders, *names]:
            match = _LEAVING.fullmatch(name)
            if match is not None:
                yield Path(folder, name), Path(folder, match["name"])
        folders[:] = [name for name in folders if name != HIDDEN and not _LEAVING.fullmatch(name)]


def _finish(parts: Parts, layout: Layout, hidden: Path, original: Path) -> None:
    """Deletes what is hidden, if its bytes are committed; raises IntegrityError if that can't be shown."""
    path = original.relative_to(parts.hot).as_posix()
    found = layout.match(path)
    if found is None:
        raise IntegrityError(f"the layout does not say which step {path} is")
    places = list(_files_below(hidden)) if hidden.is_dir() else [hidden]
    before = {place: _stamp(place) for place in places}
    content = [
        (
            f"{path}/{place.relative_to(hidden).as_posix()}" if place != hidden else path,
            place.stat().st_size,
            sha256_of(place, lambda: parts.clock.sleep(0)),
        )
        for place in places
    ]
    manifests = parts.cold.manifests
    for entry in manifests.entries(found.series, found.step):
        if entry.step != found.step:
            break
        manifest = manifests.read_fresh(entry)
        if all(covers(manifest, *file) for file in content):
            prove_present(parts.cold.store, manifest.files)
            if any(is_open(place) or _stamp(place) != before[place] for place in places):
                raise IntegrityError(f"{hidden.name} is in use")
            _remove(hidden)
            return
    raise IntegrityError(f"no committed generation of step {found.step} has its bytes")


def _say_stranded(parts: HotParts, hidden: Path, why: str) -> None:
    parts.emit(
        Warned(
            text=f"{hidden.relative_to(parts.hot)} was being evicted and could not be put back: {why}",
            fix="move it where it belongs, or delete it when you are sure",
        )
    )


def _is_held(parts: HotParts, save: Save) -> bool:
    return (save.series, save.step) in held(parts.hot, parts.clock.now())


def _put_back(hidden: Path, original: Path) -> bool:
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


def _called_off(parts: HotParts, save: Save, reason: str) -> bool:
    parts.emit(NotEvicted(series=save.series, step=save.step, path=save.path, reason=reason))
    return False


def _stamp(path: Path) -> Stamp | None:
    with contextlib.suppress(FileNotFoundError):
        return stamp_in(path.stat(follow_symlinks=False))
    return None

"""Deleting hot copies: the only place in the program that deletes a checkpoint's bytes.

The order, and what a crash leaves between every two lines of it:

1. the manifest is read and must cover exactly the validated bytes; every object it names must be there   → nothing
2. the file is renamed, beside itself, to a hidden name that tells its own  → gets it back at the next start
3. inode, size and mtime must still be the validated ones, and nobody may write to it; else it is put back → as 2
4. the hidden file is unlinked                                              → nothing

After step 2 nobody can open the file by its name any more, so the look in step 3 can't be overtaken. The hidden name
needs no note beside it: on a disk without a free byte, evicting is what has to work.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ckpt_tier.cold.manifests import Entry
from ckpt_tier.core.events import Evicted, Lost, NotEvicted, Warned
from ckpt_tier.core.nouns import Stamp
from ckpt_tier.core.states import State
from ckpt_tier.errors import IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.proof import covers, prove_present
from ckpt_tier.flow.retry import persistently
from ckpt_tier.hot.holds import held
from ckpt_tier.hot.layout import Layout
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.journal.saves import Save
from ckpt_tier.system.clock import random_id
from ckpt_tier.system.digests import sha256_of
from ckpt_tier.system.durable import rename_no_replace
from ckpt_tier.system.locks import is_open, is_open_for_writing

_LEAVING = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.evicting")


def evict(parts: Parts, save: Save, reason: str) -> bool:
    """Deletes the save's hot copy, if the cold tier provably holds its bytes. False if it was called off.

    Raises IntegrityError when the cold tier does not hold what its manifest says; nothing is deleted then.
    """
    _prove(parts, save)
    return discard(parts, save, reason)


def discard(parts: Parts, save: Save, reason: str) -> bool:
    """Steps 2 to 4: deletes a hot copy whose bytes need not be kept here, as the caller has made sure. False if it was
    called off."""
    hot = parts.hot / save.path
    try:
        if is_open(hot):
            return _called_off(parts, save, "a process has it open")
    except FileNotFoundError:
        return False
    hidden = hot.with_name(f".{hot.name}.{random_id()}.evicting")
    try:
        rename_no_replace(hot, hidden)
    except OSError as error:
        return _called_off(parts, save, f"it can't be renamed: {error.strerror}")
    # First the writers: none can come any more, and what the last one wrote shows in the stamp.
    if is_open_for_writing(hidden) or _stamp(hidden) != save.stamp or _is_held(parts, save):
        if not _put_back(hidden, hot):
            _say_stranded(parts, hidden, "it changed since it was validated, and its name is taken again")
            return False
        return _called_off(parts, save, "it changed since it was validated, or a restore wants it to stay")
    hidden.unlink()
    parts.emit(Evicted(series=save.series, step=save.step, path=save.path, size_bytes=save.size, reason=reason))
    return True


def release(parts: Parts, save: Save, link: str) -> None:
    """Unlinks the hook's link of a committed or rejected save; if it is the last name, only with proof."""
    place = parts.inbox.unsent / link
    try:
        last = place.stat(follow_symlinks=False).st_nlink == 1
    except FileNotFoundError:
        return
    if last:
        if save.state is not State.COMMITTED:
            return
        _prove(parts, save)
    parts.inbox.release(link)
    if last:
        parts.emit(
            Evicted(
                series=save.series,
                step=save.step,
                path=save.path,
                size_bytes=save.size,
                reason="committed; the trainer had deleted its own copy",
            )
        )


def let_go(parts: Parts, save: Save, reason: str) -> None:
    """Unlinks the last copy of a save that the trainer itself has deleted, and reports it as lost, unless it was a
    rejected one: that is gone, then."""
    if save.state is not State.REJECTED:
        lose(parts, save, reason)
    if save.link:
        parts.inbox.release(save.link)


def lose(parts: Parts, save: Save, reason: str) -> None:
    """Notes that a save is gone before it was committed."""
    parts.journal.put(
        msgspec.structs.replace(save, state=State.LOST, reason=reason, retry_at=0.0, changed_at=parts.clock.now())
    )
    if save.ticket:
        parts.inbox.resolve(save.ticket, rejected=True)
    parts.emit(Lost(series=save.series, step=save.step, path=save.path, reason=reason))


def recover_evictions(parts: Parts, layout: Layout) -> None:
    """Undoes what a crash interrupted: every file on its way out gets its name back.

    Where the trainer has saved under that name again meanwhile, the eviction is finished instead, after its bytes
    were read and found in a committed manifest; without one the file stays hidden, and a person is told.
    """
    for hidden, original in _leaving(parts.hot):
        if not _put_back(hidden, original):
            try:
                _finish(parts, layout, hidden, original)
            except IntegrityError as error:
                _say_stranded(parts, hidden, str(error))
            except UnavailableError:
                continue  # the next start asks again


def _leaving(hot: Path) -> Iterator[tuple[Path, Path]]:
    """Each file on its way out, and the name it had."""
    for folder, folders, names in os.walk(hot):
        folders[:] = [name for name in folders if name != HIDDEN]
        for name in names:
            match = _LEAVING.fullmatch(name)
            if match is not None:
                yield Path(folder, name), Path(folder, match["name"])


def _finish(parts: Parts, layout: Layout, hidden: Path, original: Path) -> None:
    """Unlinks a hidden file whose bytes are committed; raises IntegrityError if that can't be shown."""
    path = original.relative_to(parts.hot).as_posix()
    found = layout.match(path)
    if found is None:
        raise IntegrityError(f"the layout does not say which step {path} is")
    series, step = found
    before = _stamp(hidden)
    sha256 = sha256_of(hidden, lambda: parts.clock.sleep(0))
    manifests = parts.cold.manifests
    for entry in manifests.entries(series, step):
        if entry.step == step and covers(manifest := manifests.read_fresh(entry), path, hidden.stat().st_size, sha256):
            prove_present(parts.cold.store, manifest.files)
            if is_open(hidden) or _stamp(hidden) != before:
                raise IntegrityError(f"{hidden.name} is in use")
            hidden.unlink()
            return
    raise IntegrityError(f"no committed generation of step {step} has its bytes")


def _say_stranded(parts: Parts, hidden: Path, why: str) -> None:
    parts.emit(
        Warned(
            text=f"{hidden.relative_to(parts.hot)} was being evicted and could not be put back: {why}",
            fix="move it where it belongs, or delete it when you are sure",
        )
    )


def _is_held(parts: Parts, save: Save) -> bool:
    return (save.series, save.step) in held(parts.hot, parts.clock.now())


def _put_back(hidden: Path, original: Path) -> bool:
    """Gives a hidden file its name back; False if that is taken."""
    try:
        rename_no_replace(hidden, original)
    except FileExistsError:
        return False
    return True


def _prove(parts: Parts, save: Save) -> None:
    if save.generation is None or save.digest is None or save.state is not State.COMMITTED:
        raise IntegrityError(f"{save.path} is not committed", "it has no generation in the cold tier")
    entry = Entry(save.series, save.step, save.generation, 0.0)
    try:
        manifest = persistently(lambda: parts.cold.manifests.read_fresh(entry), parts.clock)
    except MissingKeyError as error:
        raise IntegrityError(f"the manifest of {save.path} is gone from the cold tier") from error
    if not covers(manifest, save.path, save.digest.size, save.digest.sha256):
        raise IntegrityError(f"the manifest of {save.path} covers other bytes")
    persistently(lambda: prove_present(parts.cold.store, manifest.files), parts.clock)


def _called_off(parts: Parts, save: Save, reason: str) -> bool:
    parts.emit(NotEvicted(series=save.series, step=save.step, path=save.path, reason=reason))
    return False


def _stamp(path: Path) -> Stamp | None:
    with contextlib.suppress(FileNotFoundError):
        status = path.stat(follow_symlinks=False)
        return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
    return None

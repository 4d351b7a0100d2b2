"""Evictions that a crash interrupted: undone, or finished where everything was proven.

By the hidden names alone, whose token says what went together: of a single copy as `flow.evict` leaves it, of a
checkpoint of several ranks as `flow.evict_set` does.
"""

import os
import re
import shutil
from collections import defaultdict
from pathlib import Path

from ckpt_tier.errors import IntegrityError, UnavailableError
from ckpt_tier.flow import evict_set
from ckpt_tier.flow.evict import EVICTED, files_below, put_back, remove, say_stranded, stamp_at
from ckpt_tier.flow.parts import HotParts, Parts
from ckpt_tier.flow.proof import covers, prove_present
from ckpt_tier.hot.layout import Layout
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.system.digests import sha256_of
from ckpt_tier.system.locks import is_open

_LEAVING = re.compile(r"\.(?P<name>.+)\.(?P<token>[0-9a-f]{16})\.evict(?:ing|ed)")


def recover_evictions(parts: HotParts, layout: Layout) -> None:
    """Undoes what a crash interrupted: every file on its way out gets its name back; a folder of which everything was
    proven goes, and so do all shares of a set of which that was noted.

    Where the trainer has saved under that name again meanwhile, the eviction is finished instead, after its bytes
    were read and found in a committed manifest; without one, or without a cold tier, the file stays hidden, and a
    person is told.
    """
    for together in _leaving(parts.hot):
        if all(not hidden.name.endswith(EVICTED) for hidden, _ in together):
            for hidden, original in together:
                _undo(parts, layout, hidden, original)
        elif len(together) == 1 and _is_folder(together[0][0]):
            shutil.rmtree(together[0][0])
        else:
            evict_set.finish(parts, layout, together)


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def _undo(parts: HotParts, layout: Layout, hidden: Path, original: Path) -> None:
    if put_back(hidden, original):
        return
    if not isinstance(parts, Parts):
        say_stranded(parts, hidden, "its name is taken again, and there is no cold tier to ask for its bytes")
        return
    try:
        _finish(parts, layout, hidden, original)
    except IntegrityError as error:
        say_stranded(parts, hidden, str(error))
    except UnavailableError:
        return  # the next start asks again


def _leaving(hot: Path) -> list[list[tuple[Path, Path]]]:
    """Each file or folder on its way out, and the name it had; those of one token together."""
    found: defaultdict[str, list[tuple[Path, Path]]] = defaultdict(list)
    for folder, folders, names in os.walk(hot):
        for name in [*folders, *names]:
            match = _LEAVING.fullmatch(name)
            if match is not None:
                found[match["token"]].append((Path(folder, name), Path(folder, match["name"])))
        folders[:] = [name for name in folders if name != HIDDEN and not _LEAVING.fullmatch(name)]
    return list(found.values())


def _finish(parts: Parts, layout: Layout, hidden: Path, original: Path) -> None:
    """Deletes what is hidden, if its bytes are committed; raises IntegrityError if that can't be shown."""
    path = original.relative_to(parts.hot).as_posix()
    found = layout.match(path)
    if found is None:
        raise IntegrityError(f"the layout does not say which step {path} is")
    places = list(files_below(hidden)) if hidden.is_dir() else [hidden]
    before = {place: stamp_at(place) for place in places}
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
            if any(is_open(place) or stamp_at(place) != before[place] for place in places):
                raise IntegrityError(f"{hidden.name} is in use")
            remove(hidden)
            return
    raise IntegrityError(f"no committed generation of step {found.step} has its bytes")

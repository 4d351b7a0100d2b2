"""What a killed `Tier.save` left: the hidden file that it wrote and never gave its name."""

import os
import re
from pathlib import Path

import msgspec

from ckpt_tier.core.nouns import Stamp
from ckpt_tier.hot.layout import OUR_FOLDER, Layout

_UNNAMED = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.tmp")


class Unnamed(msgspec.Struct, frozen=True):
    """One such file. `path` is where it lies, `name` the one it was to get, both relative to the hot folder;
    `stamp` by one lstat."""

    path: str
    name: str
    stamp: Stamp


def unnamed(hot: Path, layout: Layout) -> list[Unnamed]:
    """The hidden files below the hot folder whose names are as `Tier.save` makes them: 16 hex digits, around a name
    that the layout has a place for. By path. Folders that can't be read are passed over."""
    found = []
    for folder, folders, names in os.walk(hot):
        folders[:] = [name for name in folders if name != OUR_FOLDER]
        for hidden in names:
            match = _UNNAMED.fullmatch(hidden)
            if match is None:
                continue
            place = Path(folder, hidden)
            name = Path(folder, match["name"]).relative_to(hot).as_posix()
            if layout.match(name) is None or place.is_symlink():
                continue
            try:
                status = place.lstat()
            except FileNotFoundError:
                continue
            stamp = Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
            found.append(Unnamed(place.relative_to(hot).as_posix(), name, stamp))
    return sorted(found, key=lambda each: each.path)

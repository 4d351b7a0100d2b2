"""What else lies in the hot folder: our own folders, what is unfinished, and what no layout matches."""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec

from ckpt_tier.hot.layout import OUR_FOLDER

Place = Literal["unsent", "rejected", "replaced", "staging", "unfinished", "other"]
PLACES: tuple[Place, ...] = ("unsent", "rejected", "replaced", "staging", "unfinished", "other")
_UNFINISHED = re.compile(r"(?i)\.(tmp|temp|part|partial|incomplete|evicting|evicted)$")


class Lying(msgspec.Struct, frozen=True, kw_only=True):
    """Files in the hot folder that are no checkpoints of the layout.

    Attributes:
        place: ``unsent``, ``rejected``, ``replaced`` and ``staging`` are folders in ``.ckpt-tier/``; "unfinished" is
            what has the name of a temporary file, "other" the rest.
        bytes: of what has no other name among the checkpoints: what the folder takes by itself.
        largest, largest_bytes: the path of the largest, relative to the hot folder.
    """

    place: Place
    count: int
    bytes: int
    largest: str
    largest_bytes: int


def lying_about(hot: Path, checkpoints: Collection[str], inodes: Collection[int]) -> list[Lying]:
    """Everything below `hot` that is none of the `checkpoints`' files (relative paths); hard links to one of their
    `inodes` take no room and are left out. What can't be looked at is passed over: `scan` reports it."""
    found: dict[Place, list[tuple[int, str]]] = {place: [] for place in PLACES}
    counted = set(inodes)
    for folder, _, names in os.walk(hot):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(hot).as_posix()
            if relative in checkpoints:
                continue
            try:
                seen = path.lstat()
            except OSError:
                continue
            place = _place(relative)
            if place is not None and seen.st_ino not in counted:
                counted.add(seen.st_ino)
                found[place].append((seen.st_size, relative))
    return [
        Lying(
            place=place,
            count=len(files),
            bytes=sum(size for size, _ in files),
            largest=max(files)[1],
            largest_bytes=max(files)[0],
        )
        for place, files in found.items()
        if files
    ]


def _place(relative: str) -> Place | None:
    """None for our own notes: locks, tickets, logs."""
    top, _, below = relative.partition("/")
    if top == OUR_FOLDER:
        return next((place for place in PLACES[:4] if below.startswith(f"{place}/")), None)
    return "unfinished" if _UNFINISHED.search(relative) else "other"

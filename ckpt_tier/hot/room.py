"""Requests for room: how a training process asks the worker to evict before the next save.

A request is an empty file in ``.ckpt-tier/room/`` whose name says all: how many bytes are wanted, until when (seconds
since the epoch), and an id. Creating it is one step, and takes no byte of a disk that may be full; what a killed
process leaves counts no more once its time has come, and is removed by whoever asks next.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from ckpt_tier.inbox import HIDDEN
from ckpt_tier.system.clock import random_id

LONGEST = 3600.0
"""Seconds: a request that says it counts for longer is some machine's wrong clock."""
_NAME = re.compile(r"(?P<bytes>\d{1,18})\.(?P<until>\d{1,12})\.[0-9a-f]{16}")


@contextlib.contextmanager
def request(hot: Path, wanted: int, now: float, patience: float) -> Iterator[None]:
    """Inside, `wanted` bytes are asked for, at most `patience` seconds from `now` on. Raises OSError."""
    folder = hot / HIDDEN / "room"
    folder.mkdir(parents=True, exist_ok=True)
    for note in folder.iterdir():
        if _bytes_wanted(note, now) == 0:
            note.unlink(missing_ok=True)
    note = folder / f"{wanted}.{round(now + patience)}.{random_id()}"
    note.touch(exist_ok=False)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def requested(hot: Path, now: float) -> int:
    """The bytes that all requests together want free at `now`."""
    try:
        notes = list((hot / HIDDEN / "room").iterdir())
    except FileNotFoundError:
        return 0
    return sum(_bytes_wanted(note, now) or 0 for note in notes)


def _bytes_wanted(note: Path, now: float) -> int | None:
    """What a request asks for; 0 once it has run out, None if it is none."""
    match = _NAME.fullmatch(note.name)
    if match is None:
        return None
    return int(match["bytes"]) if now <= int(match["until"]) <= now + LONGEST else 0

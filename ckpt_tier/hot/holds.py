"""Holds: notes in the hot folder that a restored copy must not be evicted yet."""

import re
from pathlib import Path

from ckpt_tier.inbox import HIDDEN
from ckpt_tier.system.durable import write_atomic

_NAME = re.compile(r"(?P<series>.+)\.(?P<step>\d{1,12})\.hold")


def _folder(hot: Path) -> Path:
    return hot / HIDDEN / "holds"


def hold(hot: Path, series: str, step: int, until: float) -> None:
    """Puts a hold on a checkpoint's hot copy until `until`, seconds since the epoch. Durable."""
    folder = _folder(hot)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{series}.{step}.hold", f"{until}\n".encode())


def held(hot: Path, now: float) -> dict[tuple[str, int], float]:
    """(series, step) → until when, for every hold that still counts at `now`; those run out are removed.

    A hold that can't be read counts as one without end: rather a file too many than one too few.
    """
    found = {}
    try:
        notes = list(_folder(hot).iterdir())
    except FileNotFoundError:
        return {}
    for note in notes:
        match = _NAME.fullmatch(note.name)
        if match is None:
            continue
        try:
            until = float(note.read_text())
        except FileNotFoundError:
            continue
        except ValueError:
            until = float("inf")
        if until <= now:
            note.unlink(missing_ok=True)
        else:
            found[match["series"], int(match["step"])] = until
    return found

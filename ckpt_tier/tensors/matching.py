"""Which file of one checkpoint answers to which of another, and which name to which. Pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from ckpt_tier.errors import CkptTierError
from ckpt_tier.hot.layout import Layout

T = TypeVar("T")

_SMALLEST_STEP = 100
"""Within a checkpoint's folder a smaller number is more likely a shard's or a rank's than the step."""


class Found(msgspec.Struct, Generic[T], frozen=True):
    """A thing in one of a checkpoint's files, which is counted from 0."""

    file: int
    name: str
    thing: T


class Matching(msgspec.Struct, Generic[T], frozen=True):
    """What both have, what only the first has, and what only the second."""

    both: tuple[tuple[Found[T], Found[T]], ...]
    removed: tuple[Found[T], ...]
    added: tuple[Found[T], ...]


def file_names(paths: Sequence[str], step: int | None, layout: str) -> list[str]:
    """The files' names without what tells one step, or one series, from another."""
    folder = _common_folder(paths)
    try:
        parsed = Layout.parse(layout)
    except CkptTierError:
        parsed = None
    names = []
    for path in paths:
        placed = parsed.place_of(path) if parsed is not None else None
        if placed is None:
            names.append(_without_step(path[len(folder) :], step))
            continue
        whole, place = placed
        rest = _without_step(path[len(whole) :].lstrip("/"), step)
        share = "" if place.rank is None else f"rank {place.rank}"
        names.append("/".join(part for part in (share, rest) if part))
    return names


def match_files(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of files, by their `file_names`. One file on each side are a pair whatever they are called."""
    if len(before) == len(after) == 1:
        return [(0, 0)]
    there = {name: number for number, name in enumerate(after)}
    return [(number, there[name]) for number, name in enumerate(before) if name in there]


def match(
    before: Sequence[Mapping[str, T]], after: Sequence[Mapping[str, T]], files: Sequence[tuple[int, int]]
) -> Matching[T]:
    """By name within each pair of files; then what is left by name alone, where each side has it once: a model that was
    saved in four shards and then in two is still the same model."""
    left = [[dict(names) for names in side] for side in (before, after)]
    both = []
    for first, second in files:
        for name in before[first]:
            if name in left[1][second]:
                things = left[0][first].pop(name), left[1][second].pop(name)
                both.append((Found(first, name, things[0]), Found(second, name, things[1])))
    removed, added = (_listed(side) for side in left)
    counts = [Counter(name for names in side for name in names) for side in (before, after)]
    lone = [
        {each.name: each for each in side if count[each.name] == 1}
        for side, count in zip((removed, added), counts, strict=True)
    ]
    moved = [name for name in lone[0] if name in lone[1]]
    both += [(lone[0][name], lone[1][name]) for name in moved]
    gone = set(moved)
    return Matching(
        tuple(both),
        tuple(each for each in removed if each.name not in gone),
        tuple(each for each in added if each.name not in gone),
    )


def _listed(side: list[dict[str, T]]) -> list[Found[T]]:
    return [Found(number, name, thing) for number, names in enumerate(side) for name, thing in names.items()]


def _common_folder(paths: Sequence[str]) -> str:
    folders = [path.split("/")[:-1] for path in paths]
    common: list[str] = []
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return "".join(f"{name}/" for name in common)


def _without_step(path: str, step: int | None) -> str:
    if step is None or step < _SMALLEST_STEP:
        return path
    return re.sub(rf"(?<!\d)0*{step}(?!\d)", "{step}", path)

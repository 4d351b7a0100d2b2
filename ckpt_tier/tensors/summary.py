"""A comparison put together from what matching and reading have told. Pure."""

import math
from collections.abc import Iterable, Sequence

import msgspec

from ckpt_tier.tensors.change import Change
from ckpt_tier.tensors.compared import (
    ChangedTensor,
    ChangedValue,
    ComparedSide,
    Comparison,
    LoneTensor,
    LoneValue,
    Undecided,
)
from ckpt_tier.tensors.difference import Known
from ckpt_tier.tensors.matching import Found, Matching
from ckpt_tier.tensors.nouns import LISTED, Catalogue, Tensor
from ckpt_tier.tensors.tree import Entry

_CUT = "they look alike, but not all of them was looked at"


class Heads(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of two checkpoints hold, and how they belong together.

    Attributes:
        before, after: the catalogues, in the order of each checkpoint's files.
        pairs: of files, by their numbers.
        same: those of the pairs whose bytes are known to be the same.
    """

    before: tuple[Catalogue, ...]
    after: tuple[Catalogue, ...]
    pairs: tuple[tuple[int, int], ...]
    same: frozenset[tuple[int, int]]

    @property
    def opaque(self) -> list[tuple[int, int]]:
        """The pairs of files that are of a format that is not looked into."""
        return [(i, j) for i, j in self.pairs if _is_opaque(self.before[i]) or _is_opaque(self.after[j])]


def summed_up(
    heads: Heads,
    tensors: Matching[Tensor],
    known: Sequence[Known],
    values: Matching[Entry],
    differing: Iterable[tuple[int, int]],
    sides: tuple[ComparedSide, ComparedSide],
) -> Comparison:
    """`known` tells of each pair of `tensors`; `differing` are the opaque pairs of files whose bytes differ."""
    told = [
        (each, now, result.change)
        for (each, now), result in zip(tensors.both, known, strict=True)
        if result.equal is False
    ]
    undecided = [
        Undecided(file=heads.after[now.file].path, name=now.name, why=result.why)
        for (_, now), result in zip(tensors.both, known, strict=True)
        if result.equal is None
    ]
    equal = [result for result in known if result.equal]
    changed = sorted((_changed(heads, was, now, change) for was, now, change in told), key=_weight)
    alike = [True if (was.file, now.file) in heads.same else was.thing.same_as(now.thing) for was, now in values.both]
    changed_values = [
        _changed_value(heads, *pair) for pair, same in zip(values.both, alike, strict=True) if same is False
    ]
    cut = [now for (_, now), same in zip(values.both, alike, strict=True) if same is None]
    paired = [{pair[side] for pair in heads.pairs} for side in (0, 1)]
    parts = {
        "changed": tuple(changed),
        "added": tuple(_lone(heads.after, each) for each in tensors.added),
        "removed": tuple(_lone(heads.before, each) for each in tensors.removed),
        "changed_values": tuple(changed_values),
        "added_values": tuple(_lone_value(heads.after, each) for each in values.added),
        "removed_values": tuple(_lone_value(heads.before, each) for each in values.removed),
        "changed_files": tuple(heads.after[j].path for _, j in differing),
        "added_files": tuple(
            each.path for n, each in enumerate(heads.after) if n not in paired[1] and _is_opaque(each)
        ),
        "removed_files": tuple(
            each.path for n, each in enumerate(heads.before) if n not in paired[0] and _is_opaque(each)
        ),
    }
    return Comparison(
        equal=False if any(parts.values()) else None if undecided or cut else True,
        before=sides[0],
        after=sides[1],
        equal_tensors=len(equal),
        unread_tensors=sum(result.unread for result in equal),
        undecided=tuple(undecided),
        equal_values=sum(same is True for same in alike),
        undecided_values=tuple(Undecided(file=heads.after[each.file].path, name=each.name, why=_CUT) for each in cut),
        **parts,  # type: ignore[arg-type]  # each under its own name
    )


def _is_opaque(held: Catalogue) -> bool:
    return held.format not in LISTED


def _weight(each: ChangedTensor) -> tuple[int, float]:
    """New NaN and Inf first, then what has no relative change, then the largest one."""
    change = each.change
    if change is None:
        return (1, 0.0)
    norm = math.inf if change.norm is None else change.norm
    if change.nan_after > change.nan_before or change.inf_after > change.inf_before:
        return (0, -norm)
    return (1, -norm) if change.relative is None else (2, -change.relative)


def _changed(heads: Heads, was: Found[Tensor], now: Found[Tensor], change: Change | None) -> ChangedTensor:
    return ChangedTensor(
        file=heads.after[now.file].path,
        name=now.name,
        dtype_before=was.thing.dtype,
        dtype_after=now.thing.dtype,
        shape_before=was.thing.shape,
        shape_after=now.thing.shape,
        change=change,
    )


def _lone(side: Sequence[Catalogue], found: Found[Tensor]) -> LoneTensor:
    tensor = found.thing
    return LoneTensor(
        file=side[found.file].path,
        name=found.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        size_bytes=tensor.size_bytes,
    )


def _changed_value(heads: Heads, was: Found[Entry], now: Found[Entry]) -> ChangedValue:
    return ChangedValue(
        file=heads.after[now.file].path,
        name=now.name,
        type_before=was.thing.type,
        before=was.thing.value,
        type_after=now.thing.type,
        after=now.thing.value,
    )


def _lone_value(side: Sequence[Catalogue], found: Found[Entry]) -> LoneValue:
    return LoneValue(file=side[found.file].path, name=found.name, type=found.thing.type, value=found.thing.value)

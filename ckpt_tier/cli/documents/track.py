"""The document of `track --json`."""

from typing import Literal

import msgspec

from ckpt_tier.tensors.statistics import Figures
from ckpt_tier.tracking import Point, Tracked


class TrackedValue(msgspec.Struct, frozen=True, kw_only=True):
    """One name in one checkpoint; `figures` is null, and `problem` says why, where it could not be read."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    figures: Figures | None
    problem: str


class TrackedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint. `where`: from where it was read; `problem`: why not all of it could be."""

    series: str
    step: int
    generation: str | None
    saved_at: str
    abandoned: bool
    where: Literal["hot", "cold", "cache"]
    values: tuple[TrackedValue, ...]
    problem: str


class TrackDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`track`: what was found in each checkpoint, by step, and what reading has cost. `size_bytes` is of all files of
    these checkpoints, `cached_count` how many were not read again."""

    schema: str = "ckpt-tier/track/1"
    checkpoints: tuple[TrackedCheckpoint, ...]
    names: tuple[str, ...]
    size_bytes: int
    read_bytes: int
    requests: int
    cached_count: int
    cold_error: str
    notes: tuple[str, ...]


def document(tracked: Tracked) -> TrackDocument:
    """The whole of it."""
    return TrackDocument(
        checkpoints=tuple(map(_checkpoint, tracked.points)),
        names=tracked.names,
        size_bytes=tracked.size_bytes,
        read_bytes=tracked.cost.read_bytes,
        requests=tracked.cost.requests,
        cached_count=tracked.cached,
        cold_error=tracked.cold_error,
        notes=tracked.notes,
    )


def _checkpoint(point: Point) -> TrackedCheckpoint:
    step = point.step
    return TrackedCheckpoint(
        series=step.series,
        step=step.step,
        generation=step.generation,
        saved_at=step.saved_at,
        abandoned=step.abandoned,
        where=point.where,
        values=tuple(
            TrackedValue(
                name=track.name,
                dtype=track.found.dtype,
                shape=track.found.shape,
                figures=track.found.figures,
                problem=track.found.problem,
            )
            for track in point.tracks
        ),
        problem=point.problem,
    )

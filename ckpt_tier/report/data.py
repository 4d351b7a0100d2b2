"""What the report says, as one typed document: ``ckpt-tier report --json`` prints it, `page` shows it."""

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from ckpt_tier.flow.disk import DiskReport
from ckpt_tier.flow.status import Status

SCHEMA = "ckpt-tier/report/1"
Kind = Literal["cold", "both", "waiting", "incomplete", "stalled", "unreadable", "rejected", "lost", "damaged"]
Mode = Literal["min", "max", "lowest"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""From what is safest to what matters most."""
TROUBLE = frozenset(KINDS[3:])
"""The kinds that need a person."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint, one generation; the shares of several ranks are one. `null` where nobody has looked.

    Attributes:
        kind: "cold", "both" (hot and cold), "waiting" (only hot), or what is wrong with it, as in `status`.
        hot: a hot copy exists.
        lag_seconds: from saved to committed; 0 where the store's clock is behind.
        pin: the reason it was pinned for.
        abandoned: it lies on a branch that training has left.
    """

    series: str
    step: int
    generation: str | None
    kind: Kind
    hot: bool
    saved_at: str | None
    committed_at: str | None
    lag_seconds: int | None
    size_bytes: int | None
    pin: str | None = None
    abandoned: bool = False


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How long checkpoints took from saved to committed. `oldest_waiting_seconds`: the age of the oldest one that still
    waits. `worst_series` and `worst_step` are of `worst_seconds`; null where `count` is 0."""

    count: int
    median_seconds: int | None
    worst_seconds: int | None
    worst_series: str | None
    worst_step: int | None
    oldest_waiting_seconds: int | None


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """What was committed from `at` on, for as long as a bucket is."""

    at: str
    count: int
    bytes: int


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Commits over time, of what the cold tier holds now; buckets in which nothing was committed are left out."""

    bucket_seconds: int
    buckets: tuple[Bucket, ...]


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes committed until `at`, all together, of what the cold tier holds now."""

    at: str
    bytes: int


class Point(msgspec.Struct, frozen=True):
    """A value at a step."""

    step: int
    value: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One number over the steps of one series, by step. `best` is the best point, by `mode`: what keep_best says of
    this name, else "lowest"."""

    name: str
    series: str
    points: tuple[Point, ...]
    best: Point
    mode: Mode


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `report --json`. `page` is the file that was written, null if none was. `series` is null unless
    only one was asked for. `status` and `disk` are what the commands of these names print.

    `summary` is one sentence on what would be lost now, and one on what needs a person. `cold_error`: the cold tier
    could not be asked, and its checkpoints are shown as this machine last read them; empty if it could. `notes`: what
    could not be tracked, and why.
    """

    schema: str = SCHEMA
    at: str
    run: str
    version: str
    config: str | None
    page: str | None
    series: str | None
    summary: str
    cold_error: str
    status: Status
    disk: DiskReport
    checkpoints: tuple[Checkpoint, ...]
    lag: Lag
    throughput: Throughput
    growth: tuple[Growth, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = ()


def worst(kinds: Iterable[Kind], without: Kind = "cold") -> Kind:
    """Of several kinds the one that matters most; `without` any, that one."""
    return max(kinds, key=KINDS.index, default=without)

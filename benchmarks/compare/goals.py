"""The goals, and what a run says about each."""

from collections.abc import Callable
from typing import Literal

import msgspec

from benchmarks.compare.folders import FLUSHED, PAST_CACHE, READ
from benchmarks.compare.results import TIER, TRANSFER, WHOLE, Item, Results, Row, Sample, transfer_cpu

Outcome = Literal["reached", "missed", "not run", "small run"]
MIB = 2**20
GROWTH_SLACK = 1.15
"""How much more a byte may cost in the largest file than in smaller ones and still count as the same."""


class Reading(msgspec.Struct, frozen=True):
    """What was measured; `detail` says of what it is made."""

    value: float
    detail: str


class Goal(msgspec.Struct, frozen=True):
    """At most `limit`, as `read` finds it in a work item; None where the figures for it are missing."""

    what: str
    item: str
    limit: float
    unit: str
    read: Callable[[Item], Reading | None]


class Verdict(msgspec.Struct, frozen=True):
    """A goal and what became of it."""

    goal: Goal
    outcome: Outcome
    reading: Reading | None


def verdicts(results: Results) -> list[Verdict]:
    """One for each goal. A run of other sizes than the goal speaks of reaches and misses nothing."""
    return [_verdict(goal, results.item(goal.item)) for goal in GOALS]


def _verdict(goal: Goal, item: Item | None) -> Verdict:
    reading = goal.read(item) if item else None
    if item is None or reading is None:
        return Verdict(goal, "not run", None)
    if not item.full:
        return Verdict(goal, "small run", reading)
    return Verdict(goal, "reached" if reading.value <= goal.limit else "missed", reading)


def _wall(sample: Sample) -> float:
    return sample.wall_seconds


def _least(rows: list[Row], of: Callable[[Sample], float | None]) -> tuple[float, Row] | None:
    known = [(value, row) for row in rows if (value := row.median(of)) is not None]
    return min(known, key=lambda pair: pair[0]) if known else None


def _ratio(settings: str, of: Callable[[Sample], float | None]) -> Callable[[Item], Reading | None]:
    """Of ckpt-tier to the best peer."""

    def read(item: Item) -> Reading | None:
        ours, best = item.row(TIER, settings), _least(item.peers, of)
        mine = ours.median(of) if ours else None
        if mine is None or best is None or best[0] == 0:
            return None
        return Reading(mine / best[0], f"{mine:.2f} s to {best[0]:.2f} s of {best[1].name}")

    return read


def _figure(name: str) -> Callable[[Item], Reading | None]:
    def read(item: Item) -> Reading | None:
        found = item.figure(name)
        return Reading(found.value, "") if found else None

    return read


def _folder(item: Item) -> Reading | None:
    rows = [item.row(TIER, WHOLE), item.row("cp", "defaults"), item.row(READ, PAST_CACHE)]
    walls = [row.median(_wall) if row else None for row in rows]
    alone, flushed = item.row(TIER, TRANSFER), item.row("cp", FLUSHED)
    if None in walls:
        return None
    mine, copy, read = (wall or 0.0 for wall in walls)
    detail = f"{mine:.2f} s to 1.05 x {copy:.2f} s (`cp`) + {read:.2f} s (a read past the cache)"
    if flushed and (durable := flushed.median(_wall)):
        detail += f"; `cp` and flushing take {durable:.2f} s"
    if alone and (transfer := alone.median(lambda sample: sample.transfer_wall_seconds)):
        detail += f", our copying without validation {transfer:.2f} s"
    return Reading(mine / (1.05 * copy + read), detail)


def _memory(item: Item) -> Reading | None:
    """The largest peak of any whole ckpt-tier process of a work item."""
    row = item.row(TIER, WHOLE)
    if row is None or not row.samples:
        return None
    return Reading(max(sample.peak_anonymous_bytes for sample in row.samples) / MIB, "")


def _growth_memory(size: str) -> Callable[[Item], Reading | None]:
    def read(item: Item) -> Reading | None:
        found = [figure for figure in item.figures if size in figure.name and figure.unit == "MiB"]
        if not found:
            return None
        most = max(found, key=lambda figure: figure.value)
        return Reading(most.value, most.name.partition(":")[0])

    return read


def _growth(what: str) -> Callable[[Item], Reading | None]:
    """How much more each further byte costs from 10 to 100 GB than from 1 to 10 GB."""

    def read(item: Item) -> Reading | None:
        values = [_starting(item, f"upload {size} GB", what) for size in (1, 10, 100)]
        if None in values:
            return None
        first, second, third = (value or 0.0 for value in values)
        if second <= first:
            return None
        detail = f"{first:.4g}, {second:.4g}, {third:.4g} for 1, 10, 100 GB"
        return Reading((third - second) / 90 / ((second - first) / 9), detail)

    return read


def _growth_flat(item: Item) -> Reading | None:
    first, last = (_starting(item, f"upload {size} GB", "peak anonymous memory") for size in (1, 100))
    return Reading(last / first, f"{first:.0f} and {last:.0f} MiB") if first and last else None


def _starting(item: Item, begin: str, what: str) -> float | None:
    for figure in item.figures:
        if figure.name.startswith(begin) and figure.name.endswith(f": {what}"):
            return figure.value
    return None


_ITEMS = {"one": "1.2 GB", "ten": "10 x 1.2 GB", "many": "10,000 x 100 KB"}

GOALS: tuple[Goal, ...] = (
    *(
        Goal(f"upload, wall, {size}: validation and checksums included", f"upload-{name}", 0.9,
             "times the fastest peer", _ratio(WHOLE, _wall))
        for name, size in _ITEMS.items()
    ),
    *(
        Goal(f"upload, client CPU of the transfer, http, {size}", f"upload-{name}", 0.3, "times the most frugal peer",
             _ratio(TRANSFER, transfer_cpu))
        for name, size in _ITEMS.items()
    ),
    Goal("upload, client CPU of the transfer, https, 1.2 GB", "tls-upload", 0.8, "times the most frugal peer",
         _ratio(TRANSFER, transfer_cpu)),
    *(
        Goal(f"restore, wall, {size}: verified and fsynced", f"restore-{name}", 0.8, "times the fastest peer",
             _ratio(WHOLE, _wall))
        for name, size in _ITEMS.items()
    ),
    *(
        Goal(f"restore, client CPU of the transfer, {size}: verified and fsynced", f"restore-{name}", 0.7,
             "times the most frugal peer", _ratio(TRANSFER, transfer_cpu))
        for name, size in _ITEMS.items()
    ),
    Goal("upload, wall, https with a private CA, 1.2 GB", "tls-upload", 0.95, "times the fastest peer",
         _ratio(WHOLE, _wall)),
    Goal("restore, wall, https with a private CA, 1.2 GB", "tls-restore", 0.95, "times the fastest peer",
         _ratio(WHOLE, _wall)),
    *(
        Goal(f"memory, anonymous, {name}", name, 128, "MiB", _memory)
        for name in ("upload-one", "restore-one", "upload-ten", "restore-ten", "upload-many", "restore-many",
                     "tls-upload", "tls-restore", "folder")
    ),
    Goal("memory, anonymous, a 20 GB file both ways", "growth", 128, "MiB", _growth_memory("20 GB")),
    Goal("folder as cold tier, 1.2 GB", "folder", 1.0, "times (1.05 x `cp` + one read)", _folder),
    Goal("hook, p50, 10,000 calls beside a busy training", "hook", 0.5, "ms", _figure("p50")),
    Goal("hook, p99", "hook", 5, "ms", _figure("p99")),
    Goal("step time during an upload", "steps", 1.02, "times without", _figure("ratio")),
    Goal("idle `sync`, 10,000 committed", "scale", 0.5, "s", _figure("sync, idle")),
    Goal("idle `sync`, 100,000 committed", "scale-more", 1, "s", _figure("sync, idle")),
    Goal("`list`, 10,000 steps, cold cache", "scale", 2, "s", _figure("list, cold")),
    Goal("`list`, 10,000 steps, warm cache", "scale", 0.3, "s", _figure("list, warm")),
    Goal("`status`, 10,000 steps, cold cache", "scale", 2, "s", _figure("status, cold")),
    Goal("`status`, 10,000 steps, warm cache", "scale", 0.3, "s", _figure("status, warm")),
    Goal("`ckpt-tier --help`", "scale", 0.12, "s", _figure("--help")),
    Goal("`ckpt-tier list`, 3 checkpoints", "scale", 0.3, "s", _figure("list, 3 checkpoints")),
    Goal("64 uploaders x 64 files of 4 MB: commit after the last receipt", "ranks", 1, "s",
         _figure("manifest after the last receipt")),
    Goal("growth, time per byte, 10 to 100 GB", "growth", GROWTH_SLACK, "times that of 1 to 10 GB", _growth("wall")),
    Goal("growth, requests per byte, 10 to 100 GB", "growth", GROWTH_SLACK, "times that of 1 to 10 GB",
         _growth("requests")),
    Goal("growth, memory, 100 GB", "growth", GROWTH_SLACK, "times that of 1 GB", _growth_flat),
)  # fmt: skip

"""The state of everything on one screen: what would be lost now, what waits, what needs a person, what runs out.

Pure: from a look at both tiers to the document that `status` shows and ``--json`` prints.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import msgspec

from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.cold.manifests import Entry
from ckpt_tier.core.branches import branch_of
from ckpt_tier.core.states import QUEUED, State
from ckpt_tier.core.units import format_time
from ckpt_tier.flow.actions import Kind
from ckpt_tier.flow.reconcile import reconcile
from ckpt_tier.flow.standing import has_hot_copy, has_link
from ckpt_tier.flow.view import View
from ckpt_tier.hot.scan import HotCopy
from ckpt_tier.journal.journal import Facts
from ckpt_tier.journal.verdicts import Verdict

SCHEMA = "ckpt-tier/status/1"
RATE_SAVES = 20
"""The save rate is measured over so many of the latest saves of each series."""
RATE_SPAN = 60.0
"""Seconds: saves closer together than this were copied here, not trained."""
FAR_OFF = 30 * 86_400
"""Seconds: a disk that is full after this is not worth a word."""
FULL_SOON = 6 * 3600
"""Seconds: a disk that is full before this is something for a person."""
ADVICE = {
    "damaged": "damaged: restore another step; a hot copy, if there is one, is kept, and sent again once the object is "
    "gone; looked at again by the worker every hour, by `ckpt-tier sync` at once",
    "rejected": "rejected: save the step again, or delete the file; it is never uploaded as it is",
    "stalled": "stalled: tried again by itself; mend the cause to have it sooner",
    "unreadable": "unreadable: look at its permissions and at the disk; tried again by itself",
    "incomplete": "incomplete: sync the folders of the other ranks, or save the step again; "
    "`ckpt-tier sync --dismiss STEP` gives it up",
    "lost": "lost: nothing can bring it back; `ckpt-tier sync --dismiss STEP` stops this report",
}
"""What to do about each state that needs a person."""
OVER_AFTER = 5
"""A series that has not saved for so many of its mean intervals is not training any more."""


class Newest(msgspec.Struct, frozen=True, kw_only=True):
    """The newest committed checkpoint: what is left if the machine dies now. Times RFC 3339."""

    step: int
    generation: str
    saved_at: str
    age_seconds: int


class SeriesStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One series. `cold_bytes` counts what is known of; None if the cold tier could not be listed."""

    name: str
    newest_committed: Newest | None
    newest_hot_step: int | None
    hot_count: int
    hot_bytes: int
    cold_count: int | None
    cold_bytes: int | None


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for validation or upload. `eta_seconds` is None before the first upload was measured."""

    count: int
    bytes: int
    eta_seconds: int | None


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs a person. `state` is "damaged" for what is committed, and missing or damaged in the cold
    tier."""

    state: str
    series: str
    step: int
    path: str
    reason: str
    since: str | None


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The hot file system. `full_in_seconds`: at the measured rates; None if it is not filling up."""

    total_bytes: int
    free_bytes: int
    min_free_bytes: int
    full_in_seconds: int | None


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """Saves against uploads. Rates in bytes per second, None before they were measured."""

    saved_bytes_per_second: int | None
    uploaded_bytes_per_second: int | None
    keeps_up: bool | None


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a process works on the queue now."""

    running: bool
    pid: int | None = None
    host: str | None = None
    what: str | None = None


class ColdStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The cold tier; `url` is empty where there is none. `error` is empty if it could be listed now.
    `last_verified_at`: when the worker verified a checkpoint again at last, in the background."""

    url: str
    error: str = ""
    last_seen_at: str | None = None
    last_verified_at: str | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `status --json`. Integers in ``*_bytes`` and ``*_seconds``, times in RFC 3339 UTC."""

    schema: str
    at: str
    run: str
    hot_path: str
    cold: ColdStatus
    worker: WorkerStatus
    series: tuple[SeriesStatus, ...]
    queue: Queue
    uplink: Uplink
    disk: Disk
    attention: tuple[Attention, ...]
    warnings: tuple[str, ...]


def is_crowded(now: Status) -> bool:
    """Whether a person should come: there is too little room on the disk, or soon will be while nothing drains."""
    soon = now.disk.full_in_seconds is not None and now.disk.full_in_seconds < FULL_SOON
    return now.disk.free_bytes < now.disk.min_free_bytes or (soon and bool(now.queue.count or not now.worker.running))


def status(
    view: View,
    *,
    run: str,
    hot_path: str,
    disk_total: int,
    cold: ColdStatus,
    worker: WorkerStatus,
    facts: Facts,
    verdicts: Collection[Verdict] = (),
    entries: Iterable[Entry] | None,
    manifests: Mapping[Entry, Manifest],
    warnings: Iterable[str] = (),
) -> Status:
    """The status at `view.now`; `entries` is None when the cold tier could not be listed."""
    queued = waiting(view)
    save_rate = rate_of_saving(view, manifests.values())
    uplink = _uplink(save_rate, facts)
    queue = Queue(
        count=len(queued),
        bytes=sum(queued.values()),
        eta_seconds=_duration(sum(queued.values()), facts.upload_bytes_per_second),
    )
    return Status(
        schema=SCHEMA,
        at=format_time(view.now),
        run=run,
        hot_path=hot_path,
        cold=_with_time(cold, verdicts),
        worker=worker,
        series=_series(view, None if entries is None else list(entries), manifests),
        queue=queue,
        uplink=uplink,
        disk=Disk(
            total_bytes=disk_total,
            free_bytes=view.free,
            min_free_bytes=view.rules.min_free,
            full_in_seconds=full_in(view, save_rate, facts, draining=worker.running and not cold.error),
        ),
        attention=(*_damaged(verdicts), *_attention(view)),
        warnings=tuple(warnings),
    )


def waiting(view: View) -> dict[str, int]:
    """What waits for validation or upload: the bytes of each, by path."""
    found = {a.path: a.size for a in reconcile(view) if a.kind in (Kind.VALIDATE, Kind.UPLOAD, Kind.WAIT)}
    return found | {save.path: save.size for save in view.saves if save.state in QUEUED}


def _series(view: View, entries: list[Entry] | None, manifests: Mapping[Entry, Manifest]) -> tuple[SeriesStatus, ...]:
    hot, cold = defaultdict(list), defaultdict(list)
    for copy in view.hot.values():
        hot[copy.series].append(copy)
    for entry in entries or []:
        cold[entry.series].append(entry)
    rows = []
    for name in sorted({*hot, *cold}):
        known = [manifests[entry] for entry in cold[name] if entry in manifests]
        rows.append(
            SeriesStatus(
                name=name,
                newest_committed=_newest(cold[name], manifests, view),
                newest_hot_step=max((copy.step for copy in hot[name]), default=None),
                hot_count=len({copy.step for copy in hot[name]}),
                hot_bytes=sum(copy.stamp.size for copy in hot[name]),
                cold_count=None if entries is None else len(cold[name]),
                cold_bytes=None if entries is None else sum(manifest.size for manifest in known),
            )
        )
    return tuple(rows)


def _newest(entries: list[Entry], manifests: Mapping[Entry, Manifest], view: View) -> Newest | None:
    """On the branch that training goes on with, if there is anything on it."""
    if not entries:
        return None

    def saved(entry: Entry) -> float:
        manifest = manifests.get(entry)
        return manifest.saved if manifest else entry.committed_at

    alive = [each for each in entries if branch_of(view.branches, each.series, each.step, saved(each)) is None]
    last = max(alive or entries, key=lambda entry: (saved(entry), entry.step))
    return Newest(
        step=last.step,
        generation=last.generation,
        saved_at=format_time(saved(last)),
        age_seconds=max(0, round(view.now - saved(last))),
    )


def _with_time(cold: ColdStatus, verdicts: Collection[Verdict]) -> ColdStatus:
    if not verdicts:
        return cold
    latest = max(verdict.verified_at for verdict in verdicts)
    return msgspec.structs.replace(cold, last_verified_at=format_time(latest))


def _damaged(verdicts: Iterable[Verdict]) -> Iterable[Attention]:
    for verdict in verdicts:
        if verdict.problem:
            yield Attention(
                state="damaged",
                series=verdict.series,
                step=verdict.step,
                path=verdict.path,
                reason=verdict.problem,
                since=format_time(verdict.since),
            )


def _attention(view: View) -> Iterable[Attention]:
    for save in sorted(view.saves, key=lambda s: (s.state, s.series, s.step)):
        if save.trouble and (save.state is not State.REJECTED or has_hot_copy(save, view) or has_link(save, view)):
            yield Attention(
                state=save.trouble,
                series=save.series,
                step=save.step,
                path=save.path,
                reason=save.reason,
                since=format_time(save.changed_at) if save.changed_at else None,
            )


def rate_of_saving(view: View, manifests: Iterable[Manifest]) -> float | None:
    """Bytes per second over the latest saves of each series that still trains, summed; None while none has two."""
    by_series: dict[str, dict[int, tuple[float, int]]] = defaultdict(dict)
    for manifest in manifests:
        by_series[manifest.series][manifest.step] = (manifest.saved, manifest.size)
    hot: dict[tuple[str, int], list[HotCopy]] = defaultdict(list)
    for copy in view.hot.values():
        hot[copy.series, copy.step].append(copy)
    for (series, step), copies in hot.items():
        saved = max(copy.mtime_ns for copy in copies) / 1e9
        by_series[series][step] = (saved, sum(copy.stamp.size for copy in copies))
    rates = []
    for saves in by_series.values():
        latest = sorted(saves.values())[-RATE_SAVES:]
        span = latest[-1][0] - latest[0][0]
        quiet = view.now - latest[-1][0]
        if len(latest) > 1 and span >= RATE_SPAN and quiet <= OVER_AFTER * span / (len(latest) - 1):
            rates.append(sum(size for _, size in latest[1:]) / span)
    return sum(rates) if rates else None


def _uplink(save_rate: float | None, facts: Facts) -> Uplink:
    upload_rate = facts.upload_bytes_per_second or None
    return Uplink(
        saved_bytes_per_second=None if save_rate is None else round(save_rate),
        uploaded_bytes_per_second=None if upload_rate is None else round(upload_rate),
        keeps_up=None if save_rate is None or upload_rate is None else upload_rate >= save_rate,
    )


def full_in(view: View, save_rate: float | None, facts: Facts, *, draining: bool) -> int | None:
    """Seconds until the disk is full; None if it does not fill: with a worker that keeps up, evictions make room."""
    if not save_rate:
        return None
    growth = save_rate - (facts.upload_bytes_per_second if draining else 0.0)
    return _duration(view.free, growth) if growth > 0 else None


def _duration(amount: int, per_second: float) -> int | None:
    return round(amount / per_second) if per_second > 0 else None

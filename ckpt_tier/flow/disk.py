"""What takes the hot tier's room, what could go at once and what not and why, and when the disk is full.

Pure: from a look, and what else lies in the folder, to the document that `status --disk` shows and ``--json`` prints.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_duration, format_size, format_time
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.reconcile import reconcile
from ckpt_tier.flow.standing import has_hot_copy
from ckpt_tier.flow.view import View
from ckpt_tier.hot.usage import Lying
from ckpt_tier.journal.saves import Save

SCHEMA = "ckpt-tier/disk/1"
WITHIN = 6 * 3600.0
"""Seconds: a disk that is full before this is something for a person, who may have gone home. As in `status`."""
GOES = ""
"""The fate of a copy that can be deleted at once; any other is the reason why it stays."""
_SAYS = {Kind.KEEP: 0, Kind.EVICT: 0, Kind.REPORT: 1, Kind.WAIT: 1, Kind.VALIDATE: 1, Kind.UPLOAD: 2}
"""Which action says why a copy lies there: the lowest of those about it."""


class Staying(msgspec.Struct, frozen=True, kw_only=True):
    """Checkpoints of one series that can't go now, for one reason."""

    reason: str
    count: int
    bytes: int


class SeriesDisk(msgspec.Struct, frozen=True, kw_only=True):
    """One series on the hot tier. `deletable`: what `prune --tier hot`, or the next `sync`, deletes at once."""

    name: str
    count: int
    bytes: int
    newest_step: int
    newest_saved_at: str
    deletable_count: int
    deletable_bytes: int
    staying: tuple[Staying, ...]


class DiskReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `status --disk --json`. `full_in_seconds` at the measured rates; null if it is not filling up.

    `alert` is the one line for whoever is called, empty while all is well; `problems` is what could not be looked at.
    """

    schema: str = SCHEMA
    at: str
    run: str
    hot_path: str
    total_bytes: int
    free_bytes: int
    min_free_bytes: int
    full_in_seconds: int | None
    within_seconds: int
    deletable_bytes: int
    series: tuple[SeriesDisk, ...]
    others: tuple[Lying, ...]
    alert: str
    problems: tuple[str, ...]


def fates(view: View) -> dict[str, str]:
    """For each hot copy, by path, what reconcile says of it: GOES, or why it stays."""
    said: dict[str, Action] = {}
    for action in sorted((a for a in reconcile(view) if a.kind in _SAYS), key=lambda a: _SAYS[a.kind]):
        if action.save is not None and has_hot_copy(action.save, view):
            said.setdefault(action.path, action)
    return {path: _reason(action) for path, action in said.items()}


def report(
    view: View,
    fates: Mapping[str, str],
    *,
    run: str,
    hot_path: str,
    total: int,
    full_in: int | None,
    min_free: int,
    within: float,
    others: Iterable[Lying],
    problems: Iterable[str],
) -> DiskReport:
    """The report at `view.now`, in bytes and seconds. `fates`: GOES, or why it stays, by path."""
    series = _series(view, fates)
    deletable = sum(each.deletable_bytes for each in series)
    made = DiskReport(
        at=format_time(view.now),
        run=run,
        hot_path=hot_path,
        total_bytes=total,
        free_bytes=view.free,
        min_free_bytes=min_free,
        full_in_seconds=full_in,
        within_seconds=round(within),
        deletable_bytes=deletable,
        series=series,
        others=tuple(others),
        alert="",
        problems=tuple(problems),
    )
    return msgspec.structs.replace(made, alert=_alert(made))


def _alert(disk: DiskReport) -> str:
    soon = disk.full_in_seconds is not None and disk.full_in_seconds < disk.within_seconds
    if disk.free_bytes >= disk.min_free_bytes and not soon:
        return ""
    told = f"{format_size(disk.free_bytes)} of {format_size(disk.total_bytes)} free"
    if disk.free_bytes < disk.min_free_bytes:
        told += f", less than {format_size(disk.min_free_bytes)}"
    if disk.full_in_seconds is not None:
        told += f", full in {format_duration(disk.full_in_seconds)}"
    return f"{disk.run}: {disk.hot_path}: {told}, {format_size(disk.deletable_bytes)} can be deleted at once"


def _series(view: View, fates: Mapping[str, str]) -> tuple[SeriesDisk, ...]:
    by_series = defaultdict(list)
    for copy in view.hot.values():
        by_series[copy.series].append(copy)
    rows = []
    for name, copies in sorted(by_series.items()):
        last = max(copies, key=lambda copy: (copy.mtime_ns, copy.step))
        sizes = defaultdict(list)
        for copy in copies:
            sizes[fates.get(copy.path, "nothing is known of it")].append(copy.stamp.size)
        going = sizes.pop(GOES, [])
        rows.append(
            SeriesDisk(
                name=name,
                count=len(copies),
                bytes=sum(copy.stamp.size for copy in copies),
                newest_step=last.step,
                newest_saved_at=format_time(last.mtime_ns / 1e9),
                deletable_count=len(going),
                deletable_bytes=sum(going),
                staying=tuple(Staying(reason=why, count=len(each), bytes=sum(each)) for why, each in sizes.items()),
            )
        )
    return tuple(rows)


def _reason(action: Action) -> str:
    match action:
        case Action(kind=Kind.EVICT, after=after):
            return f"waits for {after}" if after else GOES
        case Action(kind=Kind.VALIDATE):
            return "waits for validation and commit"
        case Action(kind=Kind.UPLOAD):
            return "waits for commit"
        case Action(kind=Kind.REPORT, save=Save(state=State.REJECTED)):
            return "rejected"
        case _:
            return action.reason

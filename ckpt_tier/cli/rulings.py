"""The verdicts of `prune` as a table that stays readable over ten thousand steps, and the question before deleting.

Checkpoints of one series with the same verdict for the same reasons share a row: up to three are named, more become
"5000 … 495000 (99 checkpoints)". Where others lie between them, the row says so: "(99 of 110 checkpoints)". The shares
of one checkpoint that have the same verdict are one.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence

import click
import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.prune import PrunedCheckpoint
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import UsageError
from ckpt_tier.flow.prune import Ruling

NAMED = 3
"""So many checkpoints of a row are named one by one."""
_HEADINGS = ("verdict", "series", "steps", "size", "reasons")


def table(rulings: Sequence[Ruling]) -> str:
    """A row for each series, verdict and set of reasons, by series and first step."""
    rows = []
    for members in _by_series(_by_checkpoint(rulings)):
        known = {(each.step, each.generation) for each in members}
        twice = {step for step, count in Counter(step for step, _ in known).items() if count > 1}
        places = {id(each): place for place, each in enumerate(members)}
        groups: dict[tuple[bool, tuple[str, ...]], list[Ruling]] = {}
        for each in members:
            groups.setdefault((each.kept, each.reasons), []).append(each)
        for (kept, reasons), group in groups.items():
            among = places[id(group[-1])] - places[id(group[0])] + 1
            size = sum(each.size_bytes for each in group)
            rows.append(
                (
                    "keep" if kept else "remove",
                    group[0].series,
                    _steps(group, among, twice),
                    format_size(size),
                    ", ".join(reasons),
                )
            )
    return paper.columns(rows, headings=_HEADINGS, right={3})


def sums(rulings: Sequence[Ruling]) -> str:
    """What the verdicts come to, in one line."""
    told = []
    for kept, verb in ((False, "to remove"), (True, "to keep")):
        group = [each for each in rulings if each.kept is kept]
        shares = {(each.series, each.step, each.generation) for each in group if each.rank is not None}
        count = len(shares) + sum(each.rank is None for each in group)
        told.append(f"{plural(count, 'checkpoint')} {verb}, {format_size(sum(each.size_bytes for each in group))}")
    return "; ".join(told) + "."


def may_delete(question: str, *, yes: bool) -> bool:
    """Whether to go on. Raises UsageError where nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            "prune deletes, and there is no terminal to ask on", fix="give --yes to delete, or --dry-run to look"
        )
    return click.confirm(question, default=False, err=True)


def pruned_checkpoints(rulings: Sequence[Ruling], removed: Sequence[Ruling]) -> tuple[PrunedCheckpoint, ...]:
    """The verdicts as `--json` has them."""
    gone = {id(each) for each in removed}
    return tuple(
        PrunedCheckpoint(
            series=each.series,
            step=each.step,
            generation=each.generation,
            verdict="keep" if each.kept else "remove",
            reasons=each.reasons,
            size_bytes=each.size_bytes,
            removed=id(each) in gone,
            rank=each.rank,
        )
        for each in rulings
    )


def _by_checkpoint(rulings: Iterable[Ruling]) -> list[Ruling]:
    """The same with one ruling for the shares of a checkpoint, as far as they agree."""
    found: dict[object, Ruling] = {}
    for place, each in enumerate(rulings):
        same = (each.series, each.step, each.generation, each.kept, each.reasons)
        key = place if each.rank is None else same
        known = found.get(key)
        size = each.size_bytes + (known.size_bytes if known else 0)
        found[key] = msgspec.structs.replace(each, size_bytes=size)
    return list(found.values())


def _by_series(rulings: Sequence[Ruling]) -> Iterable[list[Ruling]]:
    series: dict[str, list[Ruling]] = {}
    for each in rulings:
        series.setdefault(each.series, []).append(each)
    return series.values()


def _steps(group: list[Ruling], among: int, twice: set[int]) -> str:
    if len(group) <= NAMED:
        return ", ".join(_name(each, twice) for each in group)
    between = " … " if paper.can_show("…") else " ... "
    count = plural(len(group), "checkpoint") if among == len(group) else f"{len(group):,} of {among:,} checkpoints"
    return f"{group[0].step}{between}{group[-1].step} ({count})"


def _name(each: Ruling, twice: set[int]) -> str:
    return f"{each.step} ({each.generation[:8]})" if each.step in twice and each.generation else str(each.step)

"""A prune of the cold tier, and what is said about it."""

import contextlib
from collections.abc import Mapping

import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.bar import Bar
from ckpt_tier.cli.documents.prune import PruneDocument
from ckpt_tier.cli.rulings import may_delete, pruned_checkpoints, sums, table
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.stopping import Stop
from ckpt_tier.cli.words import plural
from ckpt_tier.core.units import format_duration, format_size, format_time
from ckpt_tier.errors import CkptTierError, IntegrityError
from ckpt_tier.flow.prune import Ruling
from ckpt_tier.flow.reclaim import Loose
from ckpt_tier.pruning import ColdPlan, Pruning
from ckpt_tier.system.clock import SystemClock


class Done(msgspec.Struct):
    """How far a prune has come."""

    removed: list[Ruling] = []
    spared: list[Ruling] = []
    freed_bytes: int = 0
    loose: Mapping[str, Loose] = {}


def prune_cold(settings: Settings, *, series: str | None, dry_run: bool, yes: bool) -> int:
    """Plans, shows, asks, removes and frees. Raises IntegrityError at the end if a manifest can't be trusted."""
    stop = Stop()
    pruning = Pruning(settings.wiring(SystemClock(stop.request)))
    plan = pruning.cold_plan(series, dry_run=dry_run)
    if not (settings.json or settings.quiet):
        paper.say(plan_text(plan))
    done = Done(loose=plan.loose)
    error: CkptTierError | None = None
    wanted = not dry_run and bool(plan.removals or plan.due) and may_delete(_question(plan), yes=yes)
    if wanted:
        stop.install()  # not before: Ctrl-C at the question ends it at once
        try:
            _carry_out(pruning, plan, done, show_bar=paper.is_terminal() and not (settings.json or settings.quiet))
        except CkptTierError as failure:
            error = failure
    if settings.json:
        paper.say(msgspec.json.encode(_document(plan, done, dry_run=dry_run)).decode())
    elif not settings.quiet:
        paper.say(_account(plan, done, wanted=wanted, dry_run=dry_run))
    if error is None and plan.untrusted:
        error = _untrusted(plan)
    if error is not None:
        raise error
    return 0


def _carry_out(pruning: Pruning, plan: ColdPlan, done: Done, *, show_bar: bool) -> None:
    with (
        Bar("pruning", len(plan.removals) + len(plan.due), of_things=True)
        if show_bar
        else contextlib.nullcontext() as bar
    ):
        for ruling, went in pruning.remove(plan):
            (done.removed if went else done.spared).append(ruling)
            if bar is not None:
                bar.advance()
        done.loose = pruning.look_for_loose(plan)
        for stat in pruning.free(plan, done.loose):
            done.freed_bytes += stat.size
            if bar is not None:
                bar.advance()


def plan_text(plan: ColdPlan) -> str:
    """Every verdict with its reasons, and what they come to."""
    if not plan.rulings:
        return "The cold tier holds no committed checkpoint."
    rules = ", ".join(map(str, plan.policy.rules)) or "no rule, so everything is kept"
    head = f"{paper.style('Retention in the cold tier', bold=True)}: {paper.plain(rules)}"
    return "\n".join([head, "", table(plan.rulings), "", sums(plan.rulings)])


def _question(plan: ColdPlan) -> str:
    due = sum(stat.size for stat in plan.due)
    told = [f"remove {plural(len(plan.removals), 'checkpoint')}"] if plan.removals else []
    told += [f"delete {format_size(due)} that nothing refers to"] if due else []
    return f"In the cold tier, {' and '.join(told)}?"


def _account(plan: ColdPlan, done: Done, *, wanted: bool, dry_run: bool) -> str:
    lines = [
        f"step {ruling.step} of series {ruling.series} was pinned, held or annotated just now, and stays"
        for ruling in done.spared
    ]
    if wanted and plan.removals:
        size = format_size(sum(each.size_bytes for each in done.removed))
        lines.append(f"{paper.mark(True)} {plural(len(done.removed), 'checkpoint')} removed, {size}.")
    if wanted and plan.due:
        lines.append(f"{paper.mark(True)} {format_size(done.freed_bytes)} freed now.")
    elif due := sum(stat.size for stat in plan.due):
        lines.append(f"{format_size(due)} that nothing refers to can be freed now.")
    later, at = _waiting(done.loose)
    if later and at is not None:
        lines.append(f"  {format_size(later)} are freed by a `ckpt-tier prune` after {_minute(at)}.")
    if not wanted and plan.removals:
        size = format_size(sum(each.size_bytes for each in plan.removals))
        lines.append(
            f"The data of what is removed, {size}, is freed by a prune {format_duration(plan.grace)} later (grace)."
        )
    for name, loose in done.loose.items():
        if loose.unknown:
            lines.append(f"series {name}: nothing is freed, {_unknown(loose)}")
    if not wanted:
        lines.append("Nothing was changed" + (": this is what `ckpt-tier prune` would do." if dry_run else "."))
    return "\n".join(lines)


def _waiting(found: Mapping[str, Loose]) -> tuple[int, float | None]:
    """Bytes that free later, and when the last of them do."""
    waiting = [pair for loose in found.values() for pair in loose.waiting]
    return sum(stat.size for _, stat in waiting), max((at for at, _ in waiting), default=None)


def _minute(seconds: float) -> str:
    return f"{format_time(seconds + 60)[:16].replace('T', ' ')} UTC"


def _unknown(loose: Loose) -> str:
    return f"since its manifests/ holds {loose.unknown[0]}, which this version can't read"


def _document(plan: ColdPlan, done: Done, *, dry_run: bool) -> PruneDocument:
    later, at = _waiting(done.loose)
    return PruneDocument(
        tier="cold",
        dry_run=dry_run,
        policy=tuple(map(str, plan.policy.rules)),
        checkpoints=pruned_checkpoints(plan.rulings, done.removed),
        removed_count=len(done.removed),
        removed_bytes=sum(each.size_bytes for each in done.removed),
        freed_bytes=sum(stat.size for stat in plan.due) if dry_run else done.freed_bytes,
        waiting_bytes=later,
        frees_at=None if at is None else format_time(at),
        notes=tuple(f"series {name}: {_unknown(loose)}" for name, loose in done.loose.items() if loose.unknown),
    )


def _untrusted(plan: ColdPlan) -> IntegrityError:
    entry, first = next(iter(plan.untrusted.items()))
    return IntegrityError(
        f"{plural(len(plan.untrusted), 'manifest')} can't be trusted",
        f"step {entry.step} of series {entry.series}: {first}",
        "all data of these steps is kept; see `ckpt-tier verify`",
    )

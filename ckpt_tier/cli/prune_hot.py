"""A prune of the hot tier, and what is said about it."""

import functools
import sys

import click
import msgspec

from ckpt_tier.cli import paper
from ckpt_tier.cli.documents.prune import PruneDocument
from ckpt_tier.cli.rulings import may_delete, pruned_checkpoints, sums, table
from ckpt_tier.cli.settings import Settings
from ckpt_tier.cli.stopping import Stop
from ckpt_tier.cli.words import line, plural
from ckpt_tier.core import events
from ckpt_tier.core.units import format_size
from ckpt_tier.errors import CkptTierError
from ckpt_tier.pruning import HotPlan, Pruning
from ckpt_tier.system.clock import SystemClock


def prune_hot(settings: Settings, *, series: str | None, rejected: bool, dry_run: bool, yes: bool) -> int:
    """Plans, shows, asks and deletes."""
    stop = Stop()
    pruning = Pruning(settings.wiring(SystemClock(stop.request)))
    plan = pruning.hot_plan(series, rejected=rejected, emit=functools.partial(_say_checked, settings))
    if not (settings.json or settings.quiet):
        paper.say(_plan_text(plan, rejected=rejected))
    size = format_size(sum(each.size_bytes for each in plan.removals))
    question = f"On the hot tier, delete {plural(len(plan.removals), 'file')}, {size}?"
    wanted = not dry_run and bool(plan.removals) and may_delete(question, yes=yes)
    removed: set[str] = set()
    notes: list[str] = []
    error: CkptTierError | None = None
    if wanted:
        stop.install()  # not before: Ctrl-C at the question ends it at once
        try:
            for path, went in pruning.delete(plan, lambda event: _note(event, notes), rejected=rejected):
                if went:
                    removed.add(path)
        except CkptTierError as failure:
            error = failure
    gone = [ruling for ruling, action in plan.copies if action.path in removed]
    freed = sum(each.size_bytes for each in gone)
    if settings.json:
        document = PruneDocument(
            tier="hot",
            dry_run=dry_run,
            policy=() if rejected else tuple(map(str, plan.policy.rules)),
            checkpoints=pruned_checkpoints(plan.rulings, gone),
            removed_count=len(gone),
            removed_bytes=freed,
            freed_bytes=sum(each.size_bytes for each in plan.removals) if dry_run else freed,
            waiting_bytes=0,
            frees_at=None,
            notes=tuple(notes),
        )
        paper.say(msgspec.json.encode(document).decode())
    elif not settings.quiet:
        for note in notes:
            paper.say(paper.plain(note))
        if wanted:
            paper.say(f"{paper.mark(error is None)} {plural(len(gone), 'file')} deleted, {format_size(freed)} freed.")
        else:
            paper.say(
                "Nothing was changed" + (": this is what the same without --dry-run would do." if dry_run else ".")
            )
    if error is not None:
        raise error
    return 0


def _say_checked(settings: Settings, event: events.Event) -> None:
    """Reading takes minutes where hundreds of gigabytes are new: whoever waits sees how far it has come."""
    told = line(event)
    if told is not None and sys.stderr.isatty() and not (settings.json or settings.quiet):
        click.echo(paper.plain(str(told)), err=True)


def _note(event: events.Event, notes: list[str]) -> None:
    match event:
        case events.NotEvicted():
            notes.append(f"step {event.step} of series {event.series} stays: {event.reason}")
        case events.Warned():
            notes.append(f"{event.text} ({event.fix})" if event.fix else event.text)


def _plan_text(plan: HotPlan, *, rejected: bool) -> str:
    if not plan.copies:
        return "There is no rejected file." if rejected else "The hot tier holds no checkpoint that was validated."
    rules = "" if rejected else ", ".join(map(str, plan.policy.rules))
    title = "Rejected files on the hot tier" if rejected else "Retention on the hot tier"
    head = paper.style(title, bold=True) + (f": {paper.plain(rules)}" if rules else "")
    problems = [f"{paper.style('!', 'yellow', bold=True)} {paper.plain(problem)}" for problem in plan.problems]
    return "\n".join([head, "", table(plan.rulings), "", *problems, sums(plan.rulings)])

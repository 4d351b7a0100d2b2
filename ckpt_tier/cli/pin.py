"""`ckpt-tier pin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from ckpt_tier.pruning import BestPins, Pruning


@click.command("pin")
@click.argument("step", metavar="[STEP]", required=False)
@click.option("--best", metavar="METRIC[,max]", help="Instead of a step: what has the least METRIC, or the most.")
@click.option("-n", "count", metavar="N", type=click.IntRange(min=1), help="With --best: so many in each series.")
@click.option("--series", metavar="S", help="Only in this series; else in every series that has the step.")
@click.option("--reason", metavar="TEXT", default="", help="Why, for whoever wonders later.")
@global_options
@click.pass_obj
def command(
    settings: Settings, step: str | None, best: str | None, count: int | None, series: str | None, reason: str
) -> int:
    """Keep a step, all its generations, in both tiers, whatever retention says, until `unpin`.

    The pin is a small object in the cold tier: it holds for everybody who uses that run. A step that is pinned already
    gets the new reason. With --best the steps are found by a metric, of those that are committed now; what is better
    later is not pinned by itself (that is `keep_best`).
    """
    import msgspec

    from ckpt_tier.cli import paper
    from ckpt_tier.cli.documents.marks import PinDocument
    from ckpt_tier.cli.sync import parse_step
    from ckpt_tier.pruning import Pruning

    if (step is None) == (best is None):
        raise UsageError("pin takes a step or --best, one of the two", fix="write it like `ckpt-tier pin 740_000`")
    if count is not None and best is None:
        raise UsageError("-n counts the best", "a step was given", "give --best METRIC, or leave -n out")
    pruning = Pruning(settings.wiring())
    found = None if best is None else _best(pruning, best, count or 1, series, reason)
    pins = found.pins if found else tuple(pruning.pin(parse_step(step or ""), series, reason))
    if settings.json:
        paper.say(msgspec.json.encode(PinDocument(pinned=pins, best=found.best if found else ())).decode())
    elif not settings.quiet:
        for pin in pins:
            why = f", {paper.plain(pin.reason)}" if found else ""
            paper.say(f"{paper.mark(True)} pinned series {pin.series}, step {pin.step}{why}")
    if found is not None and found.untrusted:
        entry, error = next(iter(found.untrusted.items()))
        raise IntegrityError(
            f"the manifest of step {entry.step} of series {entry.series} was passed over", str(error), error.fix
        )
    return 0


def _best(pruning: Pruning, best: str, count: int, series: str | None, reason: str) -> BestPins:
    from ckpt_tier.core.metrics import Best

    return pruning.pin_best(Best.parse(best), count, series, reason)

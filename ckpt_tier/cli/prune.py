"""`ckpt-tier prune`."""

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError


@click.command("prune")
@click.option("--tier", type=click.Choice(["cold", "hot"]), help="Which tier; cold without this.")
@click.option(
    "--rejected", is_flag=True, help="Delete the hot tier's rejected files that a later good one makes up for."
)
@click.option("--dry-run", is_flag=True, help="Print every verdict and its reasons; change nothing.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.option("--series", metavar="S", help="Only this series.")
@global_options
@click.pass_obj
def command(settings: Settings, tier: str | None, rejected: bool, dry_run: bool, yes: bool, series: str | None) -> int:
    """Remove the checkpoints that no retention rule keeps. Shows each verdict with its reasons, and asks first.

    In the cold tier a removed checkpoint is gone at once, its data a grace later ([cold] grace), by the next prune.
    Pins and holds stay, and so does the newest. Without a rule under [cold] nothing is removed.

    With --tier hot, what sync would evict goes now. Without a cold tier each series keeps its newest whole ones
    ([hot] keep_last): every file is read once to tell, and one goes only if newer whole ones of its series stay.
    """
    if rejected and tier == "cold":
        raise UsageError("--rejected is about the hot tier", "the cold tier has no rejected files", "leave --tier out")
    if settings.json and not (yes or dry_run):
        raise UsageError("--json can't ask", fix="give --yes to delete, or --dry-run to look")
    if rejected or tier == "hot":
        from ckpt_tier.cli.prune_hot import prune_hot

        return prune_hot(settings, series=series, rejected=rejected, dry_run=dry_run, yes=yes)
    from ckpt_tier.cli.prune_cold import prune_cold

    return prune_cold(settings, series=series, dry_run=dry_run, yes=yes)

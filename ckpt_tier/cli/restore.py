"""`ckpt-tier restore`."""

from pathlib import Path

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError


@click.command("restore")
@click.option("--step", metavar="N", help="This step: 740000, or 740_000.")
@click.option("--latest", is_flag=True, help="The newest good one, by time of saving.")
@click.option("--generation", metavar="ID", help="Of a step that was saved twice: which save.")
@click.option("--series", metavar="S", help="Only this series; else every series that has the step.")
@click.option("--rank", metavar="R", type=click.IntRange(0), help="Only this rank's share.")
@click.option("--to", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Another folder.")
@click.option("--force", is_flag=True, help="Move an existing different file aside instead of stopping.")
@global_options
@click.pass_obj
def command(
    settings: Settings,
    step: str | None,
    latest: bool,
    generation: str | None,
    series: str | None,
    rank: int | None,
    to: Path | None,
    force: bool,
) -> int:
    """Bring a checkpoint back, to its place in the hot folder or below --to. Every byte is verified, and nothing
    appears at the destination before that.

    An identical file that is there already is not fetched again; a different one is kept, unless --force. A series that
    does not come back keeps none of the others back.
    """
    if (step is None) == (not latest):
        raise UsageError("say which checkpoint to restore", fix="give either --step N or --latest")
    from ckpt_tier.cli.bring_back import bring_back
    from ckpt_tier.cli.sync import parse_step

    return bring_back(
        settings,
        step=None if step is None else parse_step(step),
        series=series,
        generation=generation,
        rank=rank,
        to=to,
        force=force,
    )

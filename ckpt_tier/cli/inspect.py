"""`ckpt-tier inspect`."""

from pathlib import Path

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError


@click.command("inspect")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--step", metavar="N", help="This step: 740000, or 740_000.")
@click.option("--latest", is_flag=True, help="The one saved last.")
@click.option("--series", metavar="S", help="The series, where the run has several.")
@click.option("--generation", metavar="ID", help="Of a step that was saved twice: which save.")
@click.option("--rank", metavar="R", type=click.IntRange(0), help="Only this rank's share.")
@click.option("--tier", type=click.Choice(["hot", "cold"]), help="Read from there; else hot if it is sound, or cold.")
@click.option("--filter", "pattern", metavar="GLOB", help="Only names that match: 'model.*.bias'. Shows each.")
@click.option("--all", "whole", is_flag=True, help="Each tensor and entry instead of sums.")
@global_options
@click.pass_obj
def command(
    settings: Settings,
    path: Path | None,
    step: str | None,
    latest: bool,
    series: str | None,
    generation: str | None,
    rank: int | None,
    tier: str | None,
    pattern: str | None,
    whole: bool,
) -> int:
    """What is in a checkpoint: tensors with their shapes, dtypes and sizes, and everything else, without fetching it.

    Of each file the directory and the pickle or header are read, by range, from either tier, or from a file or folder
    at PATH, which needs no configuration. No code in the checkpoint is run.
    """
    if (path is not None) + (step is not None) + latest != 1:
        raise UsageError("say which checkpoint to look at", fix="give one of --step N, --latest and a path")
    if path is not None and (series, generation, rank, tier) != (None, None, None, None):
        raise UsageError("a path is not looked up in the tiers", fix="leave --series, --generation, --rank, --tier out")
    from ckpt_tier.cli.inspecting import present
    from ckpt_tier.cli.sync import parse_step
    from ckpt_tier.inspection import Inspection, at_path

    if path is not None:
        return present(at_path(path), settings, pattern=pattern, whole=whole)
    found = Inspection(settings.wiring()).checkpoint(
        None if step is None else parse_step(step),
        series=series,
        generation=generation,
        rank=rank,
        tier=tier,  # type: ignore[arg-type]  # click.Choice has checked it
    )
    return present(found, settings, pattern=pattern, whole=whole)

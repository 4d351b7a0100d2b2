"""`ckpt-tier track`."""

from pathlib import Path

import click

from ckpt_tier.cli.settings import Settings, global_options
from ckpt_tier.errors import UsageError

STATS = ("value", "mean", "min", "max", "std", "norm", "numel", "nan", "inf")


@click.command("track")
@click.argument("keys", nargs=-1, metavar="KEY...")
@click.option("--stat", metavar="A,B", help=f"Of {', '.join(STATS)}; else value, or mean,min,max,std.")
@click.option("--series", metavar="S", help="The series, where the run has several.")
@click.option("--from", "first", metavar="N", help="No step before this one.")
@click.option("--to", "last", metavar="N", help="No step after this one.")
@click.option("--every", metavar="N", type=click.IntRange(1), help="Only steps that are multiples of N.")
@click.option("--rank", metavar="R", type=click.IntRange(0), help="Only this rank's share.")
@click.option("--abandoned", is_flag=True, help="Checkpoints on abandoned branches too.")
@click.option("--csv", "as_csv", is_flag=True, help="A line per checkpoint and name, for other programs.")
@click.option("--plot", is_flag=True, help="A plot of each, in the terminal.")
@click.option("--svg", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write a plot there.")
@global_options
@click.pass_obj
def command(
    settings: Settings,
    keys: tuple[str, ...],
    stat: str | None,
    series: str | None,
    first: str | None,
    last: str | None,
    every: int | None,
    rank: int | None,
    abandoned: bool,
    as_csv: bool,
    plot: bool,
    svg: Path | None,
) -> int:
    """How tensors and numbers have changed over all checkpoints of a series, in both tiers.

    KEY is a name as `inspect` shows it, or a glob in quotes: 'layers.*.scale', 'optimizer.param_groups.0.lr'. Of each
    checkpoint only what is asked for is read, by range, and checked by its CRC32; what was read once is remembered.
    """
    if settings.json + as_csv + plot > 1:
        raise UsageError("one form of output at a time", fix="give one of --json, --csv and --plot")
    stats = tuple(part.strip() for part in stat.split(",")) if stat is not None else ()
    if unknown := [name for name in stats if name not in STATS]:
        raise UsageError(f"{unknown[0]!r} is not a figure", fix=f"--stat takes {', '.join(STATS)}, joined by commas")
    from ckpt_tier.cli.sync import parse_step
    from ckpt_tier.cli.tracked import present, read
    from ckpt_tier.tracking import Tracking

    tracking = Tracking(settings.wiring())
    steps = tracking.steps(
        series,
        first=parse_step(first) if first is not None else 0,
        last=parse_step(last) if last is not None else None,
        every=every,
        rank=rank,
        abandoned=abandoned,
    )
    tracked = read(tracking, keys, steps, settings)
    return present(tracked, settings, stats=stats, form="csv" if as_csv else "plot" if plot else "table", svg=svg)

"""`ckpt-tier demo`."""

from pathlib import Path

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("demo")
@click.option("--cold", metavar="URL", help="Use this cold tier, such as s3://bucket/prefix, instead of a folder.")
@click.option("--keep", is_flag=True, help="Leave everything in place afterwards, to look at.")
@click.option("--folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Work in this folder.")
@global_options
@click.pass_obj
def command(settings: Settings, cold: str | None, keep: bool, folder: Path | None) -> int:
    """Train a small real model, fill a small disk budget, watch the tiers work, lose the hot tier, restore a step,
    resume, and prove that the loss is bit for bit that of an uninterrupted run. Needs no server and no configuration.
    """
    from ckpt_tier.demo import run

    run(cold=cold, keep=keep, folder=folder)
    return 0

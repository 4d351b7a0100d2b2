"""`ckpt-tier verify`."""

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("verify")
@click.option("--step", metavar="N", help="Only this step.")
@click.option("--series", metavar="S", help="Only this series.")
@click.option("--read", is_flag=True, help="Read every byte and compare checksums: proves content.")
@global_options
@click.pass_obj
def command(settings: Settings, step: str | None, series: str | None, read: bool) -> int:
    """Prove that the cold tier holds every committed checkpoint: that each object is there, with its size and
    checksum as the store notes them; with --read that every byte is right. Exits with 5 if one is damaged or missing.
    """
    from ckpt_tier.cli.proving import prove
    from ckpt_tier.cli.sync import parse_step

    return prove(settings, series=series, step=None if step is None else parse_step(step), read=read)

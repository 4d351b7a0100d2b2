"""`ckpt-tier list`."""

import click

from ckpt_tier.cli.settings import Settings, global_options


@click.command("list")
@click.option("--series", metavar="S", help="Only this series.")
@click.option("--long", is_flag=True, help="Read every manifest: sizes and times of all, and whole generation ids.")
@global_options
@click.pass_obj
def command(settings: Settings, series: str | None, long: bool) -> int:
    """The checkpoints of both tiers, by series and step.

    A step that was saved twice has two generations, and both are shown.
    """
    import msgspec

    from ckpt_tier.cli import paper
    from ckpt_tier.cli.documents import ListDocument
    from ckpt_tier.cli.listing import listing
    from ckpt_tier.operations import Operations

    wiring = settings.wiring()
    rows = Operations(wiring).checkpoints(series, read_all=long)
    if settings.json:
        paper.say(msgspec.json.encode(ListDocument(run=wiring.config.run, checkpoints=tuple(rows))).decode())
        return 0
    paper.say(listing(rows, long=long))
    return 0
